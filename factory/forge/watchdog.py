"""One thread that ends what takes too long, for all clients of this process.

A timer for each request would be a thread for each request, which takes longer than many a request does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Watchdog:
    """The thread is started by the first call that is watched, and ends when none is left at its next look."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._calls: dict[object, tuple[float, Callable[[], None]]] = {}
        """What is under way: when it must have ended, and what ends it."""
        self._looks_at = 0.0
        self._thread: threading.Thread | None = None

    @contextmanager
    def within(self, seconds: float, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` once, from another thread, when what is inside takes longer."""
        call, until = object(), self._clock() + seconds
        with self._changed:
            self._calls[call] = (until, end)
            if self._thread is None or not self._thread.is_alive():  # a fork takes no thread along
                self._looks_at = until
                self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
                self._thread.start()
            elif until < self._looks_at:
                self._looks_at = until
                self._changed.notify()
        try:
            yield
        finally:
            with self._changed:
                self._calls.pop(call, None)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while (left := self._looks_at - self._clock()) > 0:
                    self._changed.wait(left)
                now = self._clock()
                ends = [end for until, end in self._calls.values() if until <= now]
                self._calls = {call: (until, end) for call, (until, end) in self._calls.items() if until > now}
                if not self._calls and not ends:
                    self._thread = None
                    return
                self._looks_at = min((until for until, _ in self._calls.values()), default=now)
            for end in ends:
                end()
