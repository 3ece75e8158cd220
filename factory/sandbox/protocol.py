"""What a session asks of a sandbox, as values, and the port every sandbox offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory.process.spawn import Child

HOME = "/home/agent"
"""Home inside, a tmpfs."""
BIN = "/run/factory/bin"
"""Small tmpfs for ``emit``; first on the default PATH."""

ALWAYS_TMPFS: Mapping[str, int] = {"/tmp": 512 << 20, HOME: 1 << 30, BIN: 1 << 20}  # noqa: S108
"""Writable memory every sandbox gives, in bytes; ``Confinement.tmpfs`` may give other sizes and more places."""


@dataclass(frozen=True)
class Bind:
    """A host file or folder and the absolute path at which the sandbox shows it."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Limits:
    """Bounds of one sandbox. Memory and processes are of the whole tree, file size and CPU seconds of one process."""

    memory_bytes: int
    pids: int
    file_bytes: int
    cpu_s: int | None = None


@dataclass(frozen=True)
class Confinement:
    """One start: what runs, what it sees, what it may write and use.

    ``argv``, ``env`` and ``cwd`` are as seen inside; ``env`` is all it gets (PATH, HOME, USER, LANG and TERM have
    defaults). ``binds`` come besides /usr, the interpreter and the generated /etc, which every sandbox gives.
    ``sockets`` are Unix socket files, each bound alone and never its folder. ``tmpfs`` maps a path to its size in
    bytes. ``owner_paths`` are host folders that the sandbox's user must be able to write; started as root, they are
    given to that user.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    binds: tuple[Bind, ...]
    sockets: tuple[Bind, ...]
    tmpfs: Mapping[str, int]
    limits: Limits
    owner_paths: tuple[Path, ...]


@dataclass(frozen=True)
class Wall:
    """One wall as ``doctor`` shows it: whether an attempt to break it failed, what was seen, and what to do."""

    name: str
    holds: bool
    detail: str
    hint: str | None = None


class Sandbox(Protocol):
    """A way to confine a process. Start it from a thread that lives as long as the run: its end ends the sandbox."""

    name: str

    def start(self, c: Confinement, *, stdout: int, stderr: int, lock_fd: int | None = None) -> Child:
        """Start ``c``. The child is the starter: its end, however it comes, is the end of the whole tree.

        SIGTERM to it is passed on to the first process inside; its exit code is that process's (128 + n after a signal
        n, 125 when the sandbox could not be built or a bound was exceeded; the reason stands on ``stderr``).
        ``lock_fd`` is kept open by the starter. Raises StartFailed or SandboxUnavailable.
        """
        ...

    def python(self) -> str:
        """Path, as seen inside, of an interpreter of Python 3.11 or later."""
        ...

    def walls(self) -> tuple[Wall, ...]:
        """Try to break each wall from inside and say which held."""
        ...
