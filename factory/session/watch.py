"""Watching one sandboxed process: its lines, its silence, its time, its size, and a person's wish to stop it."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from factory.process.spawn import Child, send_signal
from factory.runs.model import Cause
from factory.session.stopped import Stopped

MAX_LINE = 1 << 20
CHUNK = 65536
GRACE_S = 1.0
"""Between asking the first process inside to end, which packs the work then, and killing the whole tree."""
DRAIN_S = 0.5
DRAIN_BYTES = 4 << 20

Stop = tuple[Cause, str]
"""Why a process is stopped before its own end."""


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


OnLine = Callable[[bytes, bool], Stop | None]
OnPulse = Callable[[], Stop | None]


def watch(
    child: Child,
    *,
    stdout: int,
    stderr: int,
    bounds: Bounds,
    stopped: Stopped,
    on_line: OnLine,
    on_pulse: OnPulse,
    pulse_s: float = 5.0,
) -> Ended:
    """Read the child's lines until it ends or a bound is reached; then its whole tree is gone.

    ``on_line(line, is_stderr)`` and ``on_pulse``, called about every ``pulse_s`` seconds, may return why to stop.
    Neither may wait for anything: while they do, nobody watches. ``stdout`` and ``stderr`` are read ends and are closed
    here. A child that closes both and lives on is silent.
    """
    return _Watch(child, stdout, stderr, bounds, stopped, on_line, on_pulse, pulse_s).to_the_end()


class _Watch:
    def __init__(
        self, child: Child, stdout: int, stderr: int, bounds: Bounds, stopped: Stopped, on_line: OnLine,
        on_pulse: OnPulse, pulse_s: float,
    ) -> None:  # fmt: skip
        self.child, self.bounds, self.stopped = child, bounds, stopped
        self.on_line, self.on_pulse, self.pulse_s = on_line, on_pulse, pulse_s
        self.began = self.last = time.monotonic()
        self.pulse = self.began + pulse_s
        self.total = 0
        self.streams = {stdout: Lines(), stderr: Lines()}
        self.stderr = stderr
        self.ready = selectors.DefaultSelector()
        self.stop: Stop | None = None

    def to_the_end(self) -> Ended:
        try:
            for fd in self.streams:
                os.set_blocking(fd, False)
                self.ready.register(fd, selectors.EVENT_READ)
            self.ready.register(self.child.fileno(), selectors.EVENT_READ)
            self.ready.register(self.stopped.fileno(), selectors.EVENT_READ)
            self._until_end()
            code = self._leave()
            self._flush()
        finally:
            self.ready.close()
            for fd in self.streams:
                os.close(fd)
        cause, detail = self.stop or (None, "")
        return Ended(code, cause, detail, time.monotonic() - self.began)

    def _until_end(self) -> None:
        while self.stop is None:
            now = time.monotonic()
            until = min(self.pulse, self.began + self.bounds.wall_s, self.last + self.bounds.idle_s) - now
            ended = self._hear(max(0.0, until) + 0.01)
            if ended and self.stop is None and not self.stopped.flag:
                return
            self.stop = self.stop or self._judge(time.monotonic())

    def _judge(self, now: float) -> Stop | None:
        bounds = self.bounds
        if self.stopped.flag:
            return Cause.CANCELLED, "stopped on request"
        if now - self.began > bounds.wall_s:
            return Cause.MAX_DURATION, f"ran longer than {bounds.wall_s:.0f} s"
        if now - self.last > bounds.idle_s:
            return Cause.INACTIVITY, f"nothing was heard of it for {bounds.idle_s:.0f} s"
        if self.total > bounds.output_bytes:
            return Cause.BACKEND, f"printed more than {bounds.output_bytes} bytes"
        if now >= self.pulse:
            self.pulse = now + self.pulse_s
            return self.on_pulse()
        return None

    def _hear(self, timeout_s: float) -> bool:
        """Take what is there; whether the child has ended."""
        ended = False
        for key, _ in self.ready.select(timeout_s):
            if key.fd == self.child.fileno():
                ended = True
            elif key.fd == self.stopped.fileno():
                os.read(key.fd, 4096)
            elif self._take(key.fd):
                self.last = time.monotonic()
        return ended

    def _take(self, fd: int) -> int:
        """Bytes read from this stream now; 0 at its end or when nothing is there."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return 0
        if not data:
            self.ready.unregister(fd)
        self.total += len(data)
        for line in self.streams[fd].feed(data):
            self._line(line, fd)
        return len(data)

    def _line(self, line: bytes, fd: int) -> None:
        if self.total > self.bounds.output_bytes + DRAIN_BYTES:
            return  # it is being stopped for that
        why = self.on_line(line, fd == self.stderr)
        self.stop = self.stop or why

    def _leave(self) -> int | None:
        """End the tree, reading on so that nothing in it waits for a full pipe; the exit code."""
        child = self.child
        if self.stop is not None:
            send_signal(child, signal.SIGTERM)
            until = time.monotonic() + GRACE_S
            while (left := until - time.monotonic()) > 0 and not self._hear(left):
                continue
            if child.poll() is None:
                child.kill_tree(grace_s=0.0)
        left_bytes, until = DRAIN_BYTES, time.monotonic() + DRAIN_S
        for fd in self.streams:
            while fd in self.ready.get_map() and left_bytes > 0 and time.monotonic() < until:
                took = self._take(fd)
                left_bytes -= took
                if not took:
                    break
        if any(fd in self.ready.get_map() for fd in self.streams):
            child.kill_tree(grace_s=0.0)  # something it left behind still holds its streams
        return child.wait(2.0)

    def _flush(self) -> None:
        for fd, lines in self.streams.items():
            rest = lines.rest()
            if rest:
                self._line(rest, fd)


class Lines:
    """A stream cut into lines. Of a line longer than ``MAX_LINE`` only its beginning is kept: what follows must not
    pass for a line of its own."""

    def __init__(self) -> None:
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end in ``data``, without their ends."""
        *ends, rest = data.split(b"\n")
        lines = []
        for end in ends:
            self._add(end)
            lines.append(bytes(self._begun))
            self._begun.clear()
        self._add(rest)
        return lines

    def rest(self) -> bytes:
        """What stands after the last line end."""
        return bytes(self._begun)

    def _add(self, data: bytes) -> None:
        self._begun += data[: max(0, MAX_LINE - len(self._begun))]
