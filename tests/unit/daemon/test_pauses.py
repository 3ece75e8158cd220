"""The stricter of the local file and the ops repo holds; what cannot be read is a pause."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from factory.daemon import pauses
from factory.plan.model import Pause
from factory.testing.builders import NOW


def test_a_pause_is_read_back_as_it_was_put(tmp_path: Path) -> None:
    told = Pause("dev", "founder", NOW, 'a "reason"\nwith two lines')
    pauses.put(tmp_path / "pauses", told)
    assert pauses.local(tmp_path / "pauses") == (told,)
    assert pauses.lift(tmp_path / "pauses", "dev")
    assert not pauses.lift(tmp_path / "pauses", "dev")
    assert pauses.local(tmp_path / "pauses") == ()


def test_no_folder_is_no_pause(tmp_path: Path) -> None:
    assert pauses.local(tmp_path / "none") == ()


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"by = ", b"since = 'yesterday'", b'since = 2026-01-01'])
def test_an_unreadable_pause_pauses(data: bytes) -> None:
    assert pauses.parse("all", data).scope == "all"


def test_every_paused_scope_is_told_once_with_its_oldest_pause() -> None:
    old, new = Pause("dev", "a", NOW - timedelta(hours=1)), Pause("dev", "b", NOW)
    other = Pause("all", "c", NOW)
    assert pauses.stricter([new, other], [old]) == (other, old)
    assert pauses.stricter([], [old]) == (old,)
    assert pauses.stricter([new], []) == (new,)
