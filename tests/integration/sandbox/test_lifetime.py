"""The end of a sandbox: however its starter ends, everything inside ends within two seconds, and the lock says so."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factory.process.spawn import Child, send_signal
from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Bind, Confinement, Limits

pytestmark = pytest.mark.needs_bwrap

LIMIT_S = 2.0
STUBBORN = """
import os, signal, sys, time
for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    signal.signal(n, signal.SIG_IGN)
for depth in range(3):              # daemonised, twice over, with a brother each time
    if os.fork() == 0:
        os.setsid()
open("/work/beat-%d" % os.getpid(), "w").close()
while True:
    time.sleep(0.05)
"""


def stubborn(folder: Path, mark: str) -> Confinement:
    """Eight processes that ignore every signal that can be ignored; their command line holds ``mark``."""
    work = folder / "work"
    work.mkdir()
    return Confinement(
        argv=(Bubblewrap().python(), "-I", "-S", "-c", STUBBORN, mark),
        env={},
        cwd="/work",
        binds=(Bind(work, "/work", writable=True),),
        sockets=(),
        tmpfs={},
        limits=Limits(memory_bytes=1 << 30, pids=64, file_bytes=1 << 20),
        owner_paths=(work,),
    )


def bearers(mark: str) -> set[int]:
    """Living processes whose command line holds ``mark``; bubblewrap's own processes bear it as well."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
    return found


def until(happened: Callable[[], bool], limit_s: float) -> float | None:
    """Seconds until it happened, or None."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s:
        if happened():
            return time.monotonic() - began
        time.sleep(0.01)
    return None


def started(work: Path) -> None:
    assert until(lambda: len(list(work.glob("beat-*"))) == 8, 10) is not None


@pytest.fixture
def mark() -> Iterator[str]:
    mark = f"stubborn-{secrets.token_hex(8)}"
    yield mark
    for pid in bearers(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def running(sandbox: Bubblewrap, c: Confinement, lock: int | None = None) -> Iterator[Child]:
    with sandbox.start(c, stdout=2, stderr=2, lock_fd=lock) as child:
        started(c.binds[0].source)
        yield child


def test_kill_9_of_the_starter_ends_the_tree_and_frees_the_lock(folder: Path, mark: str) -> None:
    path = folder / "lock"
    held = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    with running(Bubblewrap(), stubborn(folder, mark), held) as child:
        os.close(held)  # from here on only the sandbox holds it
        other = os.open(path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.kill(child.pid, signal.SIGKILL)
        fcntl.flock(other, fcntl.LOCK_EX)  # waits for the last holder
        assert until(lambda: not bearers(mark), LIMIT_S) is not None
        os.close(other)


def test_without_die_with_parent_the_tree_lives_on(folder: Path, mark: str) -> None:
    with running(Bubblewrap(without=["die-with-parent"]), stubborn(folder, mark)) as child:
        os.kill(child.pid, signal.SIGKILL)
        assert until(lambda: not bearers(mark), 0.7) is None
        assert len(bearers(mark)) >= 8


def test_cancel_ends_the_tree(folder: Path, mark: str) -> None:
    with running(Bubblewrap(), stubborn(folder, mark)) as child:
        began = time.monotonic()
        child.kill_tree()
        assert time.monotonic() - began < LIMIT_S
        assert until(lambda: not bearers(mark), 0.2) is not None


def test_end_of_the_session_process_ends_the_tree(folder: Path, mark: str) -> None:
    """The starter dies with the process that started it, and the rest with the starter."""
    script = (
        "import sys, pickle; from factory.sandbox.bubblewrap import Bubblewrap\n"
        "c = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "child = Bubblewrap().start(c, stdout=2, stderr=2); print(child.pid, flush=True); child.wait()"
    )
    import pickle

    c = stubborn(folder, mark)
    with subprocess.Popen([sys.executable, "-c", script, pickle.dumps(c).hex()], stdout=subprocess.PIPE) as session:
        started(c.binds[0].source)
        session.kill()
        session.wait()
        assert until(lambda: not bearers(mark), LIMIT_S) is not None


def test_sigterm_reaches_the_first_process_and_its_answer_comes_back(folder: Path, mark: str) -> None:
    c = stubborn(folder, mark)
    polite = (
        "import signal, sys\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "open('/work/up', 'w')\nsignal.pause()"
    )
    argv = (*c.argv[:4], polite, mark)
    with Bubblewrap().start(_with(c, argv), stdout=2, stderr=2) as child:
        assert until((c.binds[0].source / "up").exists, 10) is not None
        send_signal(child, signal.SIGTERM)
        assert child.wait(LIMIT_S) == 7


@pytest.mark.parametrize(("code", "expected"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), 9)", 137), ("pass", 0)])
def test_exit_codes_come_back(folder: Path, mark: str, code: str, expected: int) -> None:
    c = stubborn(folder, mark)
    with Bubblewrap().start(_with(c, (*c.argv[:4], f"import os, sys; {code}")), stdout=2, stderr=2) as child:
        assert child.wait(10) == expected


def _with(c: Confinement, argv: tuple[str, ...]) -> Confinement:
    return Confinement(argv, c.env, c.cwd, c.binds, c.sockets, c.tmpfs, c.limits, c.owner_paths)
