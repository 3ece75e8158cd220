"""A change of the policy counts when its approval is as old as the policy before it says (attack 9).

The admin's approval is a real one here, as who took over an admin's session would give it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path

import pytest

from factory.app import status
from factory.app.doctor import vault as doctor
from factory.app.vault_opening import open_vault
from factory.app.vault_settling import Said, freeze
from factory.app.vault_showing import listed, shown
from factory.cli.vault import _list_text, told
from factory.forge.values import ReviewState
from factory.plan.vault import Cooling, VaultFacts
from factory.testing import builders as b
from factory.vault import authority
from tests.contract.conftest import Site
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FACTORY, FOUNDER, Asked, Keep
from tests.integration.vault.attacks.raid import effects, refused
from tests.integration.vault.attacks.register import Seen, attack

COOLING = "cooling_hours = 24\n"
HOUR = timedelta(hours=1)
WAITS = "its change of the controlled set does not count yet: approved; it counts from "


@pytest.fixture
def old(town: tuple[Site, Path | None], tmp_path: Path) -> Keep:
    """A vault of some days, whose policy lets its changes wait a day."""
    return Keep(town[0], tmp_path / "keep", town[1], more=COOLING, age=timedelta(days=3))


def loosen(keep: Keep, version: int = 2, **tiers: str) -> Asked:
    """An admin's approval for a policy that lets ``gamma`` go with less, and lets nothing wait any more."""
    policy = keep.policy(version, tiers or {"gamma": "medium"}, more="cooling_hours = 0\n")
    return keep.edit({"vault/policy.toml": policy})


def act(keep: Keep) -> str:
    """A request that the policy as it was leaves to admins, approved by somebody who is none."""
    asked = keep.ask(keep.action("gamma"))
    keep.review(asked, APPROVER)
    keep.merged(asked)
    return asked.id


def versions(keep: Keep) -> list[int]:
    keep.dispatch().turn()
    return [entry.evidence["policy_version"] for entry in keep.dispatch().ledger.trust]


@attack(9, "The policy loosened first, with an admin's own approval, and the action in the same hour", forge="allows",
        vault="approver-not-listed",
        check="a change of the policy counts when its approval is as old as the policy before it says")  # fmt: skip
def test_attack_9_loosened_and_used_within_the_hour(old: Keep, off: Blind) -> Seen:
    loosen(old)
    forge, code = refused(old, lambda: act(old))
    assert WAITS in old.dispatch().program.said
    assert versions(old) == [1]
    off.patch.setattr(authority, "due", lambda given, *_: given)
    assert versions(old) == [1, 2]
    assert effects(old, act(old)) == 1
    return Seen(forge, code)


def test_it_counts_when_its_time_has_come_with_nothing_else_happening(old: Keep) -> None:
    """Letting nothing wait any more waits like everything else."""
    loosen(old)
    assert versions(old) == [1]
    old.pass_by(23 * HOUR)
    assert versions(old) == [1]
    old.pass_by(HOUR)
    assert versions(old) == [1, 2]
    old.edit({"vault/policy.toml": old.policy(3, {"gamma": "low"})})
    assert versions(old) == [1, 2, 3], "nothing waits any more"


def test_who_asks_for_changes_meanwhile_is_heard(old: Keep) -> None:
    branch = "edit/looser"
    head = old.write(FACTORY, branch, {"vault/policy.toml": old.policy(2, {"gamma": "low"})}, base="main")
    asked = old.propose("", branch, head, "main", FACTORY)
    old.review(asked)
    old.merged(asked)
    assert versions(old) == [1]
    client = old.site.client(FOUNDER)
    client.review(old.ops, asked.number, state=ReviewState.REQUEST_CHANGES, body="no", commit=asked.head)
    old.pass_by(25 * HOUR)
    assert versions(old) == [1]
    assert f"does not count: account {old.ids[FOUNDER]} asks for changes" in old.dispatch().program.said


def test_what_waits_its_time_and_what_to_do_in_an_emergency_is_said_wherever_one_looks(old: Keep) -> None:
    """Of a change that is open still, as the factory keeps it: list, show and doctor ask the forge, status has what
    the last tick saw."""
    old.dispatch().turn()
    head = old.write(FACTORY, "edit/looser", {"vault/policy.toml": old.policy(2, {"gamma": "low"})}, base="main")
    asked, waiting = old.propose("", "edit/looser", head, "main", FACTORY), old.ask(old.action("gamma"))
    there = old.host.deployment
    assert listed(there)["cooling"] == [], "nobody approved it yet"
    old.review(asked)
    (given,) = old.site.client(FOUNDER).reviews(old.ops, asked.number)
    ends = given.submitted_at.astimezone(UTC) + 24 * HOUR
    url = old.site.client(FOUNDER).pull(old.ops, asked.number).url
    words = f"a change of the policy is approved, and it counts from {ends:%Y-%m-%dT%H:%M:%SZ} on: {url}"
    brake = "to have nothing start meanwhile: factory vault freeze --why ..."
    vault = open_vault(there)
    assert _list_text(listed(there)).startswith(f"{words}\n  {brake}\n")
    assert f"  {words}\n    {brake}\n" in told(shown(there, waiting.id))
    (note,) = doctor.standing(vault)
    assert (note.state.value, note.name, note.hint) == ("note", f"policy of {old.ops}", brake)
    assert note.detail == words.replace("of the policy", "of it")
    world = replace(b.world(), ops=old.ops, vault=VaultFacts(cooling=(Cooling(asked.number, asked.head, ends),)))
    (line,) = status._standing(world, url.partition("/pulls/")[0])
    assert line == f"{words}; {brake}"
    old.site.client(FOUNDER).review(
        old.ops, asked.number, state=ReviewState.REQUEST_CHANGES, body="no", commit=asked.head
    )
    assert listed(there)["cooling"] == [], "somebody objects"
    freeze(there, Said("look at that change first", old.site.tokens[old.site.login(FOUNDER)]))
    (frozen,) = doctor.standing(open_vault(there))
    assert (frozen.state.value, frozen.detail) == ("problem", old.ledger().frozen)


def test_nothing_else_waits(old: Keep) -> None:
    old.edit({"factory.toml": b"schema = 1\n# changed\n", "vault/secrets/README": b"x\n"})
    old.edit({"formulas/own.toml": b"# none\n"})
    assert versions(old) == [1, 1, 1]


def test_on_the_day_of_its_founding_nothing_waits(town: tuple[Site, Path | None], tmp_path: Path) -> None:
    young = Keep(town[0], tmp_path / "keep", town[1], more=COOLING, age=timedelta(hours=23))
    young.edit({"vault/policy.toml": young.policy(2, {"gamma": "medium"})})
    assert versions(young) == [1, 2]
    assert effects(young, act(young)) == 1
