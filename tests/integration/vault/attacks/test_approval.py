"""Attacks on the approval: what is merged is not what a listed person approved, or nobody listed did."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.forge.values import ReviewState
from factory.vault import gather
from factory.vault.canonical import Refused
from factory.vault.policy import read as read_policy
from factory.vault.verify import Case
from tests.contract.conftest import Site, fresh
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FACTORY, FOUNDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.pace import taken_back, the_next_second
from tests.integration.vault.attacks.raid import effects, raid
from tests.integration.vault.attacks.register import Seen, attack


def pushed(keep: Keep, asked: Asked, who: str = FACTORY, reason: str = "something else") -> Asked:
    """Another version of the file on the request's branch."""
    data = replace(keep.actions[asked.id], reason=reason).write()
    return replace(asked, head=keep.write(who, asked.branch, {f"vault/actions/{asked.id}.toml": data}))


@attack(1, "Push to the branch after it was approved", forge="blocks", vault="head-moved",
        check="an approval is for the head that was merged")  # fmt: skip
def test_attack_1_push_after_approval(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        keep.review(asked)
        now = pushed(keep, asked)
        if not keep.merge(now):
            keep.still_fresh(asked)  # the forge may take its time with that; the vault needs none of it
            keep.force(now)
        return asked.id

    return raid(keep, act, lambda: off.review("commit", "at"))


@attack(1, "The same, when the forge has dismissed the approval", forge="blocks", vault="approval-dismissed",
        check="a dismissed approval is none")  # fmt: skip
def test_attack_1_push_after_approval_as_the_forge_sees_it(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        keep.review(asked)
        keep.merged(pushed(keep, asked))
        return asked.id

    return raid(keep, act, lambda: off.review("commit", "at", "dismissed", "stale"))


@attack(2, "Push that only takes one of the files back, so that a forge may keep the approval", forge="blocks",
        vault="head-moved", check="an approval is for the head that was merged")  # fmt: skip
def test_attack_2_partial_revert_after_approval(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action, extra={"notes.txt": b"to read\n"})
        keep.review(asked)
        now = replace(asked, head=keep.write(FACTORY, asked.branch, {"notes.txt": None}))
        if not keep.merge(now):
            keep.still_fresh(asked)
            keep.force(now)
        return action.id

    seen = raid(keep, act, lambda: off.review("commit", "at"))
    if keep.forge_home is None:
        assert seen.forge == "allows"  # it does keep the approval
        seen = replace(seen, forge="blocks")
    return seen


@attack(3, "A second bot approves", forge="blocks", vault="approver-not-listed",
        check="who approves is listed in the policy")  # fmt: skip
def test_attack_3_a_bot_approves_a_bots_request(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        keep.review(asked, FACTORY)
        keep.merged(asked)
        return asked.id

    seen = raid(keep, act, lambda: off.review("listed", "barred", "official"))
    with pytest.raises(Refused, match="an account of the factory is listed"):
        read_policy(keep.policy(admins=(FOUNDER, FACTORY)), frozenset({keep.ids[FACTORY]}))
    return seen


@attack(4, "An admin approves what the same admin pushed", forge="allows", vault="approver-barred",
        check="who pushed or wrote a commit does not approve it")  # fmt: skip
def test_attack_4_an_admin_approves_their_own_push(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        early = keep.review(asked, APPROVER)
        asked = pushed(keep, asked, FOUNDER)
        taken_back(keep.site, keep.ops, asked.number, early)
        keep.review(asked)
        keep.merged(asked)
        return asked.id

    return raid(keep, act, lambda: off.review("barred"))


@attack(4, "The same, pushed in other people's names while it was closed, which no forge records",
        forge="allows", vault="approver-barred", check="a commit that no push names may be a reviewer's")  # fmt: skip
def test_attack_4_pushed_while_it_was_closed(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        client = keep.site.client(VAULT)
        asked = mine(keep, lambda asked: client.edit_pull(keep.ops, asked.number, state="closed"))
        client.edit_pull(keep.ops, asked.number, state="open")
        asked = pushed(keep, asked)  # by another bot, which the forge does name
        the_next_second(client)
        keep.review(asked)
        keep.merged(asked)
        return asked.id

    return raid(keep, act, lambda: off.review("barred"))


@attack(4, "The same, merged before the forge has written down who pushed", forge="allows", vault="approver-barred",
        check="a commit that no push names may be a reviewer's")  # fmt: skip
def test_attack_4_merged_before_the_push_is_named(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = mine(keep)
        keep.unnamed(asked)
        keep.review(asked)
        keep.merged(asked)
        return asked.id

    return raid(keep, act, lambda: off.review("barred"))


def test_what_was_pushed_approved_and_merged_at_once_does_not_start(keep: Keep) -> None:
    """However far a real forge has got with the push when it is asked to merge it."""
    for _ in range(3):
        asked = mine(keep)
        client, wanted = keep.site.client(FOUNDER), {"Do": "merge", "head_commit_id": asked.head}
        until, merged = time.monotonic() + 5, 0
        while merged != 200 and time.monotonic() < until:
            client.review(keep.ops, asked.number, state=ReviewState.APPROVED, body="", commit=asked.head)
            path = f"/repos/{keep.ops}/pulls/{asked.number}/merge"
            merged = keep.site.call("POST", path, wanted, who=VAULT).status_code
        assert effects(keep, asked.id) == 0
        assert keep.dispatch().ledger.state(asked.id).kind == ("REFUSED" if merged == 200 else "SEEN")


def mine(keep: Keep, first: Callable[[Asked], object] = lambda asked: None) -> Asked:
    """A request to whose branch an admin pushed in the name of nobody, ``first`` this."""
    asked, nobody = keep.ask(keep.action("gamma")), {"name": "Nobody", "email": "nobody@example.invalid"}
    first(asked)
    data = replace(keep.actions[asked.id], reason="mine").write()
    head = keep.write(FOUNDER, asked.branch, {f"vault/actions/{asked.id}.toml": data}, author=nobody, committer=nobody)
    return replace(asked, head=head)


@attack(5, "Approval on an unprotected branch, then the target becomes main", forge="allows",
        vault="approval-unofficial | approved-before-push",
        check="nothing moved after the approval; it is official where it was merged")  # fmt: skip
def test_attack_5_retarget_after_approval(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        side = f"edit/{action.id}"
        assert not keep.push(FACTORY, f"{keep.tip('main')}:refs/heads/{side}")
        asked = replace(keep.ask(action, side), base="main")
        keep.review(asked)
        path = f"/repos/{keep.ops}/pulls/{asked.number}"
        keep.site.client(VAULT).send("PATCH", path, doing="retargeting", body={"base": "main"})
        keep.merged(asked)
        return action.id

    return raid(keep, act, lambda: off.review("official", "at"))


@attack(6, "Close, make the branch anew with other content, reopen", forge="blocks",
        vault="approval-dismissed | head-moved | approver-barred",
        check="an approval is for the head that was merged, and none counts for what no push names")  # fmt: skip
def test_attack_6_reopened_with_other_content(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action)
        keep.review(asked)
        client = keep.site.client(VAULT)
        client.edit_pull(keep.ops, asked.number, state="closed")
        client.delete_branch(keep.ops, asked.branch)
        head = keep.write(VAULT, asked.branch, {action.path: replace(action, reason="other").write()}, base="main")
        client.edit_pull(keep.ops, asked.number, state="open")
        # No push names who made a branch anew; and a forge that got to it before the reopening leaves the request's
        # ref where it was.
        keep.merged(replace(asked, head=head, named=False, branch=""))
        return action.id

    seen = raid(keep, act, lambda: off.review("commit", "at", "dismissed", "stale", "official", "barred"))
    if keep.forge_home is None:
        assert seen.forge == "allows"  # named in tests/contract: test_reopened_on_another_head
        seen = replace(seen, forge="blocks")
    return seen


@attack(6, "Close and reopen with the same content, after the approval", forge="allows", vault="approved-before-push",
        check="an approval is younger than the last reopening")  # fmt: skip
def test_attack_6_reopened_as_it_was(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("gamma"))
        keep.review(asked)
        for state in ("closed", "open"):
            keep.site.client(VAULT).edit_pull(keep.ops, asked.number, state=state)
        keep.merged(asked)
        return asked.id

    return raid(keep, act, lambda: off.review("at"))


@attack(7, "A pull request into the approved branch", forge="blocks", vault="head-moved | approval-dismissed",
        check="an approval is for the head that was merged")  # fmt: skip
def test_attack_7_merge_into_the_source_branch(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        action = keep.action("gamma")
        asked = keep.ask(action)
        keep.review(asked)
        data = {action.path: replace(action, reason="other").write()}
        inner = keep.propose(action.id, f"side/{action.id}", keep.write(
            FACTORY, f"side/{action.id}", data, base=asked.branch), asked.branch, FACTORY)  # fmt: skip
        assert keep.merge(inner, FACTORY)
        keep.merged(replace(asked, head=keep.tip(asked.branch)))
        return action.id

    return raid(keep, act, lambda: off.review("commit", "at", "dismissed", "stale"))


@attack(44, "An admin who lost the right to write approved it before", forge="allows", vault="approver-gone",
        check="who approved is active and may still write")  # fmt: skip
def test_attack_44_an_approver_who_was_sent_away(keep: Keep, off: Blind) -> Seen:
    def act() -> str:
        asked = keep.ask(keep.action("beta"))
        keep.review(asked, APPROVER)
        keep.merged(asked)
        keep.site.admin.remove_collaborator(keep.ops, keep.site.login(APPROVER))
        return asked.id

    def blind() -> None:
        keep.site.admin.set_collaborator(keep.ops, keep.site.login(APPROVER), "write")
        off.settings()
        everybody = frozenset(keep.ids.values())
        off.case(lambda case: replace(case, humans=everybody))

    try:
        return raid(keep, act, blind)
    finally:
        keep.site.admin.set_collaborator(keep.ops, keep.site.login(APPROVER), "write")


@attack(45, "The name of an admin who left, taken by somebody else", forge="allows", vault="approver-not-listed",
        check="people are account ids")  # fmt: skip
def test_attack_45_a_name_taken_over(town: tuple[Site, Path | None], tmp_path: Path, off: Blind) -> Seen:
    boss = fresh("boss")
    own = Keep(town[0], tmp_path, town[1], people=(boss,))
    login, site = own.site.login(boss), own.site
    assert site.admin.ask("DELETE", f"/admin/users/{login}", doing="test", query={"purge": "true"}).status == 204
    for kept in (site.tokens, site.passwords, site.clients):
        kept.pop(login, None)
    other = int(site.call("GET", "/user", who=boss).json()["id"])
    assert other != own.ids[boss]
    site.admin.set_collaborator(own.ops, login, "write")
    own.protect()
    own.settings()
    the_next_second(site.client(FOUNDER))  # what is asked for within the second of a change counts as unwatched

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.review(asked, boss)
        own.merged(asked)
        return asked.id

    def by_name(case: Case) -> Case:
        return replace(case, policy=replace(case.policy, admins=case.policy.admins | {other}))

    return raid(own, act, lambda: off.case(by_name))


@attack(46, "The approval is taken back after the merge, before the start", forge="allows",
        vault="approval-dismissed", check="everything is looked at again right before the start")  # fmt: skip
def test_attack_46_taken_back_at_the_last_moment(own: Keep, off: Blind) -> Seen:
    runner = own.runner()

    def act() -> str:
        """It waits for its lane, which another action has; in that time the approval goes."""
        first = own.ask(own.action("gamma", place="here"))
        own.review(first)
        own.merged(first)
        runner.fate = lambda order: None
        assert effects(own, first.id) == 1
        asked = own.ask(own.action("gamma", place="here", reason="once more"))
        review = own.review(asked)
        own.merge_wrongly(asked)
        assert effects(own, asked.id) == 0
        assert own.dispatch().ledger.state(asked.id).kind == "VERIFIED"
        own.dismiss(asked, review)
        runner.end(runner.orders[-1])
        return asked.id

    def first_look_only() -> None:
        real, seen = gather.Gather.verify, dict[str, Any]()

        def verify(self: gather.Gather, id: str) -> Any:
            if id not in seen:
                seen[id] = real(self, id)
            return seen[id]

        off.patch.setattr(gather.Gather, "verify", verify)

    return raid(own, act, first_look_only)


@attack(54, "An approval written into the forge's database", forge="allows", vault="signature-missing",
        check="the policy wants an admin's signature for high")  # fmt: skip
def test_attack_54_an_approval_in_the_database(town: tuple[Site, Path | None], tmp_path: Path, off: Blind) -> Seen:
    own = Keep(town[0], tmp_path, town[1], more='require_signature = ["high"]\n')

    def act() -> str:
        asked = own.ask(own.action("gamma"))
        own.sql(
            "INSERT INTO reviews (issue_id, reviewer_id, state, commit_id, official, created, updated) SELECT id, ?,"
            " 'APPROVED', ?, 1, created, created FROM issues WHERE repo_id = ? AND number = ?",
            own.ids[FOUNDER], asked.head, own.repo_id, asked.number,
        )  # fmt: skip
        own.merge_wrongly(asked)
        return asked.id

    def unsigned(case: Case) -> Case:
        return replace(case, policy=replace(case.policy, signed=frozenset()))

    return raid(own, act, lambda: off.case(unsigned))
