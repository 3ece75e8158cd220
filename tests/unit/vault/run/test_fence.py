"""Many ask at once: one reading answers all who asked before it began, and nobody who asked later."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest

from factory.vault.canonical import Unclear
from factory.vault.ports import Order
from factory.vault.run.fence import LedgerFence

ORDER = cast(Order, SimpleNamespace(id="a", epoch=1, run="r"))
MAY = SimpleNamespace(kind="STARTED", epoch=1, run="r")


class Chain:
    """What the ledger says is what it said when a reading began; each waits until it is let go."""

    def __init__(self) -> None:
        self.says: dict[str, Any] = {"frozen": "", "state": MAY}
        self.began = 0
        self.fails = False
        self.go = threading.Event()

    def sync(self) -> Any:
        self.began += 1
        says, fails = dict(self.says), self.fails
        assert self.go.wait(10)
        if fails:
            raise Unclear("the forge does not answer")
        self.ledger = SimpleNamespace(frozen=says["frozen"], state=lambda id: says["state"])
        return self.ledger


def until(look: Any) -> None:
    deadline = time.monotonic() + 10
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("change", [{"frozen": "by hand"}, {"state": SimpleNamespace(kind="FENCED", epoch=2, run="x")}])
def test_who_asks_while_it_is_read_waits_for_the_next_reading(change: dict[str, Any]) -> None:
    chain = Chain()
    fence = LedgerFence(lambda: cast(Any, chain))
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(fence, ORDER)
        until(lambda: chain.began == 1)
        chain.says |= change
        later = [pool.submit(fence, ORDER) for _ in range(8)]
        until(lambda: fence.waiting == 8)
        chain.go.set()
        assert first.result(10)
        assert [one.result(10) for one in later] == [False] * 8
    assert chain.began == 2, "one reading for all eight"


def test_an_answer_of_a_moment_ago_is_none() -> None:
    chain = Chain()
    chain.go.set()
    fence = LedgerFence(lambda: cast(Any, chain))
    assert fence(ORDER)
    assert fence(ORDER)
    assert chain.began == 2


def test_a_reading_that_fails_answers_nobody_else() -> None:
    chain = Chain()
    chain.fails = True
    fence = LedgerFence(lambda: cast(Any, chain))
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(fence, ORDER)
        until(lambda: chain.began == 1)
        chain.fails = False
        later = [pool.submit(fence, ORDER) for _ in range(2)]
        until(lambda: fence.waiting == 2)
        chain.go.set()
        with pytest.raises(Unclear):
            first.result(10)
        assert [one.result(10) for one in later] == [True, True]
    assert chain.began == 2
