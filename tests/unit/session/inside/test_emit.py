"""``emit`` as a command: what it writes, says and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.session.inside import emit, layout


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folders = {layout.IN: tmp_path / "in", layout.OUT: tmp_path / "out"}
    for folder in folders.values():
        folder.mkdir()
    monkeypatch.setenv(layout.MAP_VARIABLE, json.dumps({place: str(folder) for place, folder in folders.items()}))
    grants = {"comments": {"max": 2}, "labels": ["blocked"], "refuse": True, "vault": ["release"]}
    (tmp_path / "in/grants.json").write_text(json.dumps(grants))
    (tmp_path / "body").write_bytes(b"text\0 \xff")
    return tmp_path / "out/outbox.jsonl"


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_recorded_with_what_is_left(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert emit.main(["comment", "--body-file", str(tmp_path / "body")]) == 0
    assert capsys.readouterr().out == "recorded: comment. left: comment 1, refuse 1\n"
    assert lines(out) == [{"kind": "comment", "body": "text \ufffd"}]


def test_each_kind_has_its_fields(out: Path, tmp_path: Path) -> None:
    body = str(tmp_path / "body")
    assert emit.main(["label", "--add", "blocked"]) == 0
    assert emit.main(["vault", "release", "version=1.0", "note=a=b"]) == 0
    assert emit.main(["refuse", "--reason", "unclear", "--body-file", body]) == 0
    assert lines(out)[:2] == [
        {"kind": "label", "add": ["blocked"], "remove": []},
        {"kind": "vault", "formula": "release", "parameters": {"version": "1.0", "note": "a=b"}},
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["pull", "--title", "T", "--body-file", "BODY"], "pull: not granted"),
        (["comment", "--body-file", "/nowhere"], "/nowhere"),
        (["vault", "release", "novalue"], "KEY=VALUE"),
        (["label"], "nothing to add or remove"),
        (["label", "--add", "approved"], "'approved' is not granted; granted: blocked"),
    ],
)
def test_refused_with_the_reason_and_nothing_written(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    words = [str(tmp_path / "body") if word == "BODY" else word for word in arguments]
    assert emit.main(words) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.endswith("emit: nothing was recorded\n")
    assert not out.exists() or out.read_text() == ""


def test_unknown_kind_is_usage(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        emit.main(["merge"])
    assert caught.value.code == 2
    assert "invalid choice: 'merge'" in capsys.readouterr().err


def test_body_too_large_is_not_read_to_its_end(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert emit.main(["comment", "--body-file", "/dev/zero"]) == 2
    assert "more than 60000 bytes" in capsys.readouterr().err


def test_a_torn_line_is_closed_before_the_next(out: Path, tmp_path: Path) -> None:
    out.write_text('{"kind": "comm')
    assert emit.main(["comment", "--body-file", str(tmp_path / "body")]) == 0
    first, second = out.read_text().splitlines()
    assert first == '{"kind": "comm'
    assert json.loads(second)["kind"] == "comment"


def test_outbox_that_is_a_link_is_not_followed(out: Path, tmp_path: Path) -> None:
    out.symlink_to(tmp_path / "elsewhere")
    assert emit.main(["comment", "--body-file", str(tmp_path / "body")]) == 2
    assert not (tmp_path / "elsewhere").exists()
