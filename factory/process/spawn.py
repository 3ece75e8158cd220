"""The subprocess door: start a program with an explicit environment, within bounds, and end its whole tree.

Every process gets its environment from the caller (nothing is inherited but what ``env`` names), its own session
(or at least its own process group), no open descriptors but the named ones, and a mark by which a descendant that
escaped group and session is still found.
"""

from __future__ import annotations

import os
import secrets
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, Self

from factory.errors import FactoryError
from factory.process.identity import identity, is_alive
from factory.process.tree import Tree, end_tree

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

UNKNOWN_EXIT = -256
"""What ``poll`` and ``wait`` return for an adopted process that ended: its exit code went to its own parent."""

TREE_MARK = "FACTORY_TREE"
"""Variable added to every child's environment: a random mark that descendants inherit, for ``kill_tree``."""

_CHUNK = 65536
_DEFAULT_MAX_OUTPUT = 64 * 1024 * 1024


class StartFailed(FactoryError):
    """A program could not be started, or ended before it was ready."""

    exit_code = 4


@dataclass(frozen=True)
class Completed:
    """What a bounded run left: exit code (negative = signal), captured output, and whether a bound was hit."""

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    timed_out: bool


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


class _Popen(subprocess.Popen[bytes]):
    """Popen that stays silent when a service is deliberately left running behind us."""

    left_running = False

    def __del__(self, *args: Any, **kwargs: Any) -> None:
        if self.left_running and getattr(self, "returncode", 0) is None:
            kwargs["_warn"] = lambda *_a, **_k: None
        super().__del__(*args, **kwargs)


class Child:
    """A process started here. As a context manager it leaves no process and no descriptor behind."""

    def __init__(self, popen: _Popen, mark: str) -> None:
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


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str],
    stdin: int | None = None,
    stdout: int | None = DEVNULL,
    stderr: int | None = DEVNULL,
    pass_fds: Sequence[int] = (),
    uid: int | None = None,
    gid: int | None = None,
    rlimits: Mapping[str, int] | None = None,
    keep_session: bool = False,
) -> Child:
    """Start ``argv`` and return at once.

    ``stdin`` None is /dev/null; ``stdout``/``stderr`` take ``PIPE``, ``DEVNULL``, ``STDOUT`` (stderr only), a
    descriptor, or None to share ours. ``uid``/``gid`` drop to that user with no supplementary groups. ``rlimits``
    uses the long option names of prlimit(1) (``nofile``, ``nproc``, ``as``, ``fsize``, ``core``, ``cpu``), soft and
    hard alike. ``keep_session`` keeps our terminal session and only makes a process group of its own.

    A child that asks to die with its parent dies with the *thread* that started it: start such a child from a thread
    that lives as long as it should.

    Raises StartFailed when the program cannot be executed.
    """
    mark = secrets.token_hex(16)
    command = [*_limit_prefix(rlimits or {}), *argv]
    try:
        popen = _Popen(
            command,
            cwd=cwd,
            env={**env, TREE_MARK: mark},
            stdin=DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            bufsize=0,
            start_new_session=not keep_session,
            process_group=0 if keep_session else None,
            user=uid,
            group=gid if gid is not None else uid,
            extra_groups=None if uid is None else [],
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StartFailed(
            f"starting {argv[0]}: {_reason(error)}", hint=f"is {argv[0]} installed and executable?"
        ) from error
    return Child(popen, mark)


def run(
    argv: Sequence[str],
    *,
    cwd: Path | str | None = None,
    env: Mapping[str, str],
    input: bytes | int | None = None,
    timeout_s: float,
    max_output: int = _DEFAULT_MAX_OUTPUT,
    pass_fds: Sequence[int] = (),
    uid: int | None = None,
    gid: int | None = None,
    rlimits: Mapping[str, int] | None = None,
) -> Completed:
    """Run ``argv`` to its end and return what it said. ``input`` is bytes for its stdin, or a descriptor to read from.

    At most ``max_output`` bytes are kept of each stream; the rest is read and dropped (``truncated``). After
    ``timeout_s`` seconds the whole tree is killed (``timed_out``). Nothing outlives the call in the program's
    process group.

    Raises StartFailed when the program cannot be executed.
    """
    stdin = PIPE if isinstance(input, bytes) else input
    with spawn(
        argv,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=PIPE,
        stderr=PIPE,
        pass_fds=pass_fds,
        uid=uid,
        gid=gid,
        rlimits=rlimits,
    ) as child:
        exchange = _Exchange(child, input if isinstance(input, bytes) else b"", max_output)
        finished = exchange.pump(time.monotonic() + timeout_s)
        if not finished:
            child.kill_tree(grace_s=0.2)
        else:
            child.end_group()
        code = child.wait(None)
        assert code is not None
        return Completed(code, bytes(exchange.out), bytes(exchange.err), exchange.truncated, not finished)


class _Exchange:
    """Feeding a child and reading its two streams without deadlock, bounded in bytes."""

    def __init__(self, child: Child, data: bytes, max_output: int) -> None:
        self._child = child
        self._data = memoryview(data)
        self._max = max_output
        self.out = bytearray()
        self.err = bytearray()
        self.truncated = False

    def pump(self, deadline: float) -> bool:
        """Move bytes until the child has ended and its streams are drained; False when the deadline came first."""
        child = self._child
        with selectors.DefaultSelector() as selector:
            selector.register(child.fileno(), selectors.EVENT_READ, None)
            for fd, sink in ((child.stdout_fd, self.out), (child.stderr_fd, self.err)):
                if fd is not None:
                    os.set_blocking(fd, False)
                    selector.register(fd, selectors.EVENT_READ, sink)
            if child.stdin is not None:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin.fileno(), selectors.EVENT_WRITE, "stdin")
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                ended = False
                for key, _events in selector.select(left):
                    if key.data is None:
                        ended = True
                    elif key.data == "stdin":
                        self._feed(selector, key.fd)
                    else:
                        self._take(selector, key.fd, key.data)
                if ended:
                    # A descendant may keep the pipes open for ever: what is there now is all that counts.
                    for fd, sink in ((child.stdout_fd, self.out), (child.stderr_fd, self.err)):
                        while fd is not None and fd in selector.get_map() and self._take(selector, fd, sink):
                            pass
                    return True

    def _feed(self, selector: selectors.BaseSelector, fd: int) -> None:
        stdin = self._child.stdin
        assert stdin is not None
        try:
            written = os.write(fd, self._data[:_CHUNK]) if self._data else 0
            self._data = self._data[written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = self._data[:0]
        if not self._data:
            selector.unregister(fd)
            stdin.close()

    def _take(self, selector: selectors.BaseSelector, fd: int, sink: bytearray) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            selector.unregister(fd)
            return False
        room = self._max - len(sink)
        sink += data[: max(room, 0)]
        self.truncated = self.truncated or len(data) > room
        return True


def _limit_prefix(rlimits: Mapping[str, int]) -> list[str]:
    # prlimit(1) and not preexec_fn: code run between fork and exec may deadlock in a process with threads.
    if not rlimits:
        return []
    return ["prlimit", *(f"--{name}={value}:{value}" for name, value in sorted(rlimits.items())), "--"]


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


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def send_signal(process: Running, number: signal.Signals) -> None:
    """Send one signal to exactly that process; nothing happens when it is gone."""
    try:
        signal.pidfd_send_signal(process.fileno(), number)
    except ProcessLookupError:
        return
