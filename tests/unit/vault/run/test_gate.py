"""The one question before anything changes outside."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import cast

import pytest

from factory.vault.ports import Order
from factory.vault.run.gate import Gate, Shut


@dataclass(frozen=True)
class Some:
    """As much of an order as the gate looks at."""

    probe: bool = False
    deadline: float = 100.0


@dataclass
class Ledger:
    """Answers, counts, and tells the time."""

    good: bool = True
    asked: int = 0
    now: float = 0.0
    trouble: Exception | None = None
    orders: list[object] = field(default_factory=list)

    def fence(self, order: Order) -> bool:
        self.asked += 1
        if self.trouble:
            raise self.trouble
        return self.good

    def gate(self, **order: object) -> Gate:
        return Gate(cast(Order, replace(Some(), **order)), self.fence, lambda: self.now)  # type: ignore[arg-type]


def test_each_change_asks_anew_and_is_remembered() -> None:
    ledger = Ledger()
    gate = ledger.gate()
    gate.begin()
    gate.change("a")
    gate.change("b")
    gate.still()
    assert (ledger.asked, gate.tried) == (4, ["a", "b"])
    gate.came_to_nothing("a")
    assert gate.tried == ["b"]


def test_once_no_is_no_for_good() -> None:
    ledger = Ledger(good=False)
    gate = ledger.gate()
    with pytest.raises(Shut):
        gate.change("a")
    ledger.good = True
    for again in (partial(gate.change, "b"), gate.still, gate.read):
        with pytest.raises(Shut, match="no longer says"):
            again()
    assert (ledger.asked, gate.tried) == (1, [])


def test_whatever_keeps_the_ledger_from_being_read_keeps_the_effect_from_happening() -> None:
    ledger = Ledger(trouble=OSError("down"))
    with pytest.raises(Shut, match="cannot be read: OSError"):
        ledger.gate().change("a")


def test_the_start_has_a_deadline_and_what_follows_has_none() -> None:
    ledger = Ledger(now=100.1)
    with pytest.raises(Shut, match="too late"):
        ledger.gate().begin()
    assert ledger.asked == 0
    ledger.now = 99.0
    gate = ledger.gate()
    gate.begin()
    ledger.now = 5000.0
    gate.change("late, but still ours")


def test_reading_may_use_an_answer_of_the_last_seconds() -> None:
    ledger = Ledger()
    gate = ledger.gate()
    for moment, asked in ((0.0, 1), (4.9, 1), (5.1, 2), (10.2, 3)):
        ledger.now = moment
        gate.read()
        assert ledger.asked == asked
    gate.change("y")
    assert ledger.asked == 4


def test_a_probe_reads_without_the_ledger_and_never_changes() -> None:
    ledger = Ledger(good=False)
    gate = ledger.gate(probe=True)
    gate.begin()
    gate.read()
    assert ledger.asked == 0
    with pytest.raises(Shut, match="only looks"):
        gate.change("y")


def test_shut_from_outside() -> None:
    gate = Ledger().gate()
    gate.shut("given up")
    with pytest.raises(Shut, match="given up"):
        gate.read()
