"""The one question before anything changes outside: is this run still the one that may? And what it did so far."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from factory.vault.ports import Order

Fence = Callable[[Order], bool]
"""Reads the ledger's tip anew: whether the order's (id, epoch, run) is its latest STARTED. What it raises means no."""
READ_AGAIN_S = 5.0
"""How old an answer may be that only lets a reading request through."""


class Shut(Exception):
    """Why nothing more may be done; the run ends. The words are ours alone: nothing that a run asked for is in them."""


class Gate:
    """Of one run. ``tried`` says what may have happened outside; empty: surely nothing. Safe from several threads."""

    def __init__(self, order: Order, fence: Fence, clock: Callable[[], float] = time.monotonic) -> None:
        self._order, self._fence, self._clock = order, fence, clock
        self._lock = threading.Lock()
        self._answered = float("-inf")
        self._shut = ""
        self.tried: list[str] = []

    def begin(self) -> None:
        """Before the first thing that could have an effect: whoever slept through the deadline may not begin any more.

        Later effects are not bound by it: each asks the ledger for itself. Raises Shut.
        """
        if self._clock() > self._order.deadline:
            raise self._close("the start came too late after STARTED")
        self._ask()

    def change(self, what: str) -> None:
        """Before every effect and every request that changes something: the ledger is asked anew. Raises Shut."""
        self.still()
        with self._lock:
            self.tried.append(what)

    def still(self) -> None:
        """Before something that prepares a change and is no change yet. Raises Shut."""
        if self._order.probe:
            raise self._close("a probe only looks")
        self._ask()

    def came_to_nothing(self, what: str) -> None:
        """The other side said that it did not do what was let through last under these words."""
        with self._lock:
            if what in self.tried:
                self.tried.remove(what)

    def read(self) -> None:
        """Before a request that only reads. Raises Shut."""
        if not self._order.probe and self._clock() - self._answered > READ_AGAIN_S:
            self._ask()

    def shut(self, why: str) -> None:
        """Let nothing more through, whatever the ledger says."""
        self._close(why)

    @property
    def closed(self) -> str:
        """Why nothing more is let through; empty: it is open."""
        with self._lock:
            return self._shut

    def _ask(self) -> None:
        if why := self.closed:
            raise Shut(why)
        if self._order.probe:
            return
        try:
            good = self._fence(self._order)
        except Exception as error:
            # Whatever keeps the ledger from being read keeps the effect from happening.
            raise self._close(f"the ledger cannot be read: {type(error).__name__}: {error}") from None
        if not good:
            raise self._close("the ledger no longer says that this run may")
        self._answered = self._clock()

    def _close(self, why: str) -> Shut:
        with self._lock:
            self._shut = self._shut or why
            return Shut(self._shut)
