"""Rules about what is started, when it is tried again, and what an older ledger is worth, each broken once."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.app import dispatcher as service
from factory.vault.action import Action
from factory.vault.canonical import sha256
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.ledger import Ledger
from factory.vault.people.settling import Word, restored
from factory.vault.ports import Order
from factory.vault.run.broker import REQUEST_S
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import DISPATCHER, FOUNDER, Keep
from tests.integration.vault.attacks.raid import raid
from tests.integration.vault.attacks.register import RUNS, Seen, held, rule
from tests.integration.vault.house import House, Runner

PATIENCE = Patience(claim=5, grace=5, probe=service.PATIENCE.probe)
"""As the service's own where it counts."""
RELEASE = "tests/integration/vault/run/test_release.py"


def lost(house: House, formula: str, **more: object) -> tuple[Action, Order]:
    """An action whose run was started by a dispatcher that then died."""
    first, runner = house.dispatcher(secrets.token_hex(4), Runner(fate=lambda order: None), PATIENCE)
    action = house.ask(formula, **more)
    first.turn()
    assert house.kinds(action.id)[-1] == "STARTED"
    return action, runner.orders[0]


class Rescuer(Runner):
    """Of a host where all others are proved dead."""

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        return by != self.me


@rule("A probe waits until FENCED stands and no request of the lost run can be under way, on its own clock",
      vault="it happens once", off="it happens twice",
      check="from FENCED on, as long as one request may take, by this host's monotonic clock")  # fmt: skip
def test_rule_a_probe_waits_for_what_is_under_way(tmp_path: Path) -> Seen:
    """What the lost run sent last arrives when its time is almost up."""
    assert service.PATIENCE.probe >= REQUEST_S

    def times(house: House, patience: Patience) -> int:
        _, order = lost(house, "gamma")
        second, runner = house.dispatcher("d2", Rescuer(), patience)
        began: list[float] = []
        for _ in range(20):
            second.turn()
            house.now += timedelta(hours=1)  # a wall clock that jumps hurries nothing
            fenced = second.ledger.state(order.id).kind == "FENCED"
            began += [house.clockwork] if fenced and not began else []
            house.clockwork += 10
            if began and house.clockwork - began[0] == REQUEST_S - 10:
                runner.effects.append(order.idem_key)
        return len(runner.effects)

    assert times(House(tmp_path / "one"), PATIENCE) == 1
    return Seen("-", "it happens once", f"it happens {_word(times(House(tmp_path / 'two'), Patience(probe=0)))}")


def _word(times: int) -> str:
    return {1: "once", 2: "twice"}.get(times, str(times))


@rule("A target has one lane: nothing else starts on it meanwhile", vault="waits",
      off="it happens: both are under way at once",
      check="a claim does not follow while another holds the target")  # fmt: skip
def test_rule_a_target_has_one_lane(tmp_path: Path, off: Blind) -> Seen:
    def started(house: House) -> list[str]:
        dispatcher, runner = house.dispatcher(runner=Runner(fate=lambda order: None))
        first, second = house.ask("gamma"), house.ask("gamma", reason="again", params={"place": "here", "words": "x"})
        for _ in range(3):
            dispatcher.turn()
        waits = "is under way on gamma:here" in dispatcher.alarms.get(second.id, "")
        assert waits == (len(runner.orders) == 1)
        assert runner.orders[0].id == first.id
        return [order.id for order in runner.orders]

    assert len(started(House(tmp_path / "one"))) == 1
    off.patch.setattr(Ledger, "lane_taken", lambda *_: "")
    assert len(started(House(tmp_path / "two"))) == 2
    return Seen("-", "waits", "it happens: both are under way at once")


@rule("What was cut off is not tried again once something later started on its target",
      vault="the later one comes last", off="it happens: the older one is done over the later one",
      check="what may have happened holds its target until a person or a probe settles it")  # fmt: skip
def test_rule_no_retry_over_what_came_later(tmp_path: Path, off: Blind) -> Seen:
    """Two versions of a site: the first was cut off, the second is approved meanwhile."""

    def order_of(house: House) -> list[str]:
        first, _ = lost(house, "beta", params={"place": "here", "words": "old"})
        second = house.ask("beta", params={"place": "here", "words": "new"})
        dispatcher, runner = house.dispatcher("d2", Rescuer(), PATIENCE)
        for _ in range(20):
            dispatcher.turn()
            house.clockwork += 10
        names = {first.id: "old", second.id: "new"}
        return [names[order.id] for order in runner.orders]

    assert order_of(House(tmp_path / "one")) == ["old", "new"]
    off.patch.setattr(Ledger, "lane_taken", lambda *_: "")
    assert order_of(House(tmp_path / "two")) == ["new", "old"]
    return Seen("-", "the later one comes last", "it happens: the older one is done over the later one")


@rule("The key for providers is SHA-256 of ledger and digest, the same on every host", vault="it happens once",
      off="it happens twice", check="nothing of a host, a run or an epoch is in the key")  # fmt: skip
def test_rule_one_key_on_every_host(tmp_path: Path, off: Blind) -> Seen:
    """A provider does a thing once for each key; a second host takes over what the first one had begun."""

    def done(house: House) -> tuple[int, bool]:
        """How often it happened, and whether the first key was as the rule says."""
        action, first = lost(house, "beta")
        second, runner = house.dispatcher("d2", Rescuer(effects=[first.idem_key]), PATIENCE)
        for _ in range(20):
            second.turn()
            house.clockwork += 10
        assert [order.id for order in runner.orders] == [action.id]
        assert second.ledger.state(action.id).kind == "DONE"
        state = second.ledger.state(action.id)
        right = sha256(f"{second.ledger.root}\n{state.digest}".encode())
        return len(set(runner.effects)), first.idem_key == right

    assert done(House(tmp_path / "one")) == (1, True)
    real = Dispatcher._order

    def of_this_host(self: Dispatcher, *args: Any, **more: Any) -> Order:
        order = real(self, *args, **more)
        return replace(order, idem_key=sha256(f"{self.me}{order.idem_key}".encode()))

    off.patch.setattr(Dispatcher, "_order", of_this_host)
    assert done(House(tmp_path / "two")) == (2, False)
    return Seen("-", "it happens once", "it happens twice")


held("A probe believes what it finds only with this action's key in it, and only of the approved object",
     f"{RELEASE}::test_only_object_and_key_together_count", vault="it is not taken for done",
     off="cannot: each of the two is asked for by itself, and the test leaves out one after the other",
     check="a tag says whose it is, and of which commit; both are compared")  # fmt: skip


def settle(keep: Keep) -> None:
    """An admin says that the older ledger counts, as ``factory vault unfreeze --older`` does."""
    chain = keep.chain(secrets.token_hex(4), DISPATCHER)
    ledger = chain.sync()
    word = Word(FOUNDER, keep.ids[FOUNDER], "restored from yesterday", datetime.now(UTC), "host")
    assert [entry.kind for entry in chain.append(restored(ledger, word))] == ["FREEZE", "RESTORED", "UNFREEZE"]


@rule("After a restore every older approval is void", forge="allows", vault="approved-before-push",
      check="an approval is younger than RESTORED")  # fmt: skip
def test_rule_a_restore_voids_older_approvals(own: Keep, off: Blind) -> Seen:
    """What was approved, and perhaps done, before the ledger was lost."""

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked)
        own.merged(asked)
        settle(own)
        return asked.id

    return raid(own, act, lambda: off.review("at"))


@rule("After a restore no older approval of the policy counts either", forge="allows",
      vault="the policy stays as it was",
      check="also of a change of the controlled set the approval is younger than RESTORED")  # fmt: skip
def test_rule_a_restore_voids_older_approvals_of_the_policy(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "low"})})
    settle(own)
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    assert "does not count" in dispatcher.program.said
    off.review("at")
    own.run(1)
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 2
    return Seen("allows", "the policy stays as it was", RUNS)
