"""Ticks are billed what they cost; the idle invoice adds up the idle ones of a day."""

from __future__ import annotations

from datetime import timedelta

from factory.daemon.meter import Cost, Meter, Remembered
from factory.gateway.values import GatewayUnavailable
from factory.testing.builders import NOW


class Counters:
    def __init__(self) -> None:
        self.now = Cost(0, 0, 0)

    def spend(self, requests: int, processes: int = 0, calls: int = 0) -> None:
        before = self.now
        self.now = Cost(before.forge_requests + requests, before.processes + processes, before.model_calls + calls)


def test_a_tick_is_billed_its_own_cost() -> None:
    counters = Counters()
    counters.spend(100)
    meter = Meter(lambda: counters.now)
    counters.spend(3)
    assert meter.tick(NOW, idle=True) == Cost(3, 0, 0)
    counters.spend(9, 2, 1)
    assert meter.tick(NOW, idle=False) == Cost(9, 2, 1)
    assert meter.last() == [Cost(3, 0, 0), Cost(9, 2, 1)]


def test_the_invoice_is_of_idle_ticks_of_the_last_day_only() -> None:
    counters = Counters()
    meter = Meter(lambda: counters.now)
    assert meter.invoice() is None
    counters.spend(1000)
    meter.tick(NOW - timedelta(hours=25), idle=True)
    counters.spend(50, 5, 5)
    meter.tick(NOW - timedelta(hours=2), idle=False)
    for hour in (1, 0):
        counters.spend(3)
        meter.tick(NOW - timedelta(hours=hour), idle=True)
    invoice = meter.invoice()
    assert invoice is not None
    assert (invoice.ticks, invoice.forge_requests, invoice.processes, invoice.model_calls) == (2, 6, 0, 0)
    assert invoice.hours == 1.0
    assert meter.ticks == 4


def test_calls_are_counted_once_however_the_gateway_comes_and_goes() -> None:
    """A gateway that is away at the end of a tick gives nothing back, and when it answers nothing is counted twice."""
    answers: list[int | None] = [None, 5, 7, None, 7, 8]

    def ask() -> int:
        said = answers.pop(0)
        if said is None:
            raise GatewayUnavailable("asking the gateway: it is away")
        return said

    calls = Remembered(ask)
    meter = Meter(lambda: Cost(0, 0, calls()))
    assert [meter.tick(NOW, idle=False).model_calls for _ in range(5)] == [0, 2, 0, 0, 1]
