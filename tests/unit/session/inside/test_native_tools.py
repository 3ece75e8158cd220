from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.session.inside.native_api import Anthropic, OpenAI
from factory.session.inside.native_tools import OUTPUT, ToolError, Tools, clip

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(str(tmp_path), read_only=False, env=ENV)


def test_files_round_trip_byte_for_byte(tools: Tools, tmp_path: Path) -> None:
    tools.call("write", {"path": "deep/a.txt", "content": "ü\r\ntwo\n"})
    assert (tmp_path / "deep/a.txt").read_bytes() == "ü\r\ntwo\n".encode()
    (tmp_path / "latin").write_bytes(b"caf\xe9 one\n")
    tools.call("edit", {"path": "latin", "old": "one", "new": "two"})
    assert (tmp_path / "latin").read_bytes() == b"caf\xe9 two\n", "what was not text stays as it was"


def test_reading_in_parts_and_folders(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n2\n3\n4\n", encoding="utf-8")
    (tmp_path / "d").mkdir()
    assert tools.call("read", {"path": "a", "offset": 2, "limit": 2}) == "2\n3\n\n[1 more lines]"
    assert tools.call("read", {"path": "."}) == "a\nd/"


@pytest.mark.parametrize(
    ("name", "given", "word"),
    [
        ("nope", {}, "no tool"),
        ("read", {}, "missing"),
        ("read", {"path": "a", "colour": 1}, "colour"),
        ("read", {"path": 1}, "wrong type"),
        ("read", {"path": "a", "limit": True}, "wrong type"),
        ("read", [], "JSON object"),
        ("read", None, "JSON object"),
        ("read", {"path": "absent"}, "not there"),
        ("read", {"path": "a\0b"}, "null"),
        ("read", {"path": "binary"}, "binary"),
        ("read", {"path": "pipe"}, "not a regular file"),
        ("edit", {"path": "twice", "old": "x", "new": "y"}, "2 times"),
        ("edit", {"path": "twice", "old": "", "new": "y"}, "does not occur"),
        ("edit", {"path": "twice", "old": "z", "new": "y"}, "does not occur"),
        ("search", {"pattern": "("}, "regular expression"),
        ("run", {"command": "exit 7"}, "exit code 7"),
        ("write", {"path": "binary/x", "content": ""}, "File exists"),
    ],
)
def test_mistakes_are_told_to_the_model(tools: Tools, tmp_path: Path, name: str, given: object, word: str) -> None:
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "twice").write_text("x x", encoding="utf-8")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ToolError, match=word):
        tools.call(name, given)


def test_edit_all(tools: Tools, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x x", encoding="utf-8")
    tools.call("edit", {"path": "a", "old": "x", "new": "y", "all": True})
    assert (tmp_path / "a").read_text(encoding="utf-8") == "y y"


def test_search_skips_git_and_narrows(tools: Tools, tmp_path: Path) -> None:
    for name in (".git/a.py", "src/a.py", "src/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("one needle\n", encoding="utf-8")
    assert tools.call("search", {"pattern": "needle"}).splitlines() == [
        "src/a.py:1: one needle",
        "src/a.txt:1: one needle",
    ]
    assert tools.call("search", {"pattern": "ne+dle", "glob": "*.py"}) == "src/a.py:1: one needle"
    assert tools.call("search", {"pattern": "absent"}) == "nothing found"


def test_commands_run_in_the_folder_with_nothing_on_stdin(tools: Tools, tmp_path: Path) -> None:
    assert tools.call("run", {"command": "pwd; cat; echo e >&2"}) == f"{os.path.realpath(tmp_path)}\ne"
    assert tools.call("run", {"command": "true"}) == "[no output]"


@given(st.text(max_size=20), st.integers(0, 3))
def test_clipped_text_is_valid_and_bounded(piece: str, times: int) -> None:
    text = clip((piece + "\udcff") * (times * OUTPUT))
    text.encode()
    assert len(text) <= OUTPUT + 100


@pytest.mark.parametrize("api", [Anthropic(), OpenAI()])
@pytest.mark.parametrize(
    "talk",
    [
        [{"who": "model", "text": "", "calls": []}],
        [{"who": "model", "text": "", "calls": [{"id": "1", "name": "run", "input": None, "raw": "{brok"}]}],
    ],
)
def test_odd_answers_can_be_sent_back(api: Anthropic | OpenAI, talk: list[dict[str, object]], tools: Tools) -> None:
    """An empty answer and a call that is no JSON: a provider takes neither an empty message nor a missing input."""
    body = api.body("m", "s", [{"who": "user", "text": "t"}, *talk], tools, 10)
    last = body["messages"][-1]
    assert last["role"] == "assistant"
    assert last["content"] or last["tool_calls"]


@pytest.mark.parametrize("api", [Anthropic(), OpenAI()])
def test_a_stream_that_breaks_off_is_trouble(api: Anthropic | OpenAI) -> None:
    for events in ([], [{"type": "message_start", "message": {}}], [{"choices": [{"delta": {"content": "x"}}]}]):
        with pytest.raises(ConnectionError):
            api.read(iter(events))
