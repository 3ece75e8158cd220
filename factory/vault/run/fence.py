"""The fence: whether the ledger, read anew, still says that a run is the one that may. Its own copy, its own memory."""

from __future__ import annotations

import threading
from collections.abc import Callable

from factory.vault.chain import Chain
from factory.vault.ports import Order


class LedgerFence:
    """``gate.Fence``. ``chain`` makes a reader of the ledger of its own: the dispatcher's is busy in another thread.

    Safe from several threads. Raises what ``Chain.sync`` raises; whoever asks takes that for no.
    """

    def __init__(self, chain: Callable[[], Chain]) -> None:
        self._make = chain
        self._chain: Chain | None = None
        self._lock = threading.Lock()

    def __call__(self, order: Order) -> bool:
        with self._lock:
            self._chain = self._chain or self._make()
            ledger = self._chain.sync()
            state = ledger.state(order.id)
            return not ledger.frozen and (state.kind, state.epoch, state.run) == ("STARTED", order.epoch, order.run)
