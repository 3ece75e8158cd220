"""Fixtures of the sandbox suite: who the factory is, and starting things in a sandbox."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ORDINARY_UID = 1_899_999_999
"""Belongs to nobody: neither a person nor the range sandboxes take theirs from."""

Attack = Callable[..., dict[str, tuple[bool, str]]]


@pytest.fixture(params=["root", "user"])
def identity(request: pytest.FixtureRequest) -> str:
    """The factory runs as root, and as an ordinary user; as the latter also when the suite runs as root."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("needs root: the suite runs as an ordinary user")
    return str(request.param)


@pytest.fixture
def home() -> Iterator[Path]:
    """A factory's home that a sandbox can show in its own place, which is not so below /dev, where tests may write."""
    with tempfile.TemporaryDirectory(prefix="factory-sandbox-", dir="/tmp") as folder:
        made = Path(folder) / "home"
        made.mkdir()
        yield made


@pytest.fixture
def attack(identity: str, home: Path, tmp_path: Path) -> Attack:
    """Run the attacker as that factory's session; its answers by attack: got through, and what it saw."""

    def run(**given: Any) -> dict[str, tuple[bool, str]]:
        here = Path(__file__).parent
        arguments = [str(here / "attacker.py"), json.dumps({"home": str(home), **given})]
        if identity == "user" and os.geteuid() == 0:
            arguments = [str(here / "other_user.py"), str(ORDINARY_UID), str(home), *arguments]
        done = subprocess.run(
            [sys.executable, *arguments],
            env={
                "HOME": str(home),
                "TMPDIR": str(tmp_path),
                "PATH": "/usr/bin:/bin",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["uid"] == 0) == (identity == "root")
        return {name: (broken, detail) for name, (broken, detail) in told["answers"].items()}

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder below one of mode 0700, as a run's folders are."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    yield closed
    shutil.rmtree(closed, ignore_errors=True)
