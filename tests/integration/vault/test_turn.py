"""The life of an action through the trusted part, on real git repos."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory.vault.canonical import Refused
from factory.vault.dispatch import Patience
from factory.vault.ports import Outcome
from tests.integration.vault.house import APPROVER, House, Runner, policy_bytes


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_an_approved_action_runs_once(house: House) -> None:
    dispatcher, runner = house.dispatcher()
    action = house.action("gamma")
    pull = house.open(action)
    dispatcher.turn()
    assert house.kinds(action.id) == ["SEEN"]
    house.review(pull)
    house.merge(pull)
    dispatcher.turn()
    assert house.kinds(action.id) == ["SEEN", "VERIFIED", "CLAIMED", "STARTED"]
    for _ in range(3):
        dispatcher.turn()
    assert house.kinds(action.id) == ["SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert len(runner.effects) == len(runner.orders) == 1
    assert not dispatcher.alarms


def test_a_low_action_needs_nobody(house: House) -> None:
    dispatcher, runner = house.dispatcher()
    action = house.ask("alpha")
    dispatcher.turn()
    dispatcher.turn()
    assert house.kinds(action.id) == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert len(runner.effects) == 1


def test_without_approval_it_is_refused(house: House) -> None:
    dispatcher, runner = house.dispatcher()
    action = house.action("beta")
    house.merge(house.open(action))
    dispatcher.turn()
    assert house.kinds(action.id) == ["REFUSED"]
    assert dispatcher.ledger.state(action.id).evidence["code"] == "no-approval"
    assert runner.orders == []


def test_an_approver_is_not_enough_for_high(house: House) -> None:
    dispatcher, _ = house.dispatcher()
    action = house.action("gamma")
    house.merge(house.review(house.open(action), APPROVER))
    dispatcher.turn()
    assert dispatcher.ledger.state(action.id).evidence["code"] == "approver-not-listed"


@pytest.mark.parametrize(
    ("formula", "end"), [("alpha", "DONE"), ("beta", "DONE"), ("gamma", "DONE"), ("delta", "PARKED")]
)
@pytest.mark.parametrize("happened", [False, True])
def test_a_lost_run_is_fenced_and_then_settled_by_its_class(
    house: House, formula: str, end: str, happened: bool
) -> None:
    patience = Patience(claim=10, grace=10, probe=5)
    first, runner = house.dispatcher("d1", Runner(fate=lambda order: None), patience)
    action = house.ask(formula)
    first.turn()
    assert house.kinds(action.id)[-1] == "STARTED"
    effects = [runner.orders[0].idem_key] if happened else []
    second, rescuer = house.dispatcher("d2", Runner(lost={"host/d1"}, effects=effects), patience)
    for _ in range(8):
        second.turn()
        house.clockwork += 6
    kinds = house.kinds(action.id)
    assert kinds[3:5] == ["UNKNOWN", "FENCED"]
    assert kinds[-1] == end
    again = [order for order in rescuer.orders if not order.probe]
    assert all(order.idem_key == runner.orders[0].idem_key for order in again)
    if formula in ("gamma", "delta"):
        assert len(rescuer.effects) == (0 if formula == "delta" and not happened else 1)


def test_a_run_that_comes_back_late_leaves_only_a_note(house: House) -> None:
    first, runner = house.dispatcher("d1", Runner(fate=lambda order: None))
    action = house.ask("gamma")
    first.turn()
    second, _ = house.dispatcher("d2", Runner(lost={"host/d1"}), Patience(probe=0))
    for _ in range(3):
        second.turn()
    runner._done.append((runner.orders[0], Outcome("done", "too late")))
    first.turn()
    assert house.kinds(action.id)[-2:] == ["FENCED", "LATE"]
    for _ in range(3):
        second.turn()
    assert house.kinds(action.id)[-4:] == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]


def test_a_withdrawn_approval_stops_it_before_the_start(house: House) -> None:
    action = house.action("beta", not_before=house.now + timedelta(hours=1), expires=house.now + timedelta(hours=20))
    pull = house.review(house.open(action))
    house.merge(pull)
    dispatcher, runner = house.dispatcher()
    dispatcher.turn()
    assert house.kinds(action.id) == ["VERIFIED"]
    house.pulls_[pull.number] = replace(pull, reviews=(replace(pull.reviews[0], dismissed=True),))
    house.now += timedelta(hours=2)
    dispatcher.turn()
    assert house.kinds(action.id) == ["VERIFIED", "CLAIMED", "REVOKED"]
    assert runner.orders == []


def test_a_repeated_action_runs_as_often_as_it_says_and_when(house: House) -> None:
    base = policy_bytes(2, rule="max_runs = 3\n")
    house.adopt(base)
    action = house.ask("beta", runs=3, every_hours=2, expires=house.now + timedelta(hours=30))
    dispatcher, runner = house.dispatcher()
    for _ in range(12):
        for _ in range(3):
            dispatcher.turn()
        house.now += timedelta(hours=1)
    for name in (action.id, f"{action.id}+2", f"{action.id}+3"):
        assert house.kinds(name) == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert house.kinds(f"{action.id}+4") == []
    assert len(set(runner.effects)) == 3


def test_a_policy_counts_when_an_admin_of_the_one_before_approved_it(house: House) -> None:
    house.adopt(policy_bytes(2, {"beta": "high"}), APPROVER)
    dispatcher, _ = house.dispatcher()
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    assert any("does not count" in words for words in dispatcher.alarms.values())
    dispatcher.turn()
    assert any("does not count" in words for words in dispatcher.alarms.values()), "and it is told as long as it is so"


def test_a_ledger_that_lost_what_was_seen_starts_nothing(house: House) -> None:
    dispatcher, runner = house.dispatcher()
    house.ask("alpha")
    dispatcher.turn()
    yesterday = house.git.text("rev-parse", "refs/heads/ledger~2")
    house.ref("heads/ledger", yesterday)
    house.ask("alpha", place="there")
    with pytest.raises(Refused, match="not on the ledger any more"):
        dispatcher.turn()
    with pytest.raises(Refused, match="not on the ledger any more"):
        house.dispatcher()[0].turn()
    assert len(runner.orders) == 1


def test_one_target_one_action_at_a_time_and_the_other_says_what_it_waits_for(house: House) -> None:
    dispatcher, runner = house.dispatcher(runner=Runner(fate=lambda order: None))
    first, second = house.ask("gamma"), house.ask("gamma", reason="again", params={"place": "here", "words": "x"})
    for _ in range(3):
        dispatcher.turn()
    assert [order.id for order in runner.orders] == [first.id]
    assert house.kinds(second.id) == ["VERIFIED"]
    assert dispatcher.alarms[second.id] == f"waits: {first.id} is under way on gamma:here"
    runner._done.append((runner.orders[0], Outcome("done", "did it")))
    for _ in range(2):
        dispatcher.turn()
    assert [order.id for order in runner.orders] == [first.id, second.id]
