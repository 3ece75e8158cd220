"""The table of DESIGN section 10: what a pull request is -> the one action, and the rule that names it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from factory.config.model import Mode
from factory.forge.values import CheckState, ItemState, RepoName, ReviewState
from factory.plan import labels
from factory.plan.decide import decide
from factory.plan.model import BaseFacts, Pause, PullFacts, World
from factory.plan.operations import AddLabels, CancelRun, MergePull, PostComment, StartRun, UpdatePull
from factory.runs.model import Cause, RunRecord, Subject
from factory.testing import builders as b

PULL = Subject(str(b.PROJECT), "pull", "5")
OTHER = b.sha("older")
RED = b.status(CheckState.FAILURE)
NO = ReviewState.REQUEST_CHANGES


def world(pull: PullFacts, runs: Iterable[RunRecord] = (), **changes: object) -> World:
    return b.world([b.ready()], [pull], [*runs, ci_run()], **changes)


def ci_run(of: str = b.BASE, on: str = "base") -> RunRecord:
    subject = Subject(str(b.PROJECT), "commit", of)
    return b.run("ci", subject, role="ci", minutes_ago=40, head=of, facts={"ci": "success", "on": on})


def judged(facts: PullFacts) -> list[RunRecord]:
    """CI has had its say about this head: no run of it is wanted."""
    return [ci_run(facts.pull.head_sha, "pull/5")]


def action(of: World) -> tuple[str, str]:
    """(kind of the effect or "", rule of the skip or "") on the pull request."""
    plan = decide(of, b.NOW)
    effect = plan.effect_for(PULL)
    rules = [s.rule for s in plan.skips_for(PULL)]
    assert len(rules) + (effect is not None) == 1, (plan.effects, plan.skips)
    return (effect.kind if effect else "", rules[0] if rules else "")


def lineage(count: int, cause: Cause | None = None) -> list[RunRecord]:
    """``count`` fix runs, each of which made the next head; the last one made HEAD."""
    heads = [b.sha(f"fix{n}") for n in range(count)] + [b.HEAD]
    return [
        b.run("fix-ci", PULL, minutes_ago=30 - n, head=heads[n + 1], facts={"from": heads[n], "want": heads[n]})
        for n in range(count)
    ]


def rounds(*findings: str, files: Iterable[int] = ()) -> list[RunRecord]:
    """Review runs that asked for changes, oldest first, with these findings (comma separated)."""
    counts = list(files) or [1] * len(findings)
    return [
        b.run("review-pr", PULL, role="reviewer", minutes_ago=30 - n, head=b.sha(f"round{n}"),
              facts={"verdict": "request_changes", "findings": text, "files": str(counts[n])})
        for n, text in enumerate(findings)
    ]  # fmt: skip


APPROVED = b.pull(reviews=[b.review()])

TABLE = {
    "head not reviewed, checks green": (b.pull(), [], "start:review-pr", ""),
    "approved at this head": (APPROVED, [], "merge", ""),
    "approved by a person, not by the reviewer": (b.pull(reviews=[b.review(by="founder")]), [], "merge", ""),
    "approved at another head": (b.pull(reviews=[b.review(commit=OTHER)]), [], "start:review-pr", ""),
    "required check red": (b.pull(statuses=[RED]), [], "start:fix-ci", ""),
    "red after two fixes": (b.pull(statuses=[RED]), lineage(2), "start:fix-ci", ""),
    "red after three fixes": (b.pull(statuses=[RED]), lineage(3), "block", ""),
    "required check missing": (b.pull(statuses=[]), [], "", "check-missing"),
    "required check pending": (b.pull(statuses=[b.status(CheckState.PENDING)]), [], "", "check-pending"),
    "required check in trouble": (b.pull(statuses=[b.status(CheckState.ERROR)]), [], "", "check-trouble"),
    "a warning is not green": (b.pull(statuses=[b.status(CheckState.WARNING)]), [], "", "check-trouble"),
    "green by somebody else's status": (b.pull(statuses=[b.status(by="colleague")]), [], "", "check-missing"),
    "red newer than green": (
        b.pull(statuses=[b.status(at=b.ago(9)), b.status(CheckState.FAILURE, at=b.ago(2))]), [], "start:fix-ci", "",
    ),
    "changes requested at this head": (b.pull(reviews=[b.review(NO)]), [], "start:address-review", ""),
    "changes requested at an older head": (b.pull(reviews=[b.review(NO, commit=OTHER)]), [], "start:review-pr", ""),
    "a person asked for changes": (b.pull(reviews=[b.review(NO, "founder")]), [], "start:address-review", ""),
    "a person asked at an older head, unanswered": (
        b.pull(reviews=[b.review(NO, "founder", commit=OTHER)]), [], "start:address-review", "",
    ),
    "a person asked, it was answered, the reviewer approved": (
        b.pull(reviews=[b.review(NO, "founder", commit=OTHER, at=b.ago(12)), b.review(number=2)]),
        [b.run("address-review", PULL, minutes_ago=10, head=b.HEAD, facts={"from": OTHER})], "", "rejected",
    ),
    "an outsider asked for changes": (
        b.pull(reviews=[b.review(NO, "outsider"), b.review(number=2)]), [], "merge", "",
    ),
    "findings do not shrink": (b.pull(reviews=[b.review(NO)]), rounds("a,b", "a,b"), "block", ""),
    "findings grow around the old ones": (b.pull(reviews=[b.review(NO)]), rounds("a", "a,b"), "block", ""),
    "findings return": (b.pull(reviews=[b.review(NO)]), rounds("a,b", "c", "a"), "block", ""),
    "findings are answered": (b.pull(reviews=[b.review(NO)]), rounds("a,b", "c"), "start:address-review", ""),
    "scope grows": (b.pull(reviews=[b.review(NO)]), rounds("a,b", "c", files=[2, 9]), "block", ""),
    "five rounds": (b.pull(reviews=[b.review(NO)]), rounds("a,b,c,d,e", "f,g,h,i", "j,k,l", "m,n", "o"), "block", ""),
    "a person's wish is no divergence": (
        b.pull(reviews=[b.review(NO, "founder")]), rounds("a,b", "a,b"), "start:address-review", "",
    ),
    "the reviewer could not decide": (b.pull(reviews=[b.review(ReviewState.COMMENT)]), [], "", "undecided"),
    "conflict with the base": (b.pull(mergeable=False, merge_base=OTHER), [], "start:resolve-conflict", ""),
    "unmergeable though up to date": (b.pull(mergeable=False), [], "", "not-mergeable"),
    "touches CI configuration": (
        replace(APPROVED, files=(b.file(".forgejo/workflows/ci.yml"),)), [], "", "person-needed",
    ),
    "touches agent instructions": (replace(APPROVED, files=(b.file("AGENTS.md"),)), [], "", "person-needed"),
    "touches a migration": (replace(APPROVED, files=(b.file("db/migrations/1.sql"),)), [], "", "person-needed"),
    "touches a Dockerfile": (replace(APPROVED, files=(b.file("Dockerfile"),)), [], "", "person-needed"),
    "removes a test": (
        replace(APPROVED, files=(b.file("tests/test_a.py", status="deleted"),)), [], "", "person-needed",
    ),
    "shortens a test": (
        replace(APPROVED, files=(b.file("tests/test_a.py", additions=1, deletions=4),)), [], "", "person-needed",
    ),
    "moves a file onto a surface": (
        replace(APPROVED, files=(b.file("x", status="renamed", old_path="Makefile.txt"), b.file("tox.ini"))), [], "",
        "person-needed",
    ),
    "extends a test": (replace(APPROVED, files=(b.file("tests/test_a.py"),)), [], "merge", ""),
    "touches CI and a person approved": (
        replace(APPROVED, files=(b.file(".ci/run"),), reviews=(b.review(), b.review(by="founder", number=2))), [],
        "merge", "",
    ),
    "a review run found something for a person": (
        APPROVED, [b.run("review-pr", PULL, head=b.HEAD, facts={"verdict": "approve", "person": "tests weakened"})], "",
        "person-needed",
    ),
    "a person is asked to review": (
        b.pull(reviews=[b.review(), b.review(ReviewState.REQUEST_REVIEW, "founder", number=2)]), [], "",
        "review-requested",
    ),
    "files not known": (replace(APPROVED, files=()), [], "", "files-unknown"),
    "blocked": (b.pull(labels=frozenset({labels.BLOCKED})), [], "", "blocked"),
    "draft": (b.pull(draft=True), [], "", "draft"),
    "held by a comment": (replace(APPROVED, comments=(b.comment("/hold"),)), [], "", "held"),
    "an outsider cannot hold": (replace(APPROVED, comments=(b.comment("/hold", "outsider"),)), [], "merge", ""),
    "a run is under way": (b.pull(), [b.unfinished("review-pr", PULL)], "", "running"),
    "targets another branch": (replace(APPROVED, pull=replace(APPROVED.pull, base_ref="dev")), [], "", "foreign-base"),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str) -> None:
    facts, runs, kind, rule = TABLE[name]
    assert action(world(facts, [*runs, *judged(facts)])) == (kind, rule)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"base_state": CheckState.FAILURE}, "base-red"),
        ({"base_state": None}, "base-unknown"),
        ({"base_state": CheckState.PENDING}, "base-unknown"),
        ({"config": b.config(mode=Mode.SUGGEST)}, "mode"),
        ({"config": b.config(mode=Mode.OBSERVE)}, "mode"),
        ({"pauses": (Pause("all", "founder", b.ago(9)),)}, "paused"),
        ({"pauses": (Pause("project", "founder", b.ago(9)),)}, "paused"),
        ({"locked": frozenset({PULL})}, "unconfirmed"),
    ],
)
def test_what_holds_a_merge(changes: dict[str, object], rule: str) -> None:
    assert action(world(APPROVED, judged(APPROVED), **changes)) == ("", rule)


def test_a_pause_of_a_role_does_not_hold_a_merge() -> None:
    paused = (Pause("dev", "founder", b.ago(9)),)
    assert action(world(APPROVED, judged(APPROVED), pauses=paused)) == ("merge", "")


def test_a_base_fix_may_merge_onto_a_red_base() -> None:
    facts = replace(APPROVED, pull=replace(APPROVED.pull, head_ref="fix/base-bbbbbbbb"))
    assert action(world(facts, judged(facts), base_state=CheckState.FAILURE)) == ("merge", "")


def test_red_on_a_red_base_starts_no_fix() -> None:
    facts = b.pull(statuses=[RED])
    assert action(world(facts, judged(facts), base_state=CheckState.FAILURE)) == ("", "base-red")


def test_a_lost_fix_run_does_not_count() -> None:
    lost = b.failed(Cause.LOST, "fix-ci", PULL, minutes_ago=2, facts={"from": b.HEAD, "want": b.HEAD})
    facts = b.pull(statuses=[RED])
    assert action(world(facts, [*lineage(2), lost, *judged(facts)])) == ("start:fix-ci", "")


def test_a_fix_run_that_failed_counts() -> None:
    tried = b.failed(Cause.NO_CHANGES, "fix-ci", PULL, minutes_ago=20, facts={"from": b.HEAD, "want": "x"})
    facts = b.pull(statuses=[RED])
    assert action(world(facts, [*lineage(2), tried, *judged(facts)])) == ("block", "")


def test_a_person_taking_blocked_off_wipes_the_slate() -> None:
    off = replace(b.labelled(labels.BLOCKED, added=False), created_at=b.ago(1))
    facts = b.pull(statuses=[RED], timeline=[off])
    assert action(world(facts, [*lineage(3), *judged(facts)])) == ("start:fix-ci", "")


def test_a_bot_taking_blocked_off_wipes_nothing() -> None:
    off = replace(b.labelled(labels.BLOCKED, "dev-bot", added=False), created_at=b.ago(1))
    facts = b.pull(statuses=[RED], timeline=[off])
    assert action(world(facts, [*lineage(3), *judged(facts)])) == ("block", "")


def test_blocking_says_why_with_the_evidence() -> None:
    facts = b.pull(statuses=[RED])
    red = replace(ci_run(b.HEAD, "pull/5"), detail="AssertionError: 3 != 4, closes #12")
    effect = decide(world(facts, [*lineage(3), red]), b.NOW).effect_for(PULL)
    assert effect is not None
    comment, label = effect.operations
    assert isinstance(comment, PostComment)
    assert "after 3 fix runs" in comment.body
    assert "> AssertionError: 3 != 4" in comment.body
    assert "closes #12" not in comment.body
    assert label == AddLabels(str(b.PROJECT), "factory-bot", 5, (labels.BLOCKED,))


def test_a_fix_run_sees_the_log() -> None:
    facts = b.pull(statuses=[RED])
    red = replace(ci_run(b.HEAD, "pull/5"), detail="AssertionError: 3 != 4")
    effect = decide(world(facts, [red]), b.NOW).effect_for(PULL)
    assert effect is not None
    started = effect.operations[-1]
    assert isinstance(started, StartRun)
    assert started.spec.inputs["ci_log"] == "AssertionError: 3 != 4"
    assert (started.spec.head, started.spec.head_ref, started.spec.alias) == (b.HEAD, "fix/issue-1", "add-the-median")


def test_a_conflict_asks_the_forge_before_a_model() -> None:
    facts = b.pull(mergeable=False, merge_base=OTHER)
    effect = decide(world(facts, judged(facts)), b.NOW).effect_for(PULL)
    assert effect is not None
    assert [type(op) for op in effect.operations] == [UpdatePull, StartRun]


def test_the_merge_carries_head_and_trailers() -> None:
    made = b.run("dev", head=b.HEAD, facts={"from": "", "pull": "5"})
    effect = decide(world(APPROVED, [made, *judged(APPROVED)]), b.NOW).effect_for(PULL)
    assert effect is not None
    merge = effect.operations[0]
    assert isinstance(merge, MergePull)
    assert merge.head == b.HEAD
    assert merge.message.splitlines() == [
        f"Factory-Run: {made.run}", "Factory-Formula: dev@1", "Factory-Cost: $0.0300 (scripted)",
    ]  # fmt: skip
    assert effect.preconditions.head == b.HEAD
    assert effect.preconditions.modes == {Mode.MERGE}


# ---- not ours ------------------------------------------------------------------------------------------------------


def stranger(**changes: object) -> PullFacts:
    return b.pull(by="outsider", head_ref="patch-1", head_repo=RepoName("outsider", "tally"), **changes)


def asked(by: str) -> PullFacts:
    request = replace(b.labelled("x", by), kind="review_request", label=None, added=None)
    return stranger(requested_reviewers=frozenset({"review-bot"}), timeline=[request])


def silent(facts: PullFacts, **changes: object) -> bool:
    plan = decide(world(facts, judged(facts), **changes), b.NOW)
    return plan.effect_for(PULL) is None and plan.skips_for(PULL) == ()


def test_a_stranger_is_none_of_our_business() -> None:
    assert silent(stranger())


def test_an_outsider_cannot_ask_for_a_review() -> None:
    assert silent(asked("outsider"))


def test_someone_trusted_can() -> None:
    facts = asked("founder")
    assert action(world(facts, judged(facts))) == ("start:review-pr", "")


def test_all_are_reviewed_if_configured() -> None:
    facts = stranger()
    assert action(world(facts, judged(facts), config=b.config(review_all=True))) == ("start:review-pr", "")


def test_others_are_never_merged_or_mended() -> None:
    approved = replace(asked("founder"), reviews=(b.review(),))
    assert action(world(approved, judged(approved))) == ("", "not-ours")
    red = replace(asked("founder"), statuses=(RED,))
    assert action(world(red, judged(red))) == ("", "check-red")


def test_our_branch_name_under_a_strangers_name_is_not_ours() -> None:
    assert silent(b.pull(by="outsider", reviews=[b.review()]))


def test_a_person_on_a_branch_named_like_ours_is_not_ours() -> None:
    assert silent(b.pull(by="colleague", reviews=[b.review()]))


# ---- over ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("merged", [True, False])
def test_closed_is_terminal(merged: bool) -> None:
    assert silent(b.pull(state=ItemState.CLOSED, merged=merged, statuses=[RED]))


def test_a_session_on_a_closed_pull_request_is_stopped() -> None:
    running = b.unfinished("address-review", PULL)
    facts = b.pull(state=ItemState.CLOSED)
    plan = decide(world(facts, [running], live=frozenset({running.run})), b.NOW)
    effect = plan.effect_for(PULL)
    assert effect is not None
    assert effect.operations == (CancelRun(running.run, "the pull request was closed"),)
    again = decide(world(facts, [running], live=frozenset({running.run}), cancelling=frozenset({running.run})), b.NOW)
    assert again.effect_for(PULL) is None


def test_stop_on_the_issue_stops_the_session_on_its_pull_request() -> None:
    running = b.unfinished("address-review", PULL)
    of = world(b.pull(), [running, *judged(b.pull())], live=frozenset({running.run}))
    of = replace(of, issues=(b.ready(comments=[b.comment("/stop")]),))
    effect = decide(of, b.NOW).effect_for(PULL)
    assert effect is not None
    assert effect.operations == (CancelRun(running.run, "founder said /stop"),)
    assert action(replace(of, live=frozenset())) == ("", "running")


# ---- the issue behind it -------------------------------------------------------------------------------------------


def test_its_issue_was_closed() -> None:
    of = replace(world(APPROVED, judged(APPROVED)), issues=(b.ready(state=ItemState.CLOSED),))
    assert action(of) == ("", "issue-closed")


def test_its_issue_lost_the_label() -> None:
    of = replace(world(APPROVED, judged(APPROVED)), issues=(b.ready(labels=frozenset()),))
    assert action(of) == ("", "no-start-label")


def test_its_issue_is_held() -> None:
    of = replace(world(APPROVED, judged(APPROVED)), issues=(b.ready(comments=[b.comment("/stop")]),))
    assert action(of) == ("", "held")


def test_only_one_merge_per_tick() -> None:
    second = b.pull(6, head_ref="fix/issue-2", head_sha=OTHER, reviews=[b.review(commit=OTHER)])
    of = b.world([b.ready(), b.ready(2, "Other")], [APPROVED, second], [ci_run(), ci_run(OTHER), *judged(APPROVED)])
    plan = decide(of, b.NOW)
    assert [e.kind for e in plan.effects if e.kind == "merge"] == ["merge"]
    assert [s.rule for s in plan.skips if s.subject.id == "6"] == ["one-merge"]


def test_a_foreign_check_counts_from_people_but_not_from_our_other_accounts() -> None:
    config = b.config(ci=replace(b.config().ci, contexts=("factory/ci", "lint")))
    for by, expected in (("colleague", ("merge", "")), ("dev-bot", ("", "check-missing"))):
        facts = replace(APPROVED, statuses=(b.status(), b.status(by=by, context="lint")))
        base = BaseFacts("main", b.BASE, (b.status(), b.status(by="colleague", context="lint")))
        assert action(world(facts, judged(facts), config=config, base=base)) == expected


def test_a_status_from_another_id_under_our_login_does_not_count() -> None:
    pinned = {"factory-bot": b.user("factory-bot").id + 1000}
    assert action(world(APPROVED, judged(APPROVED), account_ids=pinned)) == ("", "check-missing")
