"""Attacks on the policy: loosened beside the action, loosened before it, brought back from the past."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.vault import authority, gather, verify
from factory.vault.action import Action, Tier
from factory.vault.canonical import sha256
from factory.vault.dispatch import Dispatcher
from factory.vault.policy import Ruling
from factory.vault.verify import Case
from factory.vault.watch.forge_reads import ForgeReads
from tests.contract.conftest import Site, fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FACTORY, FOUNDER, Keep
from tests.integration.vault.attacks.raid import effects, raid, refused
from tests.integration.vault.attacks.register import Seen, attack, rule
from tests.integration.vault.house import formula_bytes


@attack(8, "The policy changed by the same pull request", forge="allows", vault="extra-paths",
        check="a request adds one file and nothing else")  # fmt: skip
def test_attack_8_policy_in_the_same_pull_request(own: Keep, off: Blind) -> Seen:
    looser = iter(range(2, 9))

    def act() -> str:
        action = own.action("gamma")
        asked = own.ask(action, extra={"vault/policy.toml": own.policy(next(looser), {"gamma": "low"})})
        own.review(asked)
        own.merged(asked)
        return action.id

    def one_file(case: Case) -> Case:
        mine = tuple(change for change in case.merge.changes if change.path.startswith(b"vault/actions/"))
        return replace(case, merge=replace(case.merge, changes=mine))

    return raid(own, act, lambda: off.case(one_file))


@attack(9, "The policy loosened first, with the approval of somebody who is no admin", forge="allows",
        vault="approver-not-listed", check="a policy counts when an admin of the one before approved it")  # fmt: skip
def test_attack_9_policy_loosened_first(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked, APPROVER)
        own.merged(asked)
        return asked.id

    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "medium"})}, by=APPROVER)
    forge, code = refused(own, act)
    assert "its change of the controlled set does not count" in own.dispatch().program.said
    assert len(own.dispatch().ledger.trust) == 1
    off.approved_for_trust()
    own.edit({"README.md": b"# moved on\n"})
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 2
    assert effects(own, act()) == 1
    return Seen(forge, code)


@attack(10, "Back to an older version of the policy", forge="allows", vault="policy-rollback",
        check="a policy's version only grows")  # fmt: skip
def test_attack_10_policy_rollback(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, {"gamma": "high"})})
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert [entry.evidence["policy_version"] for entry in dispatcher.ledger.trust] == [1, 2]
    own.edit({"vault/policy.toml": own.policy(1)})
    dispatcher.turn()
    assert "does not count: policy version 1 does not follow 2" in dispatcher.program.said
    assert len(dispatcher.ledger.trust) == 2
    read = authority.read
    off.patch.setattr(authority, "read", lambda data, bots: replace(read(data, bots), version=time.monotonic_ns()))
    dispatcher.turn()
    assert dispatcher.ledger.trust[-1].evidence["policy_digest"] == sha256(own.policy(1))
    return Seen("allows", "policy-rollback")


@attack(13, "The same content under a new id, of a formula that does it once", forge="allows", vault="duplicate",
        check="content is compared, whatever its id")  # fmt: skip
def test_attack_13_the_same_under_a_new_id(own: Keep, off: Blind) -> Seen:
    own.edit({"vault/policy.toml": own.policy(2, {"sigma": "medium"})})
    assert effects(own, approved(own, own.action("sigma", place="here"))) == 1
    return raid(own, lambda: approved(own, own.action("sigma", place="here", reason="for another reason")),
                lambda: off.patch.setattr(gather.Gather, "_repeated", lambda *_: False))  # fmt: skip


@attack(13, "The same content again, of a formula that may repeat it", forge="allows", vault="approver-not-listed",
        check="what was done lately is a tier higher")  # fmt: skip
def test_attack_13_the_same_again_is_a_tier_higher(own: Keep, off: Blind) -> Seen:
    assert effects(own, approved(own, own.action("beta", place="here"), APPROVER)) == 1
    own.dispatch().turn()

    def act() -> str:
        return approved(own, own.action("beta", place="here", reason="for another reason"), APPROVER)

    return raid(own, act, lambda: off.patch.setattr(gather.Gather, "_repeated", lambda *_: False))


def approved(keep: Keep, action: Action, who: str = FOUNDER, base: str = "main") -> str:
    """A request that was approved (on main) and merged."""
    asked = keep.ask(action, base)
    if base == "main":
        keep.review(asked, who)
    keep.merged(asked)
    return action.id


@attack(24, "An action that calls itself low, on the branch for low ones", forge="allows", vault="wrong-branch",
        check="what it says of itself can only raise its tier")  # fmt: skip
def test_attack_24_low_by_its_own_word(keep: Keep, off: Blind) -> Seen:
    def believed(action: Action, *_: Any, **__: Any) -> Ruling:
        return Ruling(action.blast_radius, ())

    return raid(keep, lambda: approved(keep, keep.action("gamma", blast_radius=Tier.LOW), base="auto"),
                lambda: off.patch.setattr(verify, "ruling", believed))  # fmt: skip


@attack(24, "The same on main, approved by somebody who may approve medium", forge="allows",
        vault="approver-not-listed", check="what it says of itself can only raise its tier")  # fmt: skip
def test_attack_24_low_by_its_own_word_on_main(keep: Keep, off: Blind) -> Seen:
    def believed(action: Action, *_: Any, **__: Any) -> Ruling:
        return Ruling(action.blast_radius, ())

    return raid(keep, lambda: approved(keep, keep.action("gamma"), APPROVER),
                lambda: off.patch.setattr(verify, "ruling", believed))  # fmt: skip


@attack(25, "A flood of low actions, each small", forge="allows", vault="waits",
        check="starts of a day are counted on the ledger, by tier, asker and formula")  # fmt: skip
@pytest.mark.parametrize(
    "limit", ["[per_day]\nlow = 3\n", "per_requester_day = 3\n", "per_day = 3\n"], ids=["tier", "asker", "formula"]
)
def test_attack_25_a_flood_of_low_ones(own: Keep, off: Blind, limit: str) -> Seen:
    """Five in a row, of which a day has room for three."""
    where = {"rule": limit} if limit.startswith("per_day") else {"more": limit}
    own.edit({"vault/policy.toml": own.policy(2, {"alpha": "low", "beta": "medium"}, **where)})
    wanted = {approved(own, own.action("alpha"), base="auto") for _ in range(5)}
    served, runs = own.dispatch(), own.runner()
    for _ in range(2):
        served.turn()
    first = {order.id for order in runs.orders}
    assert len(first) == len(runs.orders) == 3
    waiting = wanted - first
    assert all("starts a day" in served.alarms[id] for id in waiting)
    own.pass_by(timedelta(hours=23))
    assert own.run(1)[1].orders == [], "nor those of another dispatcher, later that day"
    off.patch.setattr(Dispatcher, "_budget", lambda self, ledger, entry: "")
    served.turn()
    assert {order.id for order in runs.orders} == wanted
    return Seen("allows", "waits")


@attack(44, "An admin who lost the right to write approved a change of the policy before", forge="allows",
        vault="approver-gone", check="also for a change of the controlled set")  # fmt: skip
def test_attack_44_a_policy_approved_by_who_was_sent_away(
    town: tuple[Site, Path | None], tmp_path: Path, off: Blind
) -> Seen:
    boss = fresh("boss")
    own = Keep(town[0], tmp_path, town[1], people=(boss,))
    branch = "edit/looser"
    head = own.write(FACTORY, branch, {"vault/policy.toml": own.policy(2, {"gamma": "low"})}, base="main")
    asked = own.propose("", branch, head, who=FACTORY)
    own.review(asked, boss)
    own.merged(asked)
    own.site.admin.remove_collaborator(own.ops, own.site.login(boss))
    dispatcher = own.dispatch()
    dispatcher.turn()
    assert len(dispatcher.ledger.trust) == 1
    assert "lost its rights" in dispatcher.program.said
    off.patch.setattr(ForgeReads, "humans", lambda self, ids: ids)
    dispatcher, _ = own.run(1)
    assert len(dispatcher.ledger.trust) == 2
    return Seen("allows", "approver-gone")


@attack(64, "The formula's file changed after the policy named it", forge="allows", vault="formula-digest",
        check="a formula's bytes are those whose digest the policy names")  # fmt: skip
def test_attack_64_another_formula_under_the_same_name(own: Keep, off: Blind) -> Seen:
    there = formula_bytes("gamma") or b""
    other = there.replace(b"Stands for any formula.", b"Does another thing.")
    other = f'overrides = "{sha256(there)}"\n'.encode() + other
    own.edit({"formulas/gamma.toml": other}, by=APPROVER)
    own.dispatch().turn()
    assert len(own.dispatch().ledger.trust) == 2, "an approver may change formulas; the policy decides which count"

    def named(case: Case) -> Case:
        assert case.formula is not None
        return replace(case, formula=replace(case.formula, digest=case.policy.formulas[case.formula.key].digest))

    return raid(own, lambda: approved(own, own.action("gamma")), lambda: off.case(named))


@rule("auto holds low actions and nothing else", forge="allows", vault="wrong-branch",
      check="on auto only what is low counts")  # fmt: skip
@pytest.mark.parametrize("formula", ["beta", "gamma", "delta"])
def test_rule_nothing_on_auto_is_evidence_for_more_than_low(keep: Keep, off: Blind, formula: str) -> Seen:
    """Also where an admin approved its pull request into auto."""

    def act() -> str:
        asked = keep.ask(keep.action(formula), "auto")
        keep.review(asked)
        keep.merged(asked)
        return asked.id

    def on_main(case: Case) -> Case:
        pulls = tuple(replace(pull, base="main") for pull in case.pulls)
        return replace(case, base="main", pulls=pulls)

    return raid(keep, act, lambda: (off.case(on_main), off.review("official")))
