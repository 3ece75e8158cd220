"""What a sandbox may use: memory, processes and disk are bounded, and the reason for a stop is said."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from factory.sandbox.bubblewrap import Bubblewrap
from factory.sandbox.protocol import Bind, Confinement, Limits

pytestmark = pytest.mark.needs_bwrap

HOG = "b = []\nwhile True: b.append(bytearray(b'x') * (4 << 20))"
SHARED_HOG = """
import os, time
block = bytearray(b'x') * (100 << 20)
for _ in range(8):
    if os.fork() == 0:
        break
time.sleep(0.7)
"""
BOMB = """
import os, time
n = 0
end = time.monotonic() + 1.0
while time.monotonic() < end:
    try:
        if os.fork() == 0:
            end += 5
    except OSError:
        time.sleep(0.01)
"""
FILL = "import os\ni = 0\nwhile True:\n  i += 1\n  open('/work/f%d' % i, 'wb').write(os.urandom(8 << 20))"


def confinement(folder: Path, code: str) -> Confinement:
    work = folder / "work"
    work.mkdir()
    return Confinement(
        argv=(Bubblewrap().python(), "-I", "-S", "-c", code),
        env={},
        cwd="/work",
        binds=(Bind(work, "/work", writable=True),),
        sockets=(),
        tmpfs={},
        limits=Limits(memory_bytes=512 << 20, pids=48, file_bytes=64 << 20),
        owner_paths=(work,),
    )


def ended(sandbox: Bubblewrap, c: Confinement) -> tuple[int | None, str]:
    with tempfile.TemporaryFile() as said, sandbox.start(c, stdout=said.fileno(), stderr=said.fileno()) as child:
        code = child.wait(20)
        said.seek(0)
        return code, said.read().decode()


def test_memory_of_the_tree_is_bounded(folder: Path) -> None:
    code, said = ended(Bubblewrap(), confinement(folder, HOG))
    # Where a cgroup can be made the kernel ends it, else the starter does and says so.
    assert code in (125, 137)
    assert code == 137 or "of memory, more than the 512 MiB allowed" in said


def test_memory_shared_by_forks_counts_once(folder: Path) -> None:
    """Eight children of a process of 100 MiB show 900 MiB of resident pages, but use 100."""
    assert ended(Bubblewrap(without=["cgroup"]), confinement(folder, SHARED_HOG)) == (0, "")


def test_fork_bomb_is_bounded_and_ends(folder: Path) -> None:
    c = confinement(folder, BOMB)
    most = 0
    with tempfile.TemporaryFile() as said, Bubblewrap().start(c, stdout=said.fileno(), stderr=said.fileno()) as child:
        before = time.monotonic()
        while time.monotonic() - before < 1.0:
            most = max(most, _below(child.pid))
            time.sleep(0.05)
        child.kill_tree()
        assert time.monotonic() - before < 3.5
    # The starter and bubblewrap's two processes stand outside of the count or are part of it.
    assert 20 < most <= 48 + 3


def test_disk_is_not_filled(folder: Path) -> None:
    room = os.statvfs(folder)
    sandbox = Bubblewrap(disk_floor_bytes=room.f_bavail * room.f_frsize - (200 << 20))
    code, said = ended(sandbox, confinement(folder, FILL))
    assert code == 125
    assert "are left on the disk" in said
    assert sum(path.stat().st_size for path in (folder / "work").iterdir()) < 4 << 30


def test_full_disk_refuses_the_start(folder: Path) -> None:
    code, said = ended(Bubblewrap(disk_floor_bytes=1 << 62), confinement(folder, "open('/work/ran', 'w')"))
    assert code == 125
    assert "factory sandbox: not started: less than" in said
    assert not (folder / "work/ran").exists()


def test_file_larger_than_allowed_is_refused(folder: Path) -> None:
    c = confinement(folder, "open('/work/large', 'wb').truncate(1 << 30)")
    code, said = ended(Bubblewrap(), c)
    assert code != 0
    assert "File too large" in said or code == 128 + 25
    assert ended(Bubblewrap(), replace(c, limits=replace(c.limits, file_bytes=2 << 30)))[0] == 0


def _below(pid: int) -> int:
    from factory.sandbox.starter.bounds import descendants

    return len(descendants(pid)) - 1
