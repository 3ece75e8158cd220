"""The sandbox of one run: what it sees, what bounds it, and watching it until it ends."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.process.spawn import Child
from factory.sandbox.protocol import Bind, Confinement, Limits, Sandbox
from factory.vault.run.inside import layout
from factory.vault.run.runlog import RunLog

LIMITS = Limits(memory_bytes=2 << 30, pids=128, file_bytes=layout.MAX_ARTIFACT + 1, cpu_s=3600)
OUT_BYTES = layout.MAX_ARTIFACT + (1 << 20)
SANDBOX_FAILED = 125
_STARTER = b"factory sandbox: "
_CHUNK = 65536


@dataclass(frozen=True)
class Ended:
    """How the first process ended. ``code`` None: killed by us. ``why``: for what, or what the starter said."""

    code: int | None
    why: str


def confinement(
    python: str, pyz: Path, *, control: Path, broker: Path | None, tree: Path | None, folders: Sequence[Bind],
    limits: Limits = LIMITS,
) -> Confinement:  # fmt: skip
    """No network, nothing of the host but the interpreter, our one file, the two sockets and what the policy names."""
    sockets = [Bind(control, layout.CONTROL, writable=True)]
    if broker is not None:
        sockets.append(Bind(broker, layout.BROKER, writable=True))
    binds = [Bind(pyz, layout.PYZ), *folders]
    if tree is not None:
        binds.append(Bind(tree, layout.TREE))
    return Confinement(
        argv=(python, "-I", "-S", layout.PYZ, "boot"), env={}, cwd="/tmp",  # noqa: S108 - its own, in memory
        binds=tuple(binds), sockets=tuple(sockets), tmpfs={layout.OUT: OUT_BYTES}, limits=limits, owner_paths=(),
    )  # fmt: skip


def run(
    sandbox: Sandbox, confined: Confinement, log: RunLog, *, seconds: float, lock_fd: int,
    started: Callable[[Child], None], stop: Callable[[], str],
) -> Ended:  # fmt: skip
    """Start it and read what it prints until it ends, its time is up, or ``stop()`` says why it must.

    ``started`` is told the process at once. Raises SandboxUnavailable, StartFailed.
    """
    pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(2)]
    (out, out_end), (err, err_end) = pipes
    try:
        child = sandbox.start(confined, stdout=out_end, stderr=err_end, lock_fd=lock_fd)
    except BaseException:
        os.close(out)
        os.close(err)
        raise
    finally:
        os.close(out_end)
        os.close(err_end)
    with child, selectors.DefaultSelector() as ready:
        started(child)
        try:
            return _Watch(child, ready, log, (out, err)).until_end(seconds, stop)
        finally:
            os.close(out)
            os.close(err)


class _Watch:
    def __init__(self, child: Child, ready: selectors.BaseSelector, log: RunLog, pipes: tuple[int, int]) -> None:
        self._child, self._ready, self._log = child, ready, log
        self._said = b""
        self._err = pipes[1]
        for fd in pipes:
            os.set_blocking(fd, False)
            ready.register(fd, selectors.EVENT_READ)
        ready.register(child.fileno(), selectors.EVENT_READ)

    def until_end(self, seconds: float, stop: Callable[[], str]) -> Ended:
        until, why = time.monotonic() + seconds, ""
        while not why:
            left = until - time.monotonic()
            if self._hear(min(max(left, 0.0), 0.25)):
                break
            why = stop() or ("its time is up" if left <= 0 else "it printed too much" if self._log.full else "")
        if why:
            self._child.kill_tree(grace_s=0.0)
        while self._hear(0.0, drain=True):
            continue
        code = self._child.wait(2.0)
        if code == SANDBOX_FAILED and not why:
            rows = [row for row in self._said.split(b"\n") if row.startswith(_STARTER)]
            why = rows[-1].removeprefix(_STARTER).decode("utf-8", "replace")[:300] if rows else "the sandbox failed"
            return Ended(code, why)
        return Ended(None if why else code, why)

    def _hear(self, seconds: float, *, drain: bool = False) -> bool:
        """Take what is there; whether it has ended (draining: whether more may come)."""
        ended, took = False, 0
        for key, _ in self._ready.select(seconds):
            if key.fd == self._child.fileno():
                ended = True
            else:
                took += self._take(key.fd)
        return took > 0 if drain else ended

    def _take(self, fd: int) -> int:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self._ready.unregister(fd)
        elif fd == self._err:
            self._said = (self._said + data)[-4096:]
        self._log.printed(fd, data)
        return len(data)
