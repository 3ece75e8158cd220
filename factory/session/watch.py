"""Watching one sandboxed process: its lines, its silence, its time, its size, and a person's wish to stop it."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from factory.process.spawn import Child
from factory.runs.model import Cause

MAX_LINE = 1 << 20
DRAIN_S = 2.0


@dataclass(frozen=True)
class Bounds:
    """Seconds of silence, seconds in all, bytes of output."""

    idle_s: float
    wall_s: float
    output_bytes: int


@dataclass(frozen=True)
class Ended:
    """How it ended: by itself (``cause`` None) or stopped by us, and why."""

    returncode: int | None
    cause: Cause | None
    detail: str
    seconds: float


class Stopped:
    """Set by SIGTERM: a person, or the daemon on their behalf, cancels this run."""

    def __init__(self) -> None:
        self.flag = False
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @contextmanager
    def listening(self) -> Iterator[Stopped]:
        """Catch SIGTERM and SIGINT for the duration; only the main thread may."""
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        wake = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        try:
            yield self
        finally:
            signal.set_wakeup_fd(wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _hear(self, _number: int, _frame: object) -> None:
        self.flag = True

    def fileno(self) -> int:
        return self._read


def watch(
    child: Child,
    *,
    stdout: int,
    stderr: int,
    bounds: Bounds,
    stopped: Stopped,
    on_line: Callable[[bytes, bool], str | None],
    on_pulse: Callable[[], None],
    pulse_s: float = 5.0,
) -> Ended:
    """Read the child's lines until it ends or a bound is reached; then its whole tree is gone.

    ``on_line(line, is_stderr)`` may return a reason to stop (no progress); ``on_pulse`` is called about every
    ``pulse_s`` seconds (checkpoints). ``stdout`` and ``stderr`` are read ends and are closed here.
    """
    began = last = time.monotonic()
    pulse = began + pulse_s
    total = 0
    buffers = {stdout: b"", stderr: b""}
    cause: Cause | None = None
    detail = ""
    with selectors.DefaultSelector() as ready:
        for fd in (stdout, stderr, stopped.fileno()):
            os.set_blocking(fd, False)
            ready.register(fd, selectors.EVENT_READ)
        while {stdout, stderr} & set(ready.get_map()):
            now = time.monotonic()
            if stopped.flag:
                cause, detail = Cause.CANCELLED, "stopped on request"
            elif now - began > bounds.wall_s:
                cause, detail = Cause.MAX_DURATION, f"ran longer than {bounds.wall_s:.0f} s"
            elif now - last > bounds.idle_s:
                cause, detail = Cause.INACTIVITY, f"nothing was heard of it for {bounds.idle_s:.0f} s"
            elif total > bounds.output_bytes:
                cause, detail = Cause.BACKEND, f"printed more than {bounds.output_bytes} bytes"
            if cause is not None:
                break
            if now >= pulse:
                on_pulse()
                pulse = now + pulse_s
            until = min(pulse, began + bounds.wall_s, last + bounds.idle_s) - now
            for key, _ in ready.select(max(0.0, until) + 0.01):
                fd = key.fd
                if fd == stopped.fileno():
                    os.read(fd, 4096)
                    continue
                data = os.read(fd, 65536)
                if not data:
                    ready.unregister(fd)
                    _flush(buffers, fd, stderr, on_line)
                    continue
                last = time.monotonic()
                total += len(data)
                *lines, rest = (buffers[fd] + data).split(b"\n")
                buffers[fd] = rest[-MAX_LINE:]
                for line in lines:
                    reason = on_line(line, fd == stderr)
                    if reason and cause is None:
                        cause, detail = Cause.BACKEND, reason
            if cause is not None:
                break
    if cause is None:
        returncode = child.wait(DRAIN_S)
        if returncode is None:
            child.kill_tree()
            returncode = child.wait(DRAIN_S)
    else:
        child.kill_tree()
        returncode = child.wait(DRAIN_S)
    for fd in (stdout, stderr):
        os.close(fd)
    return Ended(returncode, cause, detail, time.monotonic() - began)


def _flush(buffers: dict[int, bytes], fd: int, stderr: int, on_line: Callable[[bytes, bool], str | None]) -> None:
    if buffers[fd]:
        on_line(buffers[fd], fd == stderr)
        buffers[fd] = b""
