"""Rules about what is started, when it is tried again, and what an older ledger is worth, each broken once."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import timedelta
from typing import Any

from factory.app import dispatcher as service
from factory.app.vault_settling import Said, unfreeze
from factory.vault.canonical import sha256
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.ledger import Ledger
from factory.vault.ports import Order, Outcome
from factory.vault.run.broker import REQUEST_S
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.inside import add, every
from tests.integration.vault.attacks.keep import FOUNDER, Asked, Keep
from tests.integration.vault.attacks.raid import raid
from tests.integration.vault.attacks.register import RUNS, Seen, held, rule
from tests.integration.vault.attacks.served import Served

RELEASE = "tests/integration/vault/run/test_release.py"
HOUR = timedelta(hours=1)
TIMES = {1: "it happens once", 2: "it happens twice"}


def approved(keep: Keep, formula: str, **more: object) -> Asked:
    asked = keep.ask(keep.action(formula, **more))
    keep.review(asked)
    keep.merged(asked)
    return asked


def lost(keep: Keep, formula: str, **more: object) -> tuple[Asked, Order]:
    """A request whose run the keep's dispatcher started, and then it was killed: on the same host its lock is free."""
    asked = approved(keep, formula, **more)
    served, runs = keep.dispatch(), keep.runner()
    runs.fate = lambda order: None
    served.turn()
    assert served.ledger.state(asked.id).kind == "STARTED"
    served.program.end(signal.SIGKILL)
    runs.fate = lambda order: Outcome("done", "did it")
    return asked, runs.orders[-1]


def started(keep: Keep, *asked: Asked) -> list[str]:
    """Which of them the keep's dispatchers started, in order."""
    wanted = {one.id for one in asked}
    return [order.id for order in keep.runner().orders if order.id in wanted and not order.probe]


def settle(served: Served, keep: Keep) -> None:
    """Until the action that was lost is fenced, waited for, and over."""
    for _ in range(6):
        served.turn()
        keep.clockwork += REQUEST_S


@rule("A probe waits until FENCED stands and no request of the lost run can be under way, on its own clock",
      vault="it happens once", off="it happens twice",
      check="from FENCED on, as long as one request may take, by this host's monotonic clock")  # fmt: skip
def test_rule_a_probe_waits_for_what_is_under_way(own: Keep, off: Blind) -> Seen:
    """What the lost run sent last arrives when its time is almost up."""
    assert service.PATIENCE.probe >= REQUEST_S

    def times() -> str:
        asked, order = lost(own, "gamma")
        served, came = own.dispatch(), own.runner().folder / "effects"
        served.turn()
        assert served.ledger.state(asked.id).kind == "FENCED"
        for seconds in (REQUEST_S / 2, REQUEST_S / 2 - 1):
            own.pass_by(HOUR)  # wall clocks that jump hurry nothing
            own.clockwork += seconds
            served.turn()
        add(came, order.idem_key)
        settle(served, own)
        return TIMES[every(came).count(order.idem_key)]

    vault = times()
    off.patch.setattr(service, "PATIENCE", Patience(probe=0))
    return Seen("-", vault, times())


@rule("A target has one lane: nothing else starts on it meanwhile", vault="waits",
      off="it happens: both are under way at once",
      check="a claim does not follow while another holds the target")  # fmt: skip
def test_rule_a_target_has_one_lane(own: Keep, off: Blind) -> Seen:
    own.runner().fate = lambda order: None
    first, second = approved(own, "gamma", place="here"), approved(own, "gamma", place="here", reason="again")
    for _ in range(3):
        own.dispatch().turn()
    assert started(own, first, second) == [first.id]
    assert f"{first.id} is under way on gamma:here" in own.dispatch().alarms[second.id]
    off.patch.setattr(Ledger, "lane_taken", lambda *_: "")
    fresh, runs = own.dispatcher()
    runs.fate = lambda order: None
    fresh.turn()
    assert [order.id for order in runs.orders] == [second.id]
    assert {fresh.ledger.state(one.id).kind for one in (first, second)} == {"STARTED"}
    return Seen("-", "waits", "it happens: both are under way at once")


@rule("What was cut off is not tried again once something later started on its target",
      vault="the later one comes last", off="it happens: the older one is done over the later one",
      check="what may have happened holds its target until a person or a probe settles it")  # fmt: skip
def test_rule_no_retry_over_what_came_later(own: Keep, off: Blind) -> Seen:
    """Two versions of a site: the first was cut off, the second is approved meanwhile."""

    def order_of(place: str) -> list[str]:
        """In what order they came to their end."""
        old, _ = lost(own, "beta", params={"place": place, "words": "old"}, target=f"beta:{place}")
        new = approved(own, "beta", params={"place": place, "words": "new"}, target=f"beta:{place}")
        settle(own.dispatch(), own)
        return [{old.id: "old", new.id: "new"}[id] for id in started(own, old, new)[1:]]

    assert order_of("here") == ["old", "new"]
    off.patch.setattr(Ledger, "lane_taken", lambda *_: "")
    assert order_of("there") == ["new", "old"]
    return Seen("-", "the later one comes last", "it happens: the older one is done over the later one")


@rule("The key for providers is SHA-256 of ledger and digest, the same on every host", vault="it happens once",
      off="it happens twice", check="nothing of a host, a run or an epoch is in the key")  # fmt: skip
def test_rule_one_key_on_every_host(own: Keep, off: Blind) -> Seen:
    """A provider does a thing once for each key; a second host takes over what the first one had begun."""

    def done_by_two() -> tuple[str, bool]:
        """How often it happened, and whether the first key was as the rule says."""
        asked, first = lost(own, "beta")
        second, runs = own.dispatcher()
        runs.lost.add(second.ledger.state(asked.id).by)
        add(runs.folder / "effects", first.idem_key)
        settle(second, own)
        assert [order.id for order in runs.orders] == [asked.id]
        state = second.ledger.state(asked.id)
        assert state.kind == "DONE"
        right = sha256(f"{second.ledger.root}\n{state.digest}".encode())
        second.end()
        return TIMES[len(set(every(runs.folder / "effects")))], first.idem_key == right

    vault, right = done_by_two()
    assert right
    real = Dispatcher._order

    def of_this_host(self: Dispatcher, *args: Any, **more: Any) -> Order:
        order = real(self, *args, **more)
        return replace(order, idem_key=sha256(f"{self.me}{order.idem_key}".encode()))

    off.patch.setattr(Dispatcher, "_order", of_this_host)
    twice, right = done_by_two()
    assert not right
    return Seen("-", vault, twice)


held("A probe believes what it finds only with this action's key in it, and only of the approved object",
     f"{RELEASE}::test_only_object_and_key_together_count", vault="it is not taken for done",
     off="cannot: each of the two is asked for by itself, and the test leaves out one after the other",
     check="a tag says whose it is, and of which commit; both are compared")  # fmt: skip


def restored(keep: Keep) -> None:
    """An admin says on the dispatcher's host that the older ledger counts: ``factory vault unfreeze --older``."""
    keep.dispatch().end()  # it is woken by that, and its next turn is another one's here
    word = Said("restored from yesterday", keep.site.tokens[keep.site.login(FOUNDER)])
    assert unfreeze(keep.host.deployment, word, older=True)["entries"] == ["FREEZE", "RESTORED", "UNFREEZE"]


@rule("After a restore every older approval is void", forge="allows", vault="approved-before-push",
      check="an approval is younger than RESTORED")  # fmt: skip
def test_rule_a_restore_voids_older_approvals(own: Keep, off: Blind) -> Seen:
    """What was approved, and perhaps done, before the ledger was lost."""

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked)
        own.merged(asked)
        restored(own)
        return asked.id

    return raid(own, act, lambda: off.review("at"))


@rule("After a restore no older approval of the policy counts either", forge="allows",
      vault="the policy stays as it was",
      check="also of a change of the controlled set the approval is younger than RESTORED")  # fmt: skip
def test_rule_a_restore_voids_older_approvals_of_the_policy(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "low"})})
    restored(own)
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    assert "does not count" in dispatcher.program.said
    off.review("at")
    own.run(1)
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 2
    return Seen("allows", "the policy stays as it was", RUNS)
