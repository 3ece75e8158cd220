"""The subprocess door: start a program with an explicit environment, within bounds, and end its whole tree.

Every process gets its environment from the caller (nothing is inherited but what ``env`` names), its own session
(or at least its own process group), no open descriptors but the named ones, and a mark by which a descendant that
escaped group and session is still found.
"""

from __future__ import annotations

import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.process.child import (
    TREE_MARK,
    UNKNOWN_EXIT,
    Adopted,
    Child,
    Popen,
    Running,
    StartFailed,
    adopt,
    send_signal,
)
from factory.process.exchange import Exchange
from factory.process.identity import identity

__all__ = [
    "DEVNULL",
    "PIPE",
    "STDOUT",
    "TREE_MARK",
    "UNKNOWN_EXIT",
    "Adopted",
    "Child",
    "Completed",
    "Running",
    "StartFailed",
    "adopt",
    "identity",
    "run",
    "send_signal",
    "spawn",
    "started",
]

PIPE = subprocess.PIPE
DEVNULL = subprocess.DEVNULL
STDOUT = subprocess.STDOUT

_starts = 0
_DEFAULT_MAX_OUTPUT = 64 * 1024 * 1024


def started() -> int:
    """How many processes this one has started so far: an idle tick adds none."""
    return _starts


@dataclass(frozen=True)
class Completed:
    """What a bounded run left: exit code (negative = signal), captured output, and whether a bound was hit."""

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    timed_out: bool


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
    global _starts
    mark = secrets.token_hex(16)
    command = [*_limit_prefix(rlimits or {}), *argv]
    try:
        popen = Popen(
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
    _starts += 1
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
        exchange = Exchange(child, input if isinstance(input, bytes) else b"", max_output)
        finished = exchange.pump(time.monotonic() + timeout_s)
        if not finished:
            child.kill_tree(grace_s=0.2)
        else:
            child.end_group()
        code = child.wait(None)
        assert code is not None
        return Completed(code, bytes(exchange.out), bytes(exchange.err), exchange.truncated, not finished)


def _limit_prefix(rlimits: Mapping[str, int]) -> list[str]:
    # prlimit(1) and not preexec_fn: code run between fork and exec may deadlock in a process with threads.
    if not rlimits:
        return []
    return ["prlimit", *(f"--{name}={value}:{value}" for name, value in sorted(rlimits.items())), "--"]


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
