"""The wheel, built once and installed into a virtual environment of its own, driven as a person drives it.

What happened is then judged with plain git and plain HTTP: nothing in these files imports ``factory`` to do so.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.looking import PATH

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str
    seconds: float

    def facts(self) -> dict[str, Any]:
        """What stands below ``factory.<kind>/v1`` in its JSON."""
        (value,) = json.loads(self.out).values()
        assert isinstance(value, dict)
        return value


@dataclass(frozen=True)
class Installed:
    """The command of an installed wheel, with an empty home of its user."""

    program: Path
    user_home: Path
    path: str = PATH

    def env(self, home: Path) -> dict[str, str]:
        return {"PATH": self.path, "HOME": str(self.user_home), "FACTORY_HOME": str(home), "LANG": "C.UTF-8"}

    def run(self, *words: str | Path, home: Path, code: int | None = 0, timeout: float = 120) -> Ran:
        """Run ``factory words...``; ``code`` None takes any ending."""
        began = time.monotonic()
        try:
            done = subprocess.run(
                [self.program, *map(str, words)], env=self.env(home), cwd=self.user_home, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=timeout, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            said = (late.stderr or b"").decode("utf-8", "replace")[-2000:]
            raise AssertionError(f"factory {words} did not end in {timeout} s; its last words:\n{said}") from None
        ran = Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - began)
        assert code is None or ran.code == code, f"factory {words} ended with {ran.code}\n{ran.out}\n{ran.err}"
        return ran


@pytest.fixture(scope="session")
def shared_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def installed(shared_tmp: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of this checkout in a virtual environment; what it depends on is lent by the tests' own, offline."""
    place = shared_tmp / "installed"
    place.mkdir(exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "ready").exists():
            _install(place)
            (place / "ready").touch()
    return Installed(place / "venv" / "bin" / "factory", tmp_path_factory.mktemp("user"))


def _install(place: Path) -> None:
    env = {"PATH": PATH, "HOME": str(place), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1"}

    def do(*words: str | Path) -> None:
        done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stdout}\n{done.stderr}"

    do(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place / "wheel")
    (wheel,) = (place / "wheel").glob("*.whl")
    venv = place / "venv"
    do(sys.executable, "-m", "venv", "--without-pip", venv)
    python = venv / "bin" / "python"
    do(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", wheel)
    site = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    # A path in a .pth file is only a path: the editable install among those packages is not seen through it.
    lent = [p for p in sys.path if p.endswith("site-packages")]
    (site / "lent.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")
    code = "import factory, sys; sys.exit(0 if factory.__file__.startswith(sys.prefix) else factory.__file__)"
    do(python, "-I", "-c", code)


@pytest.fixture
def stop_after(installed: Installed) -> Iterator[Callable[[Path], Path]]:
    """Names homes whose services are stopped when the test ends, whatever came of it."""
    homes: list[Path] = []

    def remember(home: Path) -> Path:
        homes.append(home)
        return home

    yield remember
    for home in homes:
        end(installed, home)


def end(installed: Installed, home: Path) -> None:
    """Stop a deployment and every session it left."""
    if (home / "state" / "host.toml").exists():
        installed.run("down", home=home, code=None)
    for file in home.glob("state/runs/*/process.json"):
        told = json.loads(file.read_bytes())
        line = Path(f"/proc/{told['pid']}/cmdline")
        try:
            if file.parent.name.encode() in line.read_bytes():
                os.kill(told["pid"], signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue


def share() -> float:
    """How many want each core now, at least one: a promise is for two cores of its own, and what else this machine
    does meanwhile is not the demo's fault."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def free_port() -> int:
    """A port nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
