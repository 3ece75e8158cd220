"""The fence: whether the ledger, read anew, still says that a run is the one that may. Its own copy, its own memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from factory.vault.chain import Chain
from factory.vault.ledger import Ledger
from factory.vault.ports import Order


class LedgerFence:
    """``gate.Fence``. ``chain`` makes a reader of the ledger of its own: the dispatcher's is busy in another thread.

    Safe from several threads: who asks while the ledger is being read waits, and one reading then answers all who wait.
    Raises what ``Chain.sync`` raises; whoever asks takes that for no.
    """

    def __init__(self, chain: Callable[[], Chain]) -> None:
        self._make = chain
        self._chain: Chain | None = None
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._began = self._ended = 0
        """Numbers of the reading that began last, and of the last one that came to its end."""
        self.waiting = 0
        """How many ask while the ledger is being read for others."""

    def __call__(self, order: Order) -> bool:
        with self._counting:
            asked = self._began  # what began before this moment is no answer
            self.waiting += 1
        with self._lock:
            with self._counting:
                self.waiting -= 1
            ledger = self._read(asked)
            state = ledger.state(order.id)
            return not ledger.frozen and (state.kind, state.epoch, state.run) == ("STARTED", order.epoch, order.run)

    def _read(self, asked: int) -> Ledger:
        """The ledger by a reading that began later than number ``asked``. For who holds the lock."""
        if self._chain is not None and self._ended > asked:
            return self._chain.ledger
        self._chain = self._chain or self._make()
        with self._counting:
            self._began = number = self._began + 1
        ledger = self._chain.sync()
        self._ended = number
        return ledger
