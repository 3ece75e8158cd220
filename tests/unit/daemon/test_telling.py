"""What people are told outside the forge is what the dashboard says needs them, each thing under a key of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from factory.daemon.board import facts_of
from factory.daemon.telling import detailed, items_of, troubled
from factory.plan.effect import Plan
from factory.plan.labels import BLOCKED
from factory.plan.model import PullFacts, Skip, World
from factory.plan.names import pull_subject
from factory.plan.vault import ActionFact, PendingFact, RequestFact, VaultFacts
from factory.testing import builders as b

URL = "http://forge.example"


NOTHING = Plan()


def request(number: int = 9, head: str = "a") -> PullFacts:
    return b.pull(number, author=b.user("vault-bot"), head_ref="vault/x", head_repo=b.OPS, head_sha=b.sha(head))


def keys(world: World, plan: Plan = NOTHING) -> list[str]:
    return [item.key for item in items_of(world, plan, URL)]


def test_it_is_what_the_dashboard_lists() -> None:
    stuck = b.ready(3)
    stuck = replace(stuck, issue=replace(stuck.issue, labels=stuck.issue.labels | {BLOCKED}))
    fact = RequestFact(9, b.sha("a"), "x", tier="high", headline="release@1 on gamma (high) waits for founder")
    vault = VaultFacts(
        requests=(fact,), actions=(ActionFact("y", "PARKED", 4, b.NOW, "was cut off"),),
        pending=(PendingFact("z", "Call the bank", b.NOW),),
    )  # fmt: skip
    world = b.world([stuck], [b.pull(5)], ops_pulls=(request(), b.pull(10)), vault=vault)
    plan = Plan((), (Skip(pull_subject(world, 5), "person-approval", "touches CI", "a person's approval"),))
    items = items_of(world, plan, URL)
    needs = facts_of(world, plan, URL, None, None, ()).needs
    assert [(i.act, i.title, i.url) for i in items] == [(n.act, n.title, n.url) for n in needs]
    assert {i.act for i in items} == {"approve", "settle", "do", "unblock"}
    assert len({i.key for i in items}) == len(items) == 6
    assert {i.board for i in items} == {f"{URL}/{b.OPS}"}
    assert keys(world, plan) == keys(world, plan), "the same world gives the same keys"


def test_low_requests_and_unknown_ones_are_nobodys() -> None:
    low = RequestFact(9, b.sha("a"), "x", tier="low")
    auto = replace(request(), pull=replace(request().pull, base_ref="auto"))
    assert keys(b.world(ops_pulls=(auto,), vault=VaultFacts(requests=(low,)))) == []
    assert keys(b.world(ops_pulls=(request(),))) == []


def test_another_head_is_told_anew() -> None:
    def at(head: str) -> list[str]:
        fact = RequestFact(9, b.sha(head), "x", tier="high", headline="h")
        return keys(b.world(ops_pulls=(request(9, head),), vault=VaultFacts(requests=(fact,))))

    assert at("a") == at("a") != at("b")

    def of_the_project(head: str, rule: str) -> list[str]:
        world = b.world([], [b.pull(5, head_sha=b.sha(head))])
        return keys(world, Plan((), (Skip(pull_subject(world, 5), rule, "why", "a person"),)))

    assert of_the_project("a", "person-approval") != of_the_project("b", "person-approval")
    assert of_the_project("a", "stuck") == of_the_project("b", "stuck") != of_the_project("a", "person-approval")


def test_what_is_late_is_told_louder_once() -> None:
    def late(words: str) -> list[str]:
        return keys(b.world(vault=VaultFacts(pending=(PendingFact("z", "Call", b.NOW, late=words),))))

    assert late("") == late("") != late("it still waits") == late("it still waits") != late("it is late")


def test_a_frozen_vault_is_told_wherever_it_is_known() -> None:
    by_ledger = b.world(vault=VaultFacts(frozen="nobody explains commit 123", problems=("no policy",)))
    frozen, problem = items_of(by_ledger, Plan(), URL)
    assert (frozen.act, frozen.title) == ("look", "the vault is frozen: nobody explains commit 123")
    assert (problem.act, problem.title) == ("repair", "the vault: no policy")
    here = items_of(b.world(), Plan(), URL, "frozen on this host: the repo was renamed")
    assert [item.title for item in here] == ["the vault is frozen: frozen on this host: the repo was renamed"]
    assert keys(b.world()) == []


def test_a_host_that_cannot_work_is_told_of_when_that_lasted() -> None:
    def told(trouble: str, minutes: float, known: bool = False) -> list[str]:
        now = b.NOW + timedelta(minutes=minutes)
        return [item.title for item in troubled("box", trouble, b.NOW, now, URL, known)]

    assert told("the forge does not answer", 9.9) == []
    assert told("the forge does not answer", 10) == ["box cannot work: the forge does not answer"]
    assert told("the forge does not answer", 0, known=True) != [], "as after a restart: it is the trouble of before"
    assert told("", 500, known=True) == []


def test_only_a_request_has_a_screen() -> None:
    class View:
        asked = 0

        def screen(self, facts):  # type: ignore[no-untyped-def]
            self.asked += 1

    view = View()
    fact = RequestFact(9, b.sha("a"), "x", tier="high", headline="h")
    world = b.world(ops_pulls=(request(), b.pull(10)), vault=VaultFacts(requests=(fact,), frozen="x"))
    for item in items_of(world, Plan(), URL):
        assert detailed(item, world, view) is item  # type: ignore[arg-type]
    assert view.asked == 1
