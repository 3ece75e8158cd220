"""The end, the bounds and the first process hold for an ordinary user's factory as well."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = ("test_lifetime.py", "test_bounds.py", "test_boot.py")


@pytest.mark.needs_bwrap
@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the suite runs as an ordinary user already")
@pytest.mark.parametrize("name", FILES)
def test_the_same_tests_pass_as_an_ordinary_user(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    arguments = [
        "-m",
        "pytest",
        str(HERE / name),
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "--basetemp",
        f"{home}/t",
    ]
    done = subprocess.run(
        [sys.executable, HERE / "other_user.py", "1899999999", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
