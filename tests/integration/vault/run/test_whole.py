"""The real dispatcher with the real runner on one real ledger: started once, fenced by what stands there, probed."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from factory.forge.values import RepoName
from factory.vault.canonical import Refused
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.ledger import ALL, Entry
from factory.vault.ports import Order
from factory.vault.run import effects
from factory.vault.run.fence import LedgerFence
from factory.vault.run.runner import Runner
from factory.vault.run.tools import EffectFailed, Tools, Work
from tests.integration.vault import house as ledgers
from tests.integration.vault.run.conftest import Tried
from tests.integration.vault.run.house import Folder, token


@dataclass
class StandIn:
    """An effect that is a line in a list, found again by its key. ``hold``: wait here, after the first question."""

    happened: list[str] = field(default_factory=list)
    hold: threading.Event | None = None
    waiting: threading.Event = field(default_factory=threading.Event)
    fails: list[str] = field(default_factory=list)

    def do(self, work: Work) -> Mapping[str, object]:
        if self.hold is not None:
            self.waiting.set()
            self.hold.wait(20)
        work.gate.change("stand in")
        self.happened.append(work.order.idem_key)
        if self.fails:
            raise EffectFailed(self.fails.pop())
        return {"place": work.text("place")}

    def done(self, work: Work) -> bool:
        return work.order.idem_key in self.happened


@pytest.fixture
def effect(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    made = StandIn()
    monkeypatch.setitem(effects.EFFECTS, "stand_in", made)  # type: ignore[arg-type]
    return made


@dataclass
class Whole:
    """One ledger, and dispatchers that each have a runner of their own."""

    house: ledgers.House
    runners: list[Runner] = field(default_factory=list)

    def fence(self, name: str) -> LedgerFence:
        return LedgerFence(lambda: self.house.chain(f"{name}-fence"))

    def dispatcher(self, name: str = "d1") -> tuple[Dispatcher, Runner]:
        state = self.house.root / "vault"

        def never(*_: Any) -> Any:
            raise AssertionError("not asked for")

        tools = Tools(
            state=state, host="host", instance=f"host/{name}", sandbox=Tried, fence=self.fence(name), secret=never,
            project=Folder(RepoName("a", "b")), forge=never, monotonic=lambda: self.house.clockwork,
        )  # fmt: skip
        runner = Runner(tools, self.house.root / "cache")
        self.runners.append(runner)
        dispatcher, _ = self.house.dispatcher(name, runner, Patience(claim=1, grace=1, probe=0))  # type: ignore[arg-type]
        return dispatcher, runner

    def turn(self, dispatcher: Dispatcher, until: Any, seconds: float = 20) -> None:
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, dispatcher.alarms
            dispatcher.turn()
            time.sleep(0.02)


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Whole]:
    made = Whole(ledgers.House(tmp_path))
    yield made
    for runner in made.runners:
        runner.close()


def test_an_approved_action_has_its_effect_once(whole: Whole, effect: StandIn) -> None:
    dispatcher, _ = whole.dispatcher()
    action = whole.house.ask("gamma")
    whole.turn(dispatcher, lambda: "DONE" in whole.house.kinds(action.id))
    assert whole.house.kinds(action.id) == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert len(effect.happened) == 1
    evidence = dispatcher.ledger.state(action.id).evidence
    assert (evidence["words"], evidence["result_place"]) == ("done", "here")
    assert len(evidence["log_sha256"]) == 64
    dispatcher.turn()
    assert len(effect.happened) == 1


def test_a_run_that_was_fenced_while_it_slept_has_no_effect(whole: Whole, effect: StandIn) -> None:
    """Attack 52 on the real ledger: the one that slept is let through by nobody when it wakes."""
    effect.hold = threading.Event()
    first, sleeper = whole.dispatcher("d1")
    action = whole.house.ask("beta")
    whole.turn(first, effect.waiting.is_set)
    effect.hold, go = None, effect.hold
    second, _ = whole.dispatcher("d2")
    second.turn()  # from now on it watches
    whole.house.clockwork += 100_000
    whole.turn(second, lambda: whole.house.kinds(action.id)[-1] == "DONE")
    assert len(effect.happened) == 1
    go.set()
    end = time.monotonic() + 10
    while not (ended := sleeper.finished()):
        assert time.monotonic() < end
        time.sleep(0.02)
    ((_, outcome),) = ended
    assert (outcome.state, "no longer says" in outcome.words or "given up" in outcome.words) == ("clean", True)
    assert len(effect.happened) == 1


def test_without_the_fence_it_would_have_happened_twice(whole: Whole, effect: StandIn) -> None:
    effect.hold = threading.Event()
    whole.fence = lambda name: lambda order: True  # type: ignore[method-assign,assignment,return-value]
    first, sleeper = whole.dispatcher("d1")
    action = whole.house.ask("beta")
    whole.turn(first, effect.waiting.is_set)
    effect.hold, go = None, effect.hold
    sleeper.dead = lambda *a, **k: False  # type: ignore[method-assign]
    second, taker = whole.dispatcher("d2")
    taker.dead = lambda *a, **k: False  # type: ignore[method-assign]  # on another host it cannot be ended either
    second.turn()
    whole.house.clockwork += 100_000
    whole.turn(second, lambda: whole.house.kinds(action.id)[-1] == "DONE")
    go.set()
    end = time.monotonic() + 10
    while not sleeper.finished():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert len(effect.happened) == 2
    assert len(set(effect.happened)) == 1


def test_an_effect_that_happened_and_then_failed_is_found_by_the_probe(whole: Whole, effect: StandIn) -> None:
    effect.fails = ["the answer was lost"]
    dispatcher, _ = whole.dispatcher()
    action = whole.house.ask("gamma")
    whole.turn(dispatcher, lambda: "DONE" in whole.house.kinds(action.id))
    assert whole.house.kinds(action.id) == ["VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED", "DONE"]
    assert len(effect.happened) == 1


# the fence itself


@pytest.fixture
def started(whole: Whole, effect: StandIn) -> Iterator[tuple[Whole, Order]]:
    effect.hold = threading.Event()
    dispatcher, runner = whole.dispatcher()
    orders: list[Order] = []
    real = runner.start
    runner.start = lambda order: (orders.append(order), real(order))[1]  # type: ignore[method-assign,func-returns-value]
    whole.house.ask("beta")
    whole.turn(dispatcher, effect.waiting.is_set)
    yield whole, orders[0]
    effect.hold.set()


def append(whole: Whole, kind: str, order: Order, **more: Any) -> None:
    chain = whole.house.chain("by-hand")
    chain.sync()
    entry = Entry(kind, order.id, token(), "elsewhere/1", whole.house.now, order.epoch, **more)
    assert chain.append([entry])


def test_the_fence_reads_the_tip_as_it_is_now(started: tuple[Whole, Order]) -> None:
    whole, order = started
    fence = whole.fence("asks")
    assert fence(order)
    assert not fence(replace(order, run=token()))
    assert not fence(replace(order, epoch=order.epoch + 1))
    assert not fence(replace(order, id="2026-11-28-nobody-0001"))
    append(whole, "UNKNOWN", order)
    assert not fence(order)


def test_a_frozen_vault_lets_nothing_through(started: tuple[Whole, Order]) -> None:
    whole, order = started
    fence = whole.fence("asks")
    assert fence(order)
    chain = whole.house.chain("by-hand")
    chain.sync()
    assert chain.append([Entry("FREEZE", ALL, token(), "elsewhere/1", whole.house.now, evidence={"words": "x"})])
    assert not fence(order)


def test_a_ledger_that_went_back_is_not_believed(started: tuple[Whole, Order]) -> None:
    whole, order = started
    fence = whole.fence("asks")
    assert fence(order)
    ledger = whole.house.ref("heads/ledger")
    append(whole, "UNKNOWN", order)
    assert not fence(order)
    whole.house.git.run("update-ref", "refs/heads/ledger", ledger)
    with pytest.raises(Refused):
        fence(order)
