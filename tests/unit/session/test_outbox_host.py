"""The outbox as the host reads it again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from factory.formula.model import Allowance, Grants
from factory.session.outbox import grants_json, read_outbox

GRANTS = Grants(pull_request=True, refuse=True, comments=Allowance(2), issues=Allowance(1, ("tech-debt",)))
PULL = {"kind": "pull", "title": "Add it", "body": "Words."}
TOKEN = "ghp_" + "a1B2" * 9


def written(tmp_path: Path, *lines: object) -> Path:
    file = tmp_path / "outbox.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_what_is_granted_comes_back_in_order(tmp_path: Path) -> None:
    lines = [PULL, {"kind": "comment", "body": "a"}, {"kind": "issue", "title": "t", "body": "b", "labels": []}]
    assert read_outbox(written(tmp_path, *lines), GRANTS) == (tuple(lines), ())
    assert read_outbox(tmp_path / "none", GRANTS) == ((), ())


def test_what_is_not_granted_is_absent_from_what_emit_is_told() -> None:
    assert grants_json(Grants()) == {}
    assert grants_json(GRANTS) == {
        "pull_request": True, "refuse": True, "comments": {"max": 2}, "issues": {"max": 1, "labels": ["tech-debt"]}
    }  # fmt: skip
    assert grants_json(Grants(labels=("a",), vault=("release",))) == {"labels": ["a"], "vault": ["release"]}


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "comment", "body": f"see {TOKEN}"},
        {"kind": "issue", "title": TOKEN, "body": "b", "labels": []},
        {**PULL, "body": f"first\n{TOKEN}\n"},
    ],
)
def test_a_secret_is_a_problem_that_does_not_repeat_it(tmp_path: Path, line: dict[str, object]) -> None:
    _, problems = read_outbox(written(tmp_path, {"kind": "comment", "body": "fine"}, line), GRANTS)
    assert problems == (f"request 2 ({line['kind']}) holds what looks like a GitHub token",)


def test_a_file_that_is_none_is_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "outbox.jsonl")
    lines, problems = read_outbox(tmp_path / "outbox.jsonl", GRANTS)
    assert lines == ()
    assert problems == ("outbox.jsonl is not a regular file",)
