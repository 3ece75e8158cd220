"""A disk that is full: the daemon says so, loses nothing, and goes on when there is room again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.needs_bwrap
def test_a_full_disk_is_told_and_lived_through(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    done = subprocess.run(
        ["bwrap", "--dev-bind", "/", "/", "--size", str(64 << 20), "--tmpfs", small, "--die-with-parent",
         sys.executable, "-m", "tests.integration.daemon.on_a_small_disk", small],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    before, full, after = told["before"], told["full"], told["after"]
    assert (before["trouble"], before["written"]) == ("", before["ticks"])
    assert full["ticks"] == before["ticks"] + 3
    assert full["written"] == before["ticks"], "there was no room for a new one, and the old one is whole"
    assert "No space left on device" in full["trouble"]
    assert [line.split(": /")[0] for line in full["said"]] == [
        "trouble: No space left on device",
        "trouble: status stays as it was: No space left on device",
    ], "once, however often it is met"
    assert (after["trouble"], after["written"]) == ("", full["ticks"] + 1)
    assert after["said"] == ["all is well again", "status is up to date again"]
    assert after["replayed"] == [True, True], "the ticks that came to their end can be decided again"
