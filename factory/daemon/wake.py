"""What ends the daemon's sleep: a webhook, a session's end, a signal, or the time."""

from __future__ import annotations

import os
import selectors
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Wake:
    """One sleep at a time; ``now`` may be called from any thread or signal handler."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.stop = False
        """Set by SIGTERM, SIGINT or SIGHUP: finish the tick and end."""

    def now(self) -> None:
        """End the sleep."""
        try:
            os.write(self._write, b"x")
        except BlockingIOError:
            return  # the pipe is full of wishes to wake: one is enough

    def sleep(self, seconds: float, until_readable: Iterable[int] = ()) -> str:
        """Sleep at most so long; says what ended it: ``asked``, ``session``, or ``time``."""
        if self.stop:
            return "asked"
        with selectors.DefaultSelector() as ready:
            ready.register(self._read, selectors.EVENT_READ)
            for fd in until_readable:
                ready.register(fd, selectors.EVENT_READ)
            events = ready.select(max(0.0, seconds))
        if any(key.fd == self._read for key, _ in events):
            self._drain()
            return "asked"
        return "session" if events else "time"

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP (the terminal is gone) set ``stop`` and wake. Main thread only."""

        def hear(_number: int, _frame: object) -> None:
            self.stop = True

        before = {number: signal.signal(number, hear) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
        # ``hear`` runs only between two steps of the main thread: a signal that came just before the system call in
        # ``sleep``, or to another thread, would not end it. The byte is written wherever and whenever the signal comes.
        wake = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _drain(self) -> None:
        try:
            while os.read(self._read, 4096):
                pass
        except BlockingIOError:
            return
