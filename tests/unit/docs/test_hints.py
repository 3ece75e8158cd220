"""Every command that the code tells a person to run can be typed: it exists, and so do its options.

What the commands of the screens then do is tried by tests/integration/cli/test_screens.py.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.architecture.source import ROOT
from tests.unit.docs.test_commands import wrong

COMMAND = r"(?:[A-Z_]+=\S+ )?factory [a-z-]+(?![a-z:-])"
SAID = re.compile(rf"`({COMMAND}[^`]*)`|(?:^|: |then |next: )({COMMAND}[^`;()]*)$", re.MULTILINE)
"""A command in backticks, or as the end of a line that leads up to it; `factory sandbox: ...` is who speaks."""
MAY_SAY = re.compile(r"factory( |\"|'|\\)")
"""Where it is not found in a source, no text of it can say a command."""
PROSE = {"factory will then"}


def texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts of a module that may be shown, docstrings left out; what is filled in stands as ``VALUE``."""
    # In one pass: every worker does this to the whole package before its first test.
    waiting: list[Any] = [tree]
    for node in waiting:
        inside = [node]
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant | ast.JoinedStr):
            inside = [node.value]
        elif isinstance(node, ast.JoinedStr):
            yield node.lineno, "".join(str(p.value) if isinstance(p, ast.Constant) else "VALUE" for p in node.values)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                yield node.lineno, node.value
            continue
        if isinstance(inside[0], ast.JoinedStr):
            inside = [part for part in inside[0].values if not isinstance(part, ast.Constant)]
        for one in inside:
            for name in one._fields:
                value = getattr(one, name, None)
                if isinstance(value, list):
                    waiting += [item for item in value if isinstance(item, ast.AST)]
                elif isinstance(value, ast.AST) and name not in ("ctx", "op"):
                    waiting.append(value)


def shown() -> dict[str, str]:
    """Command -> where it stands."""
    found = {}
    for path in sorted((ROOT / "factory").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if not MAY_SAY.search(source):
            continue
        for line, text in texts(ast.parse(source)):
            for match in SAID.finditer(text):
                command = re.sub(r"^[A-Z_]+=\S+ ", "", match[1] or match[2])
                command = re.split(r", |: |   ", command)[0].replace("...", "VALUE").strip()
                found.setdefault(command, f"{path.relative_to(ROOT)}:{line}")
    return {command: where for command, where in found.items() if command not in PROSE}


SHOWN = shown()


@pytest.mark.parametrize("command", SHOWN, ids=[f"{where} {command}" for command, where in SHOWN.items()])
def test_a_command_that_is_told_would_be_taken(command: str) -> None:
    assert wrong(command) is None, f"{SHOWN[command]} tells a person to run {command!r}"


def test_there_are_commands_to_judge_and_a_wrong_one_is_found() -> None:
    assert {"factory up --detach", "factory status", "factory check"} <= SHOWN.keys()
    assert len(SHOWN) > 60
    assert wrong("factory statusz") is not None
    assert wrong("factory up --detached") is not None
