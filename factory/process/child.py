"""A process held, started here (Child) or by somebody else (Adopted): watched by a pidfd, ended with its tree."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from factory.errors import FactoryError
from factory.process.identity import identity, is_alive
from factory.process.tree import Tree, end_tree

UNKNOWN_EXIT = -256
"""What ``poll`` and ``wait`` return for an adopted process that ended: its exit code went to its own parent."""

TREE_MARK = "FACTORY_TREE"
"""Variable added to every child's environment: a random mark that descendants inherit, for ``kill_tree``."""


class StartFailed(FactoryError):
    """A program could not be started, or ended before it was ready."""

    exit_code = 4


class Running(Protocol):
    """What a started and an adopted process have in common."""

    @property
    def pid(self) -> int: ...
    @property
    def created(self) -> float: ...
    def fileno(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout_s: float | None = None) -> int | None: ...
    def kill_tree(self, grace_s: float = 0.5) -> None: ...
    def close(self) -> None: ...


class Popen(subprocess.Popen[bytes]):
    """Popen that stays silent when a service is deliberately left running behind us."""

    left_running = False

    def __del__(self, *args: Any, **kwargs: Any) -> None:
        if self.left_running and getattr(self, "returncode", 0) is None:
            kwargs["_warn"] = lambda *_a, **_k: None
        super().__del__(*args, **kwargs)


class Child:
    """A process started here. As a context manager it leaves no process and no descriptor behind."""

    def __init__(self, popen: Popen, mark: str) -> None:
        self._popen = popen
        self._mark = mark
        self.pid: int = popen.pid
        self._pidfd = os.pidfd_open(popen.pid)
        created = identity(popen.pid)
        if created is None:  # cannot be: an unreaped child has an entry, even when it already ended
            raise StartFailed(f"starting process {popen.pid}: it has no identity")
        self.created: float = created

    @property
    def stdin(self) -> IO[bytes] | None:
        """The unbuffered writing end, if ``stdin=PIPE``."""
        return self._popen.stdin

    @property
    def stdout_fd(self) -> int | None:
        """The raw reading end of standard output, if ``stdout=PIPE``, for a selector or ``os.read``."""
        return None if self._popen.stdout is None else self._popen.stdout.fileno()

    @property
    def stderr_fd(self) -> int | None:
        """The raw reading end of standard error, if ``stderr=PIPE``."""
        return None if self._popen.stderr is None else self._popen.stderr.fileno()

    def fileno(self) -> int:
        """A pidfd: readable once the process has ended, so it can stand in a selector."""
        return self._pidfd

    def poll(self) -> int | None:
        """Exit code (negative = signal), or None while it runs."""
        return self._popen.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """Exit code, or None when it still runs after ``timeout_s`` seconds (None: wait without bound)."""
        if self._popen.returncode is None and not _readable(self._pidfd, timeout_s):
            return None
        return self._popen.wait()

    def kill_tree(self, grace_s: float = 0.5) -> None:
        """End it and every descendant: SIGTERM, ``grace_s`` seconds to obey, then SIGKILL; at most 2 s in all."""
        end_tree(Tree(self.pid, self.created, f"{TREE_MARK}={self._mark}".encode()), grace_s=grace_s)
        self.wait(1.0)

    def end_group(self) -> None:
        """SIGKILL what is left of the process group; only before the reaping, while its number is surely ours."""
        if self._popen.returncode is not None:
            return
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return  # nobody left, or (after a change of user) nobody we may signal

    def detach(self) -> None:
        """Give up supervision: the process may outlive us, and no warning is due for it."""
        self._popen.left_running = True
        self.close()

    def close(self) -> None:
        """Close the descriptors held here; the process itself is left alone."""
        for pipe in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.poll() is None:
            self.kill_tree()
        self.close()


class Adopted:
    """A process somebody else started, held by a pidfd. Its exit code is not ours to know."""

    def __init__(self, pid: int, created: float, pidfd: int) -> None:
        self.pid = pid
        self.created = created
        self._pidfd = pidfd

    def fileno(self) -> int:
        """A pidfd: readable once the process has ended."""
        return self._pidfd

    def poll(self) -> int | None:
        """None while it runs, else ``UNKNOWN_EXIT``."""
        return UNKNOWN_EXIT if _readable(self._pidfd, 0) else None

    def wait(self, timeout_s: float | None = None) -> int | None:
        """``UNKNOWN_EXIT``, or None when it still runs after ``timeout_s`` seconds."""
        return UNKNOWN_EXIT if _readable(self._pidfd, timeout_s) else None

    def kill_tree(self, grace_s: float = 0.5) -> None:
        """As ``Child.kill_tree``, with the mark read from the process's own environment where that can be read."""
        end_tree(Tree(self.pid, self.created, _mark_of(self.pid)), grace_s=grace_s)
        self.wait(1.0)

    def close(self) -> None:
        """Close the pidfd; the process is left alone."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def adopt(pid: int, created: float) -> Adopted | None:
    """Hold the process ``pid`` created at ``created`` (see ``identity``), or None when that one is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return None
    # The pidfd was opened first: if the identity still matches, the descriptor cannot belong to a later process.
    if not is_alive(pid, created):
        os.close(pidfd)
        return None
    return Adopted(pid, created, pidfd)


def send_signal(process: Running, number: signal.Signals) -> None:
    """Send one signal to exactly that process; nothing happens when it is gone."""
    try:
        signal.pidfd_send_signal(process.fileno(), number)
    except ProcessLookupError:
        return


def _mark_of(pid: int) -> bytes | None:
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    prefix = f"{TREE_MARK}=".encode()
    return next((item for item in environ.split(b"\0") if item.startswith(prefix)), None)


def _readable(fd: int, timeout_s: float | None) -> bool:
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(None if timeout_s is None else max(timeout_s, 0) * 1000))
