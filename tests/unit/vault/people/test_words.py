"""Every code of the trusted part is told in words, and every told code exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from factory.vault.ledger import AFTER
from factory.vault.people.words import MEANINGS, STATES, meaning

ROOT = Path(__file__).resolve().parents[4]
TRUSTED = sorted((ROOT / "factory/vault").glob("*.py"))
CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
SAYING = {"Refused": 0, "Finding": 0, "Verdict": 1, "need": 1, "must": 1, "table": 3}
"""Callees, and which argument is the code."""
PEOPLE = {"rejected", "closed", "too-many-pending"}
"""Said before the merge, by the folders that are not trusted."""


def said() -> set[str]:
    """Codes in the trusted part: first argument of what refuses, and the second item of ranked faults."""
    found: set[str] = set()
    for file in TRUSTED:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                place = SAYING.get(ast.unparse(node.func).rpartition(".")[2])
                if place is not None and len(node.args) > place:
                    found |= texts(node.args[place])
            elif isinstance(node, ast.Return | ast.Assign) and file.name == "approval.py":
                found |= {t for item in ast.walk(node) if isinstance(item, ast.Tuple) and len(item.elts) == 3
                          for t in texts(item.elts[1])}  # fmt: skip
    return {code for code in found if CODE.fullmatch(code)}


def texts(node: ast.expr) -> set[str]:
    if isinstance(node, ast.JoinedStr):  # f"bad-{key}" over the keys of its loop
        return {"bad-secrets", "bad-unblocks"}
    if isinstance(node, ast.IfExp):
        return texts(node.body) | texts(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()


def test_every_code_has_its_words() -> None:
    assert said() - MEANINGS.keys() == set()


def test_no_words_outlive_their_code() -> None:
    handed = {"bad-recipients"}  # by what the trusted part is handed
    assert MEANINGS.keys() - said() - PEOPLE - handed - {"changed", "ledger-gone", "bad-entry", "begun-anew"} == set()


def test_an_unknown_code_is_told_as_such() -> None:
    assert "martian" in meaning("martian").words


def test_every_state_has_its_words() -> None:
    assert AFTER.keys() - STATES.keys() == set()
