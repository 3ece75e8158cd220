"""Configuration, redaction, recordings, JSON from untrusted bytes, streams."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from factory.errors import ConfigInvalid
from factory.gateway.config import load_config
from factory.gateway.dialogue import Answer, Call, Refused, Tokens
from factory.gateway.listen import MAX_PATH, socket_folder
from factory.gateway.recording import keep, render
from factory.gateway.redact import Redactor
from factory.gateway.script import Key, load_script
from factory.gateway.shape import parse
from factory.gateway.sse import MAX_EVENT, Splitter
from factory.gateway.values import GatewayRefused


def test_configuration_says_all_that_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "g.json"
    good = {"name": "a", "api": "anthropic", "url": "https://x"}
    bad = [good, good | {"replay": "/s"}, {"name": "b", "api": "ftp", "url": "https://k@x"}, good | {"colour": 1}]
    path.write_text(json.dumps({"home": "/h", "control_socket": "/c", "backends": bad}), encoding="utf-8")
    with pytest.raises(ConfigInvalid) as caught:
        load_config(path)
    said = "\n".join(map(str, caught.value.problems))
    for word in ("either `url` or `replay`", "backends.2.api", "backends.2.url", "colour"):
        assert word in said
    path.write_text(json.dumps({"home": "/h", "control_socket": "/c", "backends": [good, good]}), encoding="utf-8")
    with pytest.raises(ConfigInvalid, match="more than once"):
        load_config(path)
    path.write_text(json.dumps({"home": "/h", "control_socket": "/c", "backends": [good]}), encoding="utf-8")
    assert load_config(path).backends[0].url == "https://x"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"nonsense",
        b"{",
        b'{"a": NaN}',
        b'{"a": 1e999}',
        b'{"a": "\\ud800"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
    ids=range(12),
)
def test_untrusted_json_is_refused_not_crashed_on(raw: bytes) -> None:
    with pytest.raises(Refused):
        parse(raw)


def test_redaction() -> None:
    redact = Redactor(["hunter2hunter2"])
    assert redact("a hunter2hunter2 b") == "a [redacted] b"
    for key in ("sk-ant-api03-abcdefghijklmnop", "ghp_" + "a" * 36, "fgw-" + "a" * 43, "AKIA" + "A" * 16):
        assert key not in redact(f"x {key} y")
        assert redact.finds(key)
    assert not redact.finds("nothing here: skew-based asking")
    assert (
        redact.exact(b"x hunter2hunter2 sk-ant-api03-abcdefghijklmnop") == b"x [redacted] sk-ant-api03-abcdefghijklmnop"
    )
    assert Redactor([""])("abc") == "abc"
    assert not redact.finds("the task-force-of-the-twelve-monkeys")
    assert redact.finds("(sk-proj-abcdefghijklmnopqrstuv)")


@pytest.mark.parametrize("piece", ["x", "sk-", "ghp_a", "fgw-" + "a" * 29 + " ", "-----BEGIN "])
def test_redaction_takes_no_time_worth_stealing(piece: str) -> None:
    """A session chooses the text: 16 MB of the worst of it must not hold up the others."""
    text = piece * (4_000_000 // len(piece))
    began = time.process_time()
    Redactor(["hunter2hunter2"])(text)
    assert time.process_time() - began < 2


def test_a_recording_replays(tmp_path: Path) -> None:
    raw, key = tmp_path / "r.jsonl", Key("dev", "implement", "a", 1, 0, 0)
    said = Answer(
        'x\n"""\n\\\u2028', (Call("run", {"command": "ls 'a' \"b\"", "n": 1, "no": None}),), Tokens(5, 1, 2, 3), "tools"
    )
    keep(raw, key, Answer("earlier try", (), Tokens(), "end"))
    keep(raw, key, said)
    keep(raw, key._replace(turn=1), Answer("done", (), None, "end"))
    path = tmp_path / "r.toml"
    path.write_text(render(raw), encoding="utf-8")
    script = load_script(path)
    assert script.kind == "recorded"
    first = script.turns[key].answer
    assert isinstance(first, Answer)
    assert first.text == said.text
    assert first.calls == (Call("run", {"command": "ls 'a' \"b\"", "n": 1}),)
    assert first.tokens == Tokens(7, 1, 0, 3)
    assert len(script.turns) == 2


def test_a_secret_is_not_recorded(tmp_path: Path) -> None:
    raw = tmp_path / "r.jsonl"
    keep(raw, Key("f", "s", "", 1, 0, 0), Answer("the key is\nghp_" + "a" * 36, (), None, "end"))
    with pytest.raises(GatewayRefused, match="secret"):
        render(raw)
    with pytest.raises(GatewayRefused, match="record"):
        render(tmp_path / "absent")


def test_streams_are_cut_into_events() -> None:
    splitter = Splitter()
    raw = b"event: a\r\ndata: 1\r\n\r\n: comment\n\ndata: 2\ndata: 3\n\ndata: rest"
    got = [pair for n in range(len(raw)) for pair in splitter.feed(raw[n : n + 1])]
    assert [data for _, data in got] == ["1", "", "2\n3"]
    with pytest.raises(ValueError, match="too long"):
        list(Splitter().feed(b"x" * (MAX_EVENT + 1)))


def test_sockets_find_a_short_place_and_the_same_one_again(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    folder = socket_folder(deep)
    try:
        assert len(str(folder / ("r" * 40 + ".sock"))) <= MAX_PATH
        assert socket_folder(deep) == folder
        folder.chmod(0o755)
        with pytest.raises(GatewayRefused):
            socket_folder(deep)
    finally:
        folder.rmdir()
