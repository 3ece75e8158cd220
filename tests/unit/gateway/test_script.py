from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from factory.errors import ConfigInvalid
from factory.gateway.dialogue import Answer, Asked, Call, Refused, ScriptedError, Tokens
from factory.gateway.script import Key, Script, load_script
from factory.gateway.values import FactKind

GOOD = """
schema = 1
kind = "scripted"

[[turn]]
formula = "dev"
step = "implement"
alias = "add-median"
turn = 0
expect = ["median", "tests"]
text = '''
I will look.
[[turn]]
'''
[[turn.call]]
tool = "run"
input = { command = "ls" }
[turn.usage]
input = 12
output = 3

[[turn]]
formula = "dev"
step = "implement"
alias = "add-median"
turn = 1
text = "done"

[[turn]]
formula = "dev"
step = "implement"
alias = "add-median"
turn = 1
answer = 1
error = { status = 429, retry_after = 30 }
"""
TWICE = """
[[turn]]
formula = "dev"
step = "implement"
alias = "add-median"
turn = 0
text = "again"
"""

KEY = Key("dev", "implement", "add-median", 1, 0, 0)


def script(tmp_path: Path, text: str = GOOD) -> Script:
    path = tmp_path / "script.toml"
    path.write_text(text, encoding="utf-8")
    return load_script(path)


def asked(heard: str, tools: tuple[str, ...] = ("run",)) -> Asked:
    return Asked("anthropic", {}, False, 0, heard, (), frozenset(tools), 100, 10)


def test_loads_turns_by_key(tmp_path: Path) -> None:
    loaded = script(tmp_path)
    turn = loaded.find(KEY, asked("median and tests"))
    assert turn.answer == Answer(
        "I will look.\n[[turn]]\n", (Call("run", {"command": "ls"}),), Tokens(12, 0, 0, 3), "tools"
    )
    assert loaded.find(KEY._replace(turn=1), asked("")).answer == Answer("done", (), Tokens(), "end")
    failing = loaded.find(KEY._replace(turn=1, answer=1), asked("")).answer
    assert failing == ScriptedError(429, "scripted failure", 30)


@pytest.mark.parametrize(
    ("key", "request_", "words"),
    [
        (KEY._replace(turn=5), asked(""), ["turn=5", "turns 0 to 1"]),
        (KEY._replace(alias="other"), asked(""), ["alias='other'", "nearest key"]),
        (KEY, asked("median " + "x" * 1000), ["expects 'tests'", "the prompt", "…x"]),
        (KEY, asked("median tests", ()), ["calls 'run'", "does not offer"]),
    ],
)
def test_a_mismatch_names_what_was_expected_and_seen(
    tmp_path: Path, key: Key, request_: Asked, words: list[str]
) -> None:
    with pytest.raises(Refused) as caught:
        script(tmp_path).find(key, request_)
    assert caught.value.kind is FactKind.MISMATCH
    assert caught.value.status == 400
    for word in words:
        assert word in caught.value.message


def test_all_problems_at_once_with_their_lines(tmp_path: Path) -> None:
    broken = (
        GOOD.replace('tool = "run"', 'tol = "run"')
        .replace("turn = 1\nanswer = 1", "turn = -1")
        .replace('text = "done"', 'txt = "done"')
    )
    with pytest.raises(ConfigInvalid) as caught:
        script(tmp_path, broken)
    lines = broken.splitlines()
    said = {(problem.line, problem.message.split(":")[0]) for problem in caught.value.problems}

    def line(text: str) -> int:
        return lines.index(text) + 1

    assert (line('tol = "run"'), "turn.0.call.0.tol") in said
    assert (line('txt = "done"'), "turn.1.txt") in said
    assert (line("turn = -1"), "turn.2.turn") in said
    assert len(caught.value.problems) >= 4


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("schema = 2\nkind = 'scripted'", "schema"),
        ("schema = 1\nkind = 'invented'", "kind"),
        ("schema = 1\nkind = 'scripted'\nmore = 1", "more"),
        ("schema = ", "Invalid value"),
        (GOOD + TWICE, "already at line 5"),
        ("schema = 1\nkind = 'scripted'\n[[turn]]\nformula='a'\nstep='b'\nturn=0", "needs `text`"),
    ],
)
def test_refuses(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        script(tmp_path, text)
    assert any(word in str(problem) for problem in caught.value.problems), caught.value.problems


def test_an_absent_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"no\.toml"):
        load_script(tmp_path / "no.toml")


def test_no_shape_of_input_crashes_the_loader(tmp_path: Path) -> None:
    values: list[Any] = ["1", "'x'", "[1]", "[[turn]]", "{a=1}"]
    for value in values:
        text = (
            f"schema = 1\nkind = 'scripted'\n{value}"
            if value == "[[turn]]"
            else f"schema=1\nkind='scripted'\nturn={value}"
        )
        with pytest.raises(ConfigInvalid):
            script(tmp_path, text)
