"""Attacks on how the forge is set: rules taken off for a moment, history rewritten, the repo exchanged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from factory.app.vault_showing import shown
from factory.forge.values import RepoName
from factory.vault.dispatch import Dispatcher
from factory.vault.gather import Gather
from tests.contract.conftest import fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import FACTORY, FOUNDER, OUTSIDER, Asked, Keep
from tests.integration.vault.attacks.pace import the_next_second
from tests.integration.vault.attacks.raid import effects, raid
from tests.integration.vault.attacks.register import Seen, attack, rule
from tests.integration.vault.house import OPS, House, policy_bytes


def weakened(keep: Keep) -> None:
    """No approval needed and anybody may push, as an admin can set it; then as it was."""
    keep.site.admin.set_protection(keep.ops, replace(keep.rule("main"), required_approvals=0, enable_push=True))
    keep.settings()
    keep.protect()
    keep.settings()


def waiting(keep: Keep) -> Asked:
    """A request that was opened, and that the dispatcher has seen."""
    asked = keep.ask(keep.action("gamma"))
    keep.dispatch().turn()
    return asked


@attack(35, "A branch rule taken off and put back while the request is open", forge="allows", vault="settings-changed",
        check="the sentinel's generation is that of the request's opening")  # fmt: skip
def test_attack_35_weakened_and_put_back(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = waiting(own)
        weakened(own)
        own.review(asked)
        own.merged(asked)
        return asked.id

    return raid(own, act, off.settings)


@attack(35, "The same, before the dispatcher has seen the request", forge="allows", vault="settings-changed",
        check="the sentinel has watched without a change since before the opening")  # fmt: skip
@pytest.mark.parametrize("noted_late", [False, True])
def test_attack_35_weakened_before_it_was_seen(own: Keep, off: Blind, noted_late: bool) -> Seen:
    def act() -> str:
        asked = own.ask(own.action("gamma"))
        weakened(own)
        if noted_late:
            own.dispatch().turn()
        own.review(asked)
        own.merged(asked)
        return asked.id

    return raid(own, act, off.settings)


@attack(35, "A branch rule that is off when it is judged", forge="allows", vault="settings-wrong",
        check="the forge is set as it must be")  # fmt: skip
def test_attack_35_weak_when_judged(own: Keep, off: Blind) -> Seen:
    def act() -> str:
        own.site.admin.set_protection(own.ops, replace(own.rule("main"), apply_to_admins=False))
        asked = own.ask(own.action("gamma"))
        own.review(asked)
        own.merged(asked)
        return asked.id

    return raid(own, act, off.settings)


@attack(36, "History of main rewritten while its rule is off", forge="blocks", vault="frozen",
        check="what was seen merged is still on its branch")  # fmt: skip
def test_attack_36_history_rewritten(own: Keep, off: Blind) -> Seen:
    before = own.tip("main")
    first = own.ask(own.action("gamma"))
    own.review(first)
    own.merged(first)
    assert effects(own, first.id) == 1

    def act() -> str:
        asked = own.ask(own.action("gamma"), base="main")
        own.review(asked)
        own.merged(asked)
        return asked.id

    assert own.push(FACTORY, f"+{before}:refs/heads/main")
    assert own.push(FOUNDER, f"+{before}:refs/heads/main")
    own.site.admin.delete_protection(own.ops, "mai[n]")
    assert not own.push(FOUNDER, f"+{before}:refs/heads/main")
    own.protect()
    off.settings()  # that it was off is another check
    dispatcher, _ = own.run(1)
    assert "rewritten" in dispatcher.ledger.frozen, "also for one that never saw the branch before"
    assert effects(own, act()) == 0
    assert own.dispatch().ledger.frozen
    off.patch.setattr(Gather, "rewritten", lambda self: False)
    other = Keep(own.site, own.root / "other", own.forge_home)
    return Seen("blocks", "frozen") if unfrozen(other, off) else Seen("blocks", "frozen", "frozen still")


def unfrozen(keep: Keep, off: Blind) -> bool:
    """The same again, with the check off."""
    before = keep.tip("main")
    first = keep.ask(keep.action("gamma"))
    keep.review(first)
    keep.merged(first)
    assert effects(keep, first.id) == 1
    keep.wrongly("main", before)
    asked = keep.ask(keep.action("gamma"))
    keep.review(asked)
    keep.merged(asked)
    return effects(keep, asked.id) == 1


@rule("Another repo under the pinned name", forge="allows", vault="frozen",
      check="forge, id, owner and name are those of GENESIS, every time something is to be done")  # fmt: skip
def test_rule_repo_identity(own: Keep, off: Blind) -> Seen:
    name = own.ops

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked)
        own.merged(asked)
        return asked.id

    moved = {"name": fresh("moved")}
    own.site.client(FOUNDER).send("PATCH", f"/repos/{name}", doing="renaming", body=moved)
    own.ops = RepoName(name.owner, moved["name"])
    own.post = replace(own.post, expected=replace(own.post.expected, ops=own.ops))
    off.settings()
    assert effects(own, act()) == 0
    if own.forge_home is None:  # it sends git elsewhere, where the vault's does not go: nothing is written
        assert "the repo was renamed or moved" in own.dispatch().trouble
    else:
        assert moved["name"] in own.dispatch().ledger.frozen
    off.patch.setattr(Dispatcher, "_whole", lambda self, main: [])
    again = Keep(own.site, own.root / "again", own.forge_home)
    own = again
    assert effects(own, act()) == 1
    return Seen("allows", "frozen")


@rule("Another repo, when nothing but a repeated action is due", vault="frozen",
      check="forge, id, owner and name are those of GENESIS, every time something is to be done")  # fmt: skip
def test_rule_repo_identity_for_a_repeated_action(tmp_path: Path, off: Blind) -> Seen:
    """Without a process: hours pass between its runs, on the forge's clock as well."""

    def starts(house: House) -> int:
        """How many of its two runs start, when the repo is exchanged after the first."""
        house.adopt(policy_bytes(2, rule="max_runs = 2\n"))
        house.ask("beta", runs=2, every_hours=2, expires=house.now + timedelta(hours=30))
        dispatcher, runner = house.dispatcher()
        dispatcher.turn()
        dispatcher.turn()
        assert len(runner.orders) == 1
        house.repo_ = replace(OPS, id=8)
        house.now += timedelta(hours=3)
        for _ in range(3):
            dispatcher.turn()
        return len(runner.orders)

    assert starts(House(tmp_path / "one")) == 1
    off.patch.setattr(Dispatcher, "_whole", lambda self, main: [
        self._entry("TRUST", "_", evidence) for evidence in self._look.trusted(main)])  # fmt: skip
    assert starts(House(tmp_path / "two")) == 2
    return Seen("-", "frozen")


def test_what_is_asked_for_after_a_rule_was_changed_is_judged_by_the_rule_as_it_is(own: Keep) -> None:
    """Though the sentinel sees the change only when somebody asks it about that request."""
    own.settings()
    own.protect()
    the_next_second(own.site.client(FOUNDER))
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    own.merged(asked)
    assert effects(own, asked.id) == 1


def test_what_is_asked_for_just_after_people_changed_is_refused_and_can_be_asked_for_again(own: Keep) -> None:
    """When they changed, no forge tells: it may have been after the request was opened."""
    own.settings()
    own.site.admin.set_collaborator(own.ops, own.site.login(OUTSIDER), "read")
    asked = own.ask(own.action("gamma"))
    own.review(asked)
    own.merged(asked)
    assert effects(own, asked.id) == 0
    facts = shown(own.host.deployment, asked.id)
    login, number = own.site.login(OUTSIDER), own.ids[OUTSIDER]
    assert facts["stands"] == (
        "was refused: the ops repo is not set as it was when this was opened: "
        f"{login}: no collaborator, now read (account {number})"
    )
    assert facts["next"]["asker"] == "ask again: `factory vault request`"
    the_next_second(own.site.client(FOUNDER))
    again = own.ask(own.action("gamma"))
    own.review(again)
    own.merged(again)
    assert effects(own, again.id) == 1
