"""What two dispatchers, a slow one, or a host in trouble must not do to each other's work: one scenario each."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory.vault.canonical import Unclear
from factory.vault.chain import Chain
from factory.vault.dispatch import AT_ONCE, Patience
from factory.vault.ledger import ALL, Entry
from factory.vault.ports import Order, Outcome, Settings
from tests.integration.vault.faults import Fault, Ground
from tests.integration.vault.house import House, Runner, policy_bytes


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.lay(tmp_path, "gamma")


NOW = Patience(claim=0, grace=0, probe=0)


def test_a_dispatcher_that_slept_does_not_bring_an_older_policy_back(house: House) -> None:
    """Two judged the same change; while one slept, the other took in the next one as well."""
    slow, _ = house.dispatcher("slow")
    slow.turn()
    house.change_policy(policy_bytes(2, {"beta": "high"}))
    drafts: list[Entry] = []
    append = Chain.append

    def sleeping(chain: Chain, entries: list[Entry], *more: object) -> tuple[Entry, ...]:
        if chain is not slow.chain or drafts or not any(entry.kind == "TRUST" for entry in entries):
            return append(chain, entries, *more)  # type: ignore[arg-type]
        drafts.extend(entries)
        quick, _ = house.dispatcher("quick")
        for version in (2, 3):
            if version == 3:
                house.change_policy(policy_bytes(3, {"beta": "medium"}))
            quick.turn()
        assert [entry.evidence["policy_version"] for entry in quick.ledger.trust] == [1, 2, 3]
        return append(chain, entries, *more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chain, "append", sleeping)
        slow.turn()
    assert [entry.kind for entry in drafts] == ["TRUST"]
    slow.turn()
    assert [entry.evidence["policy_version"] for entry in slow.ledger.trust] == [1, 2, 3]


def test_dispatchers_of_one_host_share_its_high_water_mark(ground: Ground) -> None:
    """One has fetched and not yet looked at the mark; another writes on and moves it."""
    vault = ground.vault([Fault("fetched ledger", "pause", after="pushed VERIFIED", turns=1)])
    for _ in range(2):
        vault.process()
    vault.plan.appendleft(Fault("pushed VERIFIED", "pause", turns=1))
    vault.settle(ground.ids)
    assert [process.ended for process in vault.processes] == ["", ""]
    assert vault.report(ground.ids).ends == {ground.ids[0]: "DONE"}


def test_what_a_fenced_run_did_is_noted_even_if_its_done_came_too_late(ground: Ground) -> None:
    """Its DONE was being written when the others gave it up: its log is not lost."""
    vault = ground.vault([Fault("push DONE", "pause", turns=40)], spare="other")
    vault.process()
    vault.settle(ground.ids)
    kinds = [line.kind for line in vault.ledger()]
    assert kinds[4:] == ["UNKNOWN", "FENCED", "DONE", "LATE"]


@pytest.mark.parametrize("formula", ["alpha", "beta"])
def test_what_may_have_happened_is_not_called_revoked(house: House, formula: str) -> None:
    """The lost run may have had its effect; when it may not run again, a person looks."""
    first, _ = house.dispatcher("d1", Runner(fate=lambda order: None))
    action = house.ask(formula)
    first.turn()
    second, runner = house.dispatcher("d2", Runner(lost={"host/d1"}), NOW)
    for _ in range(2):
        second.turn()
    assert house.kinds(action.id)[-1] == "FENCED"
    house.settings_ = replace(house.settings_, wrong="")
    starts = []

    def start(order: Order) -> None:
        starts.append(order)

    runner.start = start  # type: ignore[method-assign]
    real = second._look.verify
    asked = []

    def verify(id: str) -> object:
        asked.append(id)
        if len(asked) == 2:
            house.now += timedelta(hours=25)
        return real(id)

    second._look.verify = verify  # type: ignore[method-assign, assignment]
    for _ in range(3):
        second.turn()
    assert house.kinds(action.id)[-3:] == ["VERIFIED", "CLAIMED", "PARKED"]
    assert starts == []


def test_a_run_that_surely_did_nothing_does_not_speak_for_the_one_before_it(house: House) -> None:
    ends = {}
    for formula in ("alpha", "gamma"):
        action = house.ask(formula, place=formula)
        first, _ = house.dispatcher(f"first-{formula}", Runner(fate=lambda order: None))
        first.turn()
        again = Runner(lost={first.me}, fate=lambda order: Outcome("clean", "it was too late to begin"))
        second, _ = house.dispatcher(f"second-{formula}", again, NOW)
        for _ in range(30):
            second.turn()
        ends[formula] = house.kinds(action.id)[-1]
    assert ends == {"alpha": "PARKED", "gamma": "FAILED"}


def test_an_expired_action_that_may_have_happened_is_parked(house: House) -> None:
    first, _ = house.dispatcher("d1", Runner(fate=lambda order: None))
    action = house.ask("alpha")
    first.turn()
    second, _ = house.dispatcher("d2", Runner(lost={"host/d1"}), NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(second, "_claims", lambda: [])
        for _ in range(3):
            second.turn()
    assert house.kinds(action.id)[-1] == "VERIFIED"
    house.now += timedelta(hours=25)
    for _ in range(3):
        second.turn()
    assert house.kinds(action.id)[-1] == "PARKED"


def test_a_probe_that_answers_late_does_not_make_a_live_run_a_lost_one(house: House) -> None:
    """While ours was asking, another probed, verified and left it; we claimed and started it again."""
    first, _ = house.dispatcher("d1", Runner(fate=lambda order: None))
    action = house.ask("gamma")
    first.turn()
    asking, runner = house.dispatcher("d2", Runner(lost={"host/d1"}, fate=lambda order: None), NOW)
    held: list[tuple[Order, Outcome]] = []
    start = runner.start

    def slow(order: Order) -> None:
        if order.probe:
            held.append((order, Outcome("absent", "looked")))
        else:
            start(order)

    runner.start = slow  # type: ignore[method-assign]
    for _ in range(3):
        asking.turn()
    assert len(held) == 1
    other, _ = house.dispatcher("d3", Runner(lost={"host/d1", "host/d2"}), NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(other, "_claims", lambda: [])
        for _ in range(3):
            other.turn()
    assert house.kinds(action.id)[-1] == "VERIFIED"
    asking.turn()
    assert house.kinds(action.id)[-1] == "STARTED"
    runner._done += held
    for _ in range(2):
        asking.turn()
    assert house.kinds(action.id)[-1] == "STARTED"


def test_what_cannot_be_verified_now_is_not_claimed_on_and_on(house: House) -> None:
    """The claims of one that cannot go on would otherwise all end with a person."""
    house.adopt(policy_bytes(2, {"alpha": "low"}, more="per_requester_day = 500\n[per_day]\nlow = 500\n"))
    later = house.now + timedelta(hours=1)
    asked = [house.ask("alpha", place=f"p{number}", not_before=later) for number in range(AT_ONCE + 5)]
    dispatcher, runner = house.dispatcher()
    dispatcher.turn()
    judged = Counter(dispatcher.ledger.state(action.id).kind for action in asked)
    assert judged["VERIFIED"] == AT_ONCE // 2, "the first may start before the last is judged"
    dispatcher.turn()
    dispatcher.turn()
    assert {dispatcher.ledger.state(action.id).kind for action in asked} == {"VERIFIED"}
    house.now = later

    def silent() -> Settings:
        raise Unclear("the sentinel does not answer")

    dispatcher._h.sentinel.settings = silent  # type: ignore[method-assign]
    for _ in range(5):
        dispatcher.turn()
    claimed = [state.id for state in dispatcher.ledger.states.values() if state.kind == "CLAIMED"]
    assert len(claimed) == AT_ONCE
    assert runner.orders == []


def test_the_forge_is_asked_ahead_only_after_a_claim_stands_on_the_ledger(house: House) -> None:
    """What is looked at right before the start must not be older than the claim."""
    asked = [house.ask("alpha", place=f"p{number}") for number in range(3)]
    dispatcher, runner = house.dispatcher()
    told: list[tuple[set[str], int]] = []

    def ahead(heads: Iterable[str]) -> None:
        kinds = {dispatcher.ledger.state(action.id).kind for action in asked}
        told.append((kinds, len([head for head in heads if head])))

    dispatcher._h.forge.ahead = ahead  # type: ignore[method-assign]
    dispatcher.turn()
    assert told == [({"NEW"}, 3), ({"CLAIMED"}, 3)]
    assert len(runner.orders) == 3


def test_no_more_is_claimed_than_the_day_allows(house: House) -> None:
    """A claim that must wait for another day would hold its lane, and end with a person after three restarts."""
    house.adopt(policy_bytes(2, {"alpha": "low"}, more="[per_day]\nlow = 3\n"))
    for number in range(8):
        house.ask("alpha", place=f"p{number}")
    dispatcher, runner = house.dispatcher()
    for _ in range(3):
        dispatcher.turn()
    assert len(runner.orders) == 3
    kinds = Counter(state.kind for state in dispatcher.ledger.states.values())
    assert kinds == {"DONE": 3, "VERIFIED": 5}


def test_a_history_of_auto_that_was_rewritten_stops_only_what_it_lost(house: House) -> None:
    before = house.ref("heads/auto")
    gone = house.ask("alpha", not_before=house.now + timedelta(hours=1))
    dispatcher, _ = house.dispatcher()
    dispatcher.turn()
    assert house.kinds(gone.id) == ["VERIFIED"]
    house.ref("heads/auto", before)
    there = house.ask("beta")
    house.now += timedelta(hours=2)
    fresh, runner = house.dispatcher("d2")
    for _ in range(3):
        fresh.turn()
    assert house.kinds(gone.id)[-1] == "REVOKED"
    assert fresh.ledger.state(gone.id).evidence["code"] == "not-on-branch"
    assert house.kinds(there.id)[-1] == "DONE"
    assert len(runner.effects) == 1


@pytest.mark.parametrize("what", ["a merge", "a policy"])
def test_who_saw_the_branches_before_the_ledger_neither_freezes_nor_refuses(house: House, what: str) -> None:
    """Between its look at the refs and its look at the ledger another dispatcher went on with what was merged since."""
    slow, runner = house.dispatcher("slow")
    slow.turn()
    house.open(house.action("beta"))
    house.dispatcher("earlier")[0].turn()
    refs, gone = slow._h.forge.refs, []

    def sleeping(*prefixes: str) -> object:
        found = refs(*prefixes)
        if not gone:
            gone.append(house.ask("beta"))
            if what == "a policy":
                house.change_policy(policy_bytes(2, more="pending = 6\n"))
            quick, _ = house.dispatcher("quick", Runner(fate=lambda order: None))
            quick.turn()
            assert house.kinds(gone[0].id)[-1] == "STARTED"
            assert len(quick.ledger.trust) == (2 if what == "a policy" else 1)
            gone.append(house.ask("beta", place="there"))
        return found

    slow._h.forge.refs = sleeping  # type: ignore[method-assign, assignment]
    for _ in range(3):
        slow.turn()
    assert not slow.ledger.frozen
    assert house.kinds(gone[1].id) == ["VERIFIED", "CLAIMED", "STARTED", "DONE"]
    assert len(runner.effects) == 1


def test_a_clock_that_jumped_expires_nothing(house: House) -> None:
    action = house.ask("beta", not_before=house.now + timedelta(hours=1))
    dispatcher, _ = house.dispatcher()
    dispatcher.turn()
    house.skew = timedelta(days=365)
    dispatcher.turn()
    assert house.kinds(action.id) == ["VERIFIED"]
    assert "clock" in dispatcher.alarms["forge"]
    house.skew = timedelta(0)
    house.now += timedelta(hours=2)
    for _ in range(2):
        dispatcher.turn()
    assert house.kinds(action.id)[-1] == "DONE"


def test_a_key_that_the_provider_forgot_is_not_used_again(house: House) -> None:
    """Class B after half a day, also where the clock was put back by more than that."""
    for hours in (13, -13):
        first, _ = house.dispatcher(f"first{hours}", Runner(fate=lambda order: None))
        action = house.ask("beta", place=f"p{abs(hours)}-{hours < 0}", expires=house.now + timedelta(hours=40))
        first.turn()
        house.now += timedelta(hours=hours)
        second, runner = house.dispatcher(f"second{hours}", Runner(lost={first.me}), NOW)
        for _ in range(4):
            second.turn()
        assert house.kinds(action.id)[-1] == "PARKED"
        assert runner.orders == []


def test_a_repeated_action_does_not_start_in_a_repo_that_was_moved(house: House) -> None:
    house.change_policy(policy_bytes(2, rule="max_runs = 3\n"))
    house.dispatcher("adopter")[0].turn()
    action = house.ask("beta", runs=2, every_hours=2, expires=house.now + timedelta(hours=30))
    dispatcher, runner = house.dispatcher()
    for _ in range(3):
        dispatcher.turn()
    assert house.kinds(action.id)[-1] == "DONE"
    house.now += timedelta(hours=3)
    house.repo_ = replace(house.repo_, owner="thief")
    for _ in range(2):
        dispatcher.turn()
    assert house.kinds(f"{action.id}+2") == []
    assert dispatcher.ledger.frozen
    assert len(runner.orders) == 1


def test_a_run_that_is_lost_again_and_again_ends_with_a_person(house: House) -> None:
    """It may be what kills the dispatchers."""
    action = house.ask("alpha")
    lost: set[str] = set()
    for number in range(20):
        dispatcher, _ = house.dispatcher(f"d{number}", Runner(fate=lambda order: None, lost=set(lost)), NOW)
        for _ in range(4):
            dispatcher.turn()
        lost.add(dispatcher.me)
        if house.kinds(action.id)[-1] == "PARKED":
            break
    assert house.kinds(action.id).count("STARTED") == 4
    assert house.kinds(action.id)[-1] == "PARKED"


def test_a_full_disk_starts_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark cannot be written: it is an alarm, not the end of the process, and nothing starts."""
    dispatcher, runner = house.dispatcher()
    dispatcher.turn()
    house.ask("beta")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        for _ in range(3):
            dispatcher.turn()
        assert "No space left on device" in dispatcher.alarms["forge"]
    assert runner.orders == []
    for _ in range(3):
        dispatcher.turn()
    assert len(runner.effects) == 1


def test_a_mirror_whose_making_was_cut_off_is_made_again(house: House) -> None:
    mirror = house.root / "d1" / "repo.git"
    mirror.mkdir(parents=True)
    (mirror / "HEAD").write_text("ref: refs/heads/master\n")
    action = house.ask("beta")
    dispatcher, _ = house.dispatcher("d1")
    for _ in range(2):
        dispatcher.turn()
    assert house.kinds(action.id)[-1] == "DONE"


def test_a_second_freeze_is_not_written(house: House) -> None:
    dispatcher, _ = house.dispatcher()
    dispatcher.turn()
    words = {"words": "by hand"}
    for _ in range(2):
        dispatcher.chain.append([Entry("FREEZE", ALL, "0" * 32, "host/d1", house.now, evidence=words)])
    assert house.kinds(ALL).count("FREEZE") == 1
