"""The log of a run: masked, bounded, and its end is always in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.session import runlog
from factory.session.runlog import RunLog, tail


def test_secrets_are_masked_also_those_learned_later(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "logs" / "r.log", ["tok-1", ""])
    log.raw("before tok-2")
    log.hide("tok-2")
    log.hide("")
    log.line("tok-1 and tok-2")
    log.raw("x" + "tok-2" * 2)
    log.close()
    text = (tmp_path / "logs" / "r.log").read_text()
    assert "tok-1" not in text
    assert text.splitlines()[1].endswith("*** and ***")
    assert text.splitlines()[2] == "x******"
    assert (tmp_path / "logs" / "r.log").stat().st_mode & 0o777 == 0o600


def test_a_flood_is_cut_and_the_end_is_still_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runlog, "MAX_BYTES", 1000)
    monkeypatch.setattr(runlog, "OWN_BYTES", 200)
    log = RunLog(tmp_path / "r.log")
    for _ in range(100):
        log.raw("x" * 99)
    for _ in range(100):
        log.line("ended: failed")
    log.close()
    lines = (tmp_path / "r.log").read_text().splitlines()
    assert lines.count("[log] cut: the log reached its size limit") == 1
    assert lines[-1].endswith("ended: failed")
    assert (tmp_path / "r.log").stat().st_size < 1400


def test_what_is_no_text_is_written_all_the_same(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "r.log")
    log.raw("\udcff half")
    log.close()
    assert (tmp_path / "r.log").read_text() == "? half\n"


def test_the_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert tail(file) == ""
    file.write_text("one\ntwo\nthree\n")
    assert tail(file) == "one\ntwo\nthree\n"
    assert tail(file, 8) == "three\n"
