"""What the dashboard says follows from World and Plan, and from nothing else."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from factory.daemon.board import PACE, Board, facts_of
from factory.forge.values import ItemState
from factory.git import objects
from factory.git.transport import Remote, fetch
from factory.git.values import Signature
from factory.ops.dashboard import headline
from factory.plan.effect import Plan
from factory.plan.labels import BLOCKED
from factory.plan.model import Pause, PullFacts, Skip
from factory.plan.names import issue_subject, pull_subject
from factory.plan.vault import ActionFact, PendingFact, RequestFact, VaultFacts
from factory.roles.turn import decide
from factory.runs.model import Subject, Usage
from factory.testing import builders as b

URL = "http://forge.example"


def test_a_quiet_factory_needs_nobody() -> None:
    facts = facts_of(b.world(), Plan(), URL, None, None, ())
    assert headline(facts) == "Nothing needs you"
    assert facts.prerequisites is None


def test_the_same_world_gives_the_same_facts_whatever_the_time() -> None:
    world = b.world([b.ready()], [b.pull()])
    plans = [decide(world, now) for now in (b.NOW, b.NOW.replace(minute=59))]
    assert len({facts_of(world, plan, URL, None, None, ()) for plan in plans}) == 1


def test_what_only_a_person_can_clear_is_told_with_its_place() -> None:
    world = b.world([], [b.pull(5)])
    skip = Skip(pull_subject(world, 5), "person-approval", "touches CI", "a person's approval")
    (need,) = facts_of(world, Plan((), (skip,)), URL, None, None, ()).needs
    assert need.url == f"{URL}/{b.PROJECT}/pulls/5"
    assert need.act == "approve"


def test_what_clears_itself_is_not_asked_of_a_person() -> None:
    world = b.world([], [b.pull(5)])
    skip = Skip(pull_subject(world, 5), "check-missing", "factory/ci is missing", "that check")
    assert facts_of(world, Plan((), (skip,)), URL, None, None, ()).needs == ()


def test_a_blocked_issue_and_an_open_ops_change_need_a_person() -> None:
    stuck = b.ready(3)
    stuck = replace(stuck, issue=replace(stuck.issue, labels=stuck.issue.labels | {BLOCKED}))
    world = b.world([stuck], [], ops_pulls=(b.pull(9),))
    needs = facts_of(world, Plan(), URL, None, None, ()).needs
    assert {(n.act, n.url) for n in needs} == {
        ("unblock", f"{URL}/{b.PROJECT}/issues/3"),
        ("approve", f"{URL}/{b.OPS}/pulls/9"),
    }


def test_work_that_waits_is_told_with_the_first_thing_in_its_way() -> None:
    world = b.world([b.ready(2)])
    skip = Skip(issue_subject(world, 2), "slots", "all slots are taken", "the next tick")
    (waiting,) = facts_of(world, Plan((), (skip,)), URL, None, None, ()).waiting
    assert waiting.reason == "all slots are taken"


def test_a_merge_is_told_with_all_that_it_cost_although_its_branch_is_gone() -> None:
    pull = b.pull(5)
    over = replace(pull.pull, merged=True, state=ItemState.CLOSED, merge_commit=b.sha("m"), head_ref="refs/pull/5/head")
    gone = replace(pull, pull=over)
    on_pull = Subject(str(b.PROJECT), "pull", "5")
    runs = [
        b.run("dev", usage=Usage(cost_usd=0.25), issue=1, run="r20261121T110000000-00000001"),
        b.run("review-pr", on_pull, usage=Usage(cost_usd=0.5), issue=1, run="r20261121T110000000-00000002"),
        b.run("dev", usage=Usage(cost_usd=9.0), issue=7, run="r20261121T110000000-00000003"),
    ]
    facts = facts_of(b.world([], [gone], runs), Plan(), URL, None, None, ())
    (merged,) = facts.merged
    assert (merged.issue, merged.runs, merged.cost_usd) == (1, 2, 0.75)
    assert facts.cost_per_merge_usd == 0.75


ID = "2026-11-21-release-7f3a09c2"


def vault_pull(id: str = ID, number: int = 9) -> PullFacts:
    return b.pull(number, by="vault-bot", head_ref=f"vault/{id}", head_repo=b.OPS, statuses=[])


def test_an_approval_of_the_vault_is_asked_with_facts_and_what_it_frees() -> None:
    request = RequestFact(9, b.HEAD, ID, "high", headline="release@1 on release:v0.2.0 (high) waits for founder",
                          frees=(f"{b.PROJECT}#3", "acme/site#4"))  # fmt: skip
    world = b.world(ops_pulls=(vault_pull(),), vault=VaultFacts(requests=(request,)))
    (need,) = facts_of(world, decide(world, b.NOW), URL, None, None, ()).needs
    assert (need.act, need.title, need.url) == ("approve", request.headline, f"{URL}/{b.OPS}/pulls/9")
    assert need.frees == "the action starts and #3 goes on and acme/site#4 goes on"


def test_what_the_factory_merges_or_closes_by_itself_needs_nobody() -> None:
    for request in (RequestFact(9, b.HEAD, ID, "low"), RequestFact(9, b.HEAD, ID, code="extra-paths", words="no")):
        pull = vault_pull()
        pull = replace(pull, pull=replace(pull.pull, base_ref="auto"), files=(b.file("x"),))
        world = b.world(ops_pulls=(pull,), vault=VaultFacts(requests=(request,)))
        assert facts_of(world, decide(world, b.NOW), URL, None, None, ()).needs == ()


def test_a_cut_off_action_and_things_to_do_need_a_person_and_a_frozen_vault_is_told() -> None:
    parked = ActionFact(ID, "PARKED", 9, b.ago(5), "waits for a person", pull=9, words="nobody can tell")
    told = VaultFacts(actions=(parked,), pending=(PendingFact("domain", "Buy a domain", b.ago(9), "acme/tally#3"),),
                      frozen="by hand")  # fmt: skip
    facts = facts_of(b.world(vault=told), Plan(), URL, None, None, ())
    assert {(n.act, n.title) for n in facts.needs} == {("settle", f"{ID} was cut off"), ("do", "Buy a domain")}
    assert [h.detail for h in facts.health] == ["the vault is frozen: by hand"]


def test_what_changes_with_every_turn_is_one_version_in_a_while(tmp_path: Path) -> None:
    """The first is written at once, what comes after it when its time is over; nothing of it is lost."""
    repo, mirror = tmp_path / "ops.git", tmp_path / "mirror.git"
    who = Signature("Ann", "ann@example.test", 1_700_000_000)
    for path in (repo, mirror):
        objects.init_bare(path)
    begun = objects.build_commit(repo, parent=None, changes={"a": b""}, message="m", author=who, committer=who)
    objects.create_ref(repo, "refs/heads/main", begun)
    remote = Remote(str(repo))
    fetch(mirror, remote, ["+refs/heads/*:refs/heads/*"])
    board = Board(
        lambda: mirror, remote, lambda: who, "h", "http://forge", lambda: None, lambda: (), lambda line: None
    )  # fmt: skip
    worlds = [b.world(pauses=tuple(Pause(f"role{n}", "ann", b.NOW) for n in range(count))) for count in range(4)]
    at = [timedelta(seconds=seconds) for seconds in (0, 1, 2, 5)]
    wrote = [board.update(there, Plan(), b.NOW + later) for there, later in zip(worlds, at, strict=True)]
    assert wrote == [True, False, False, True]
    assert board.due is None
    assert b"role2" in (objects.read_file(mirror, "refs/heads/main", "README.md") or b"")
    assert not board.update(worlds[0], Plan(), b.NOW + at[-1] + timedelta(seconds=1))
    assert board.due == b.NOW + at[-1] + PACE
    assert not board.update(worlds[3], Plan(), b.NOW + at[-1] + timedelta(seconds=2))
    assert board.due is None, "it is as it was written"
