"""Attacks on how the forge is set: rules taken off for a moment, history rewritten, the repo exchanged."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from factory.app import status, vault_settling
from factory.app.doctor import vault as doctor
from factory.app.vault_settling import Said, unfreeze
from factory.app.vault_showing import shown
from factory.forge.values import RepoName
from factory.vault.dispatch import Dispatcher
from factory.vault.gather import Gather
from factory.vault.watch import frozen
from factory.vault.watch.pinned import Pinned
from tests.contract.conftest import fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import DISPATCHER, FACTORY, FOUNDER, OUTSIDER, Asked, Keep
from tests.integration.vault.attacks.pace import the_next_second
from tests.integration.vault.attacks.raid import effects, raid
from tests.integration.vault.attacks.register import Seen, attack, rule


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


def called(keep: Keep, name: str) -> None:
    """The ops repo is renamed."""
    keep.site.client(FOUNDER).send("PATCH", f"/repos/{keep.ops}", doing="renaming", body={"name": name})
    keep.known_as(RepoName(keep.ops.owner, name))


def request(keep: Keep, formula: str = "gamma", **more: object) -> str:
    """One that an admin approved, merged."""
    asked = keep.ask(keep.action(formula, **more))
    keep.review(asked)
    keep.merged(asked)
    return asked.id


MOVES = ["renamed", *(["given"] if os.environ.get("FACTORY_TEST_FORGEJO") else [])]
"""The embedded forge gives no repo away."""


def given(keep: Keep) -> None:
    """The ops repo gets another owner."""
    if keep.forge_home is not None:
        pytest.skip("the embedded forge gives no repo away")
    other = keep.site.account("new-owner")
    keep.site.client(FOUNDER).send("POST", f"/repos/{keep.ops}/transfer", doing="giving", body={"new_owner": other})
    keep.site.client("new-owner").send("POST", f"/repos/{keep.ops}/transfer/accept", doing="taking")
    keep.known_as(RepoName(other, keep.ops.name))
    keep.site.client("new-owner").set_collaborator(keep.ops, keep.site.login(FOUNDER), "write")  # who was it loses it


@rule("The ops repo was renamed, or given to another owner", forge="allows", vault="frozen",
      check="forge, id, owner and name are those of GENESIS; the repo is found by its id, and its own ledger is told")
@pytest.mark.parametrize("how", MOVES)
def test_rule_repo_identity(own: Keep, off: Blind, how: str) -> Seen:
    def moved(keep: Keep) -> str:
        asked = request(keep)
        called(keep, fresh("moved")) if how == "renamed" else given(keep)
        return asked

    assert effects(own, moved(own)) == 0
    assert own.dispatch().trouble.startswith(f"frozen: the ops repo is now {own.ops}")
    again = Keep(own.site, own.root / "again", own.forge_home)
    off.settings()
    off.patch.setattr(Pinned, "_freeze", lambda self, why: None)
    off.patch.setattr(Dispatcher, "_whole", lambda self, main: [])
    assert effects(again, moved(again)) == 1
    return Seen("allows", "frozen")


def test_a_renamed_repo_stays_frozen_under_its_own_name_until_an_admin_has_looked(own: Keep) -> None:
    """It is found though nothing is to be done: by what the sentinel sees, with no request more in an idle turn."""
    own.dispatch().turn()
    name = own.ops.name
    called(own, fresh("moved"))
    own.settings()
    own.dispatch().turn()
    assert own.ledger().frozen.startswith(f"the ops repo is now {own.ops}; it was ")
    count = own.ledger().count
    own.run(2)
    assert own.ledger().count == count, "one that begins now says nothing new"
    called(own, name)
    assert effects(own, request(own)) == 0
    unfreeze(own.host.deployment, Said("it has its name back", own.site.tokens[own.site.login(FOUNDER)]))
    own.settings()
    the_next_second(own.site.client(FOUNDER))
    assert effects(own, request(own)) == 1


def replaced(keep: Keep) -> Callable[[], None]:
    """Another repo has the name, and the dispatcher's account sees no more of the one that it was. How to undo it."""
    dispatcher, there = keep.site.login(DISPATCHER), keep.ops
    called(keep, fresh("away"))
    away = keep.ops
    keep.site.admin.remove_collaborator(away, dispatcher)
    body = {"name": there.name, "private": True, "auto_init": True, "default_branch": "main"}
    assert keep.site.call("POST", "/user/repos", body).status_code == 201
    keep.site.admin.set_collaborator(there, dispatcher, "write")

    def back() -> None:
        keep.site.client(FOUNDER).send("DELETE", f"/repos/{there}", doing="deleting")
        called(keep, there.name)
        keep.site.admin.set_collaborator(there, dispatcher, "write")
        keep.settings()
        the_next_second(keep.site.client(FOUNDER))

    return back


@rule("Another repo under the pinned name", forge="allows", vault="frozen",
      off="it happens: the vault goes on as if nothing had been",
      check="the repo is found by its id; where the ledger is out of reach, this host keeps that it is frozen")
def test_rule_another_repo_under_the_pinned_name(own: Keep, off: Blind) -> Seen:
    asked = request(own)
    own.dispatch().turn()
    asked, done = request(own), own.runner().orders
    back = replaced(own)
    for _ in range(2):
        own.dispatch().turn()
        assert own.dispatch().trouble.startswith("frozen on this host: another repo is called "), "and over a restart"
        own.dispatch().end()
    deployment, project = own.host.deployment, RepoName.parse(own.host.project.project)
    (told, *_) = doctor.look(deployment, project, own.host.ops, datetime.now(UTC))
    assert "another repo is called" in told.detail
    said = [watch["trouble"] for watch in status.status(deployment)["vault"] if watch["service"] == "dispatcher"]
    assert all("another repo is called" in words for words in said)
    assert said
    back()
    own.dispatch().turn()
    assert own.ledger().frozen.startswith("another repo is called ")
    assert effects(own, asked) == 0
    assert own.runner().orders == done
    own.dispatch().end()
    frozen.keep(own.host.folder, "kept again", datetime.now(UTC))
    woken: list[str] = []
    with pytest.MonkeyPatch.context() as here:  # in this process, where the command runs
        here.setattr(vault_settling, "poke", lambda _: woken.append(frozen.words(own.host.folder)))
        unfreeze(deployment, Said("it is the one it was", own.site.tokens[own.site.login(FOUNDER)]))
    assert woken == [""], "one that is woken while this host keeps it would freeze it once more"
    assert effects(own, request(own)) == 1
    again = Keep(own.site, own.root / "again", own.forge_home)
    again.dispatch().turn()
    off.settings()
    off.patch.setattr(Pinned, "look", lambda self: None)
    back = replaced(again)
    again.dispatch().turn()
    back()
    assert effects(again, request(again)) == 1
    return Seen("allows", "frozen", "it happens: the vault goes on as if nothing had been")


@rule("The ops repo was renamed, when nothing but a repeated action is due", forge="allows", vault="frozen",
      check="forge, id, owner and name are those of GENESIS, every time something is to be done")  # fmt: skip
def test_rule_repo_identity_for_a_repeated_action(own: Keep, off: Blind) -> Seen:
    def starts(keep: Keep) -> int:
        """How many of its two runs start, when the repo is renamed after the first."""
        keep.edit({"vault/policy.toml": keep.policy(2, rule="max_runs = 2\n")})
        asked = request(keep, "beta", runs=2, every_hours=2)
        assert effects(keep, asked) == 1
        called(keep, fresh("moved"))
        keep.pass_by(timedelta(hours=3))
        return effects(keep, asked)

    assert starts(own) == 1
    off.settings()
    off.patch.setattr(Pinned, "_freeze", lambda self, why: None)
    off.patch.setattr(Dispatcher, "_whole", lambda self, main: [
        self._entry(kind, "_", evidence) for kind, evidence in self._look.trusted(main)])  # fmt: skip
    assert starts(Keep(own.site, own.root / "again", own.forge_home)) == 2
    return Seen("allows", "frozen")


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
        "was refused: the ops repo is not set as it was when this was opened, or nobody watched it since: "
        f"{login}: no collaborator, now read (account {number})"
    )
    assert facts["next"]["asker"] == "ask again: `factory vault request`"
    the_next_second(own.site.client(FOUNDER))
    again = own.ask(own.action("gamma"))
    own.review(again)
    own.merged(again)
    assert effects(own, again.id) == 1
