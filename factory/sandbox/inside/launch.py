"""Starting programs inside: own process group, signals as if freshly logged in, standard input always given."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence

_RESET = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD, signal.SIGXFSZ)


def start(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    patient: bool = False,
    more: Mapping[int, int] | None = None,
) -> int:
    """Start ``argv`` (looked up on PATH of ``env``) and return its pid. ``stdin`` None is /dev/null.

    ``more``: further descriptors, number inside -> ours; ours must be above all numbers inside.
    ``patient`` keeps SIGTERM from it: a cancel sends that to every process it sees, our last pack's among them.
    Raises OSError when it cannot be executed.
    """
    program = _find(argv[0], env.get("PATH", "/usr/bin:/bin"))
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    if stdin is None:
        actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
    else:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    for number, fd in ((1, stdout), (2, stderr)):
        if fd is not None:
            actions.append((os.POSIX_SPAWN_DUP2, fd, number))
    for number, fd in sorted((more or {}).items()):
        actions.append((os.POSIX_SPAWN_DUP2, fd, number))
    mask = (signal.SIGTERM,) if patient else ()
    return os.posix_spawn(
        program, list(argv), dict(env), file_actions=actions, setpgroup=0, setsigmask=mask, setsigdef=_RESET
    )


def wait(pid: int, timeout_s: float) -> int | None:
    """Exit code (negative: signal) of a child, or None after ``timeout_s``; then its group is killed and reaped."""
    deadline = time.monotonic() + timeout_s
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            end_group(pid)
            os.waitpid(pid, 0)
            return None
    finally:
        os.close(pidfd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end_group(pid: int, number: int = signal.SIGKILL) -> None:
    """Signal a child's process group, if there is still one."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def output(
    argv: Sequence[str], env: Mapping[str, str], *, given: bytes = b"", limit: int = 1 << 20, timeout_s: float = 60.0
) -> tuple[int | None, bytes]:
    """Run ``argv`` to its end: exit code (None: took too long) and at most ``limit`` bytes of what it printed."""
    source = os.memfd_create("given", os.MFD_CLOEXEC)
    sink = os.memfd_create("printed", os.MFD_CLOEXEC)
    try:
        os.write(source, given)
        os.lseek(source, 0, os.SEEK_SET)
        code = wait(start(argv, env, stdin=source, stdout=sink, patient=True), timeout_s)
        return code, os.pread(sink, limit, 0)
    finally:
        os.close(source)
        os.close(sink)


def _find(name: str, path: str) -> str:
    if "/" in name:
        return name
    for folder in path.split(":"):
        candidate = f"{folder}/{name}"
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError(2, f"no program {name!r} on PATH ({path})")
