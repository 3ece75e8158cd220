"""Locks on files that end with their holder: taking one proves the earlier holder and its heirs dead.

flock(2) belongs to the open file, not to the process: a child that inherits the descriptor keeps the lock after its
parent was killed. So nothing here ever unlocks explicitly (that would unlock it for the child as well); closing is
the only end.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from factory.errors import Conflict


class Held:
    """A lock that is held until ``release`` here *and* the end of every child that inherited ``fileno()``."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def fileno(self) -> int:
        """The locked descriptor; put it into ``pass_fds`` so that a child keeps the lock."""
        return self._fd

    def release(self) -> None:
        """Give up our share of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold(path: Path, *, timeout_s: float | None = None, shared: bool = False) -> Held:
    """Take the lock, waiting for it; at most ``timeout_s`` seconds when given.

    Raises Conflict when another holder still has it at the deadline.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        fd = _open(path)
        try:
            if deadline is None:
                fcntl.flock(fd, _mode(shared))
                locked = True
            else:
                locked = _flock_until(fd, deadline, shared=shared)
            if locked and _is_current(path, fd):
                return Held(path, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if not locked:
            raise Conflict(f"waiting for the lock {path}: another process still holds it after {timeout_s:g} s")


def try_hold(path: Path, *, shared: bool = False) -> Held | None:
    """Take the lock if it is free now, else None. A concurrent ``is_held`` never makes it fail."""
    while True:
        fd = _open(path)
        try:
            locked = _try_flock(fd, shared=shared)
            if locked and _is_current(path, fd):
                return Held(path, fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)
        if not locked:
            return None


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock exclusively now. False when the file does not exist."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _flock_now(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def boot_id() -> str:
    """An id that changes with every boot of this machine: with another one, no earlier process lives."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _is_current(path: Path, fd: int) -> bool:
    # The file may have been deleted between open and lock (cache/ may vanish at any time): a lock on it protects
    # nothing.
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    here = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _mode(shared: bool) -> int:
    return fcntl.LOCK_SH if shared else fcntl.LOCK_EX


def _flock_now(fd: int, operation: int) -> bool:
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _try_flock(fd: int, *, shared: bool) -> bool:
    for _attempt in range(200):
        if _flock_now(fd, _mode(shared)):
            return True
        # Only a shared holder is in the way if a shared lock succeeds: a probe of is_held, gone in microseconds, or a
        # borrower that stays. The first is worth a short wait, the second ends the attempts.
        if shared or not _flock_now(fd, fcntl.LOCK_SH):
            return False
        fcntl.flock(fd, fcntl.LOCK_UN)  # ours alone until now: no child has inherited this descriptor
        time.sleep(random.uniform(0.0001, 0.0005))  # noqa: S311
    return False


def _flock_until(fd: int, deadline: float, *, shared: bool) -> bool:
    pause = 0.001
    while not _flock_now(fd, _mode(shared)):
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(pause, left))  # flock(2) has no timeout
        pause = min(pause * 2, 0.05)
    return True
