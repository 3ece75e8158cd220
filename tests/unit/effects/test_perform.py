"""Every operation done once, whatever is lost on the way; every precondition asked at the moment of the try."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from factory.config.model import Mode
from factory.effects.markers import Markers
from factory.effects.perform import MAX_TRIES, Ending, Outcome, Performer
from factory.effects.spool import Spool
from factory.effects.steps import Steps
from factory.errors import ForgeRefused, ForgeUnavailable, SandboxUnavailable
from factory.forge.protocol import Forge
from factory.forge.values import CheckState, ItemState, ReviewState
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import LeaseFact, Pause
from factory.plan.operations import (
    AddLabels,
    CancelRun,
    CloseIssue,
    ClosePull,
    CreateIssue,
    DeleteBranch,
    FinishRun,
    GateRules,
    MergePull,
    OpenPull,
    Operation,
    OpsWrite,
    PostComment,
    PostReview,
    PostStatus,
    PushBranch,
    RemoveLabel,
    RequestAction,
    SetStatusComment,
    StartRun,
    UpdatePull,
)
from factory.runs.model import Cause, RunState, Subject
from factory.runs.spec import SessionSpec
from factory.testing import builders as b
from factory.testing import stage
from factory.testing.played import play

REPO = str(b.PROJECT)
ISSUE = Subject(REPO, "issue", "1")
NONE = Preconditions()


class Killed(BaseException):
    """kill -9 between two instructions."""


class Flaky:
    """A forge whose answers can be lost, before or after the call took effect."""

    def __init__(self, forge: Forge, lose: Callable[[str], str | None]) -> None:
        self._forge, self._lose = forge, lose

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._forge, name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            when = self._lose(name)
            if when == "before":
                raise ForgeUnavailable(f"{name}: no connection")
            answer = found(*args, **named)
            if when == "after":
                raise ForgeUnavailable(f"{name}: the answer was lost")
            if when == "kill":
                raise Killed(name)
            return answer

        return call


@dataclass
class Bench:
    """One issue, one branch, one open pull request of ours, and a performer that can be made anew."""

    outside: stage.Outside
    lose: Callable[[str], str | None] = lambda name: None
    hook: Callable[[str], None] = lambda point: None
    changes: dict[str, Any] = field(default_factory=dict)

    def performer(self) -> Performer:
        self.spool = Spool(self.outside.folder)
        ports = stage.stage_ports(self.outside, lambda forge: cast(Forge, Flaky(forge, self.lose)))
        made = Performer(replace(ports, **self.changes), self.spool, Markers(b"k" * 32), self.hook)
        assert made.load() == ()
        return made

    @property
    def founder(self) -> Any:
        return self.outside.forge.as_user("founder")

    @property
    def repo(self) -> Any:
        return self.outside.forge.world.repos[b.PROJECT]

    @property
    def head(self) -> str:
        head = self.outside.head("fix/issue-1")
        assert head is not None
        return head

    def effect(
        self, *operations: Operation, asked: Preconditions = NONE, run: str | None = None, key: str = "k"
    ) -> Effect:
        return Effect(effect_id(ISSUE, "test", key), ISSUE, "test", "why", operations, asked, run)

    def do(self, *operations: Operation, asked: Preconditions = NONE, run: str | None = None) -> Outcome:
        (outcome,) = self.performer().perform([self.effect(*operations, asked=asked, run=run)])
        return outcome

    def later(self, seconds: float = 600) -> Outcome:
        self.outside.forge.advance(seconds)
        (outcome,) = self.performer().resume()
        return outcome


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    outside = stage.outside(tmp_path / "spool")
    founder = outside.forge.as_user("founder")
    founder.create_issue(b.PROJECT, title="Add the median", body="Please.")
    founder.add_labels(b.PROJECT, 1, ["backlog"])
    dev = outside.forge.as_user("dev-bot")
    dev.commit(b.PROJECT, "fix/issue-1", {"a.py": "1"})
    dev.create_pull(b.PROJECT, head="fix/issue-1", base="main", title="fix: it (#1)", body="Fixes #1")
    return Bench(outside)


def rules(**changes: Any) -> GateRules:
    given: dict[str, Any] = {
        "people": frozenset({"founder"}), "reviewers": frozenset({"review-bot"}), "ours": b.ACCOUNTS,
        "contexts": (("factory/ci", "factory-bot", None),), "base_ref": "main",
    }  # fmt: skip
    return GateRules(**{**given, **changes})


def green(bench: Bench) -> None:
    bench.outside.forge.as_user("factory-bot").post_status(
        b.PROJECT, bench.head, context="factory/ci", state=CheckState.SUCCESS, description="ok"
    )


def approve(bench: Bench, by: str = "review-bot") -> None:
    bench.outside.forge.as_user(by).review(b.PROJECT, 2, state=ReviewState.APPROVED, body="good", commit=bench.head)


def merge(bench: Bench, **changes: Any) -> MergePull:
    made = MergePull(REPO, "factory-bot", 2, bench.head, "fix: it", "Factory-Run: r1", rules())
    return replace(made, **changes)


def a_run(bench: Bench) -> tuple[SessionSpec, FinishRun]:
    """A run under way, and how its effect will record it as a success."""
    spec = b.spec(run="r20261121T115500000-0000abcd")
    started = StartRun(spec, 1.0, ISSUE.key, 3, "here", b.ago(5))
    stage.StageRecords(bench.outside).begin(started.record(), ISSUE.key, None)
    ended = replace(started.record(), state=RunState.SUCCEEDED, finished_at=b.NOW, head=b.HEAD)
    return spec, FinishRun(ended, ISSUE.key)


# ---- each operation, once ------------------------------------------------------------------------------------------

OPERATIONS: dict[str, tuple[Callable[[Bench], Operation], Callable[[Bench], object]]] = {
    "push a branch": (
        lambda t: PushBranch(REPO, "dev-bot", "r1", "fix/issue-9", t.head, None),
        lambda t: t.outside.head("fix/issue-9") == t.head,
    ),
    "open a pull request": (
        lambda t: OpenPull(REPO, "dev-bot", "other", "main", "Other", "words"),
        lambda t: [i.title for i in t.repo.items.values() if i.head == "other"] == ["Other"],
    ),
    "post a review": (
        lambda t: PostReview(REPO, "review-bot", 2, t.head, ReviewState.REQUEST_CHANGES, "no"),
        lambda t: [r.state for r in t.repo.items[2].reviews] == [ReviewState.REQUEST_CHANGES],
    ),
    "post a status": (
        lambda t: PostStatus(REPO, "factory-bot", t.head, "factory/ci", CheckState.FAILURE, "red", "http://x/1"),
        lambda t: [s.state for s in t.repo.statuses[t.head]] == [CheckState.FAILURE],
    ),
    "comment": (
        lambda t: PostComment(REPO, "dev-bot", 1, "Hello"),
        lambda t: [c.body.split("\n")[0] for c in t.repo.items[1].comments] == ["Hello"],
    ),
    "set the status comment": (
        lambda t: SetStatusComment(REPO, "factory-bot", 1, "**Status:** x"),
        lambda t: [c.body.split("\n")[0] for c in t.repo.items[1].comments] == ["**Status:** x"],
    ),
    "add labels": (
        lambda t: AddLabels(REPO, "dev-bot", 1, ("in-progress", "blocked")),
        lambda t: t.repo.items[1].labels == {"backlog", "in-progress", "blocked"},
    ),
    "remove a label": (lambda t: RemoveLabel(REPO, "dev-bot", 1, "backlog"), lambda t: not t.repo.items[1].labels),
    "remove a label that is not there": (
        lambda t: RemoveLabel(REPO, "dev-bot", 1, "nonsense"), lambda t: t.repo.items[1].labels == {"backlog"},
    ),
    "create an issue": (
        lambda t: CreateIssue(REPO, "review-bot", "Follow up", "words", ("tech-debt",)),
        lambda t: [(i.title, *i.labels) for i in t.repo.items.values() if i.number > 2] == [("Follow up", "tech-debt")],
    ),
    "close an issue": (
        lambda t: CloseIssue(REPO, "factory-bot", 1), lambda t: t.repo.items[1].state is ItemState.CLOSED,
    ),
    "merge": (
        merge,
        lambda t: t.repo.items[2].merged
        and len([c for c in t.outside.forge.world.git.commits.values() if len(c.parents) == 2]) == 1,
    ),
    "close a pull request": (
        lambda t: ClosePull(REPO, "dev-bot", 2), lambda t: t.repo.items[2].state is ItemState.CLOSED,
    ),
    "request a vault action": (
        lambda t: RequestAction(REPO, "vault-bot", "a-1", "vault/a-1", "main", "vault/actions/a-1.toml", "v = 1\n",
                                "a title", "facts", "Request a-1"),
        lambda t: [i.title for i in t.repo.items.values() if i.head == "vault/a-1"] == ["a title"]
        and t.outside.forge.world.git.tree(t.outside.head("vault/a-1"))["vault/actions/a-1.toml"] == "v = 1\n",
    ),
    "delete a branch": (
        lambda t: DeleteBranch(REPO, "factory-bot", "other", t.outside.head("other") or ""),
        lambda t: t.outside.head("other") is None,
    ),
    "write to the ops repo": (
        lambda t: OpsWrite(str(b.OPS), "factory-bot", {"README.md": "x"}, "why"),
        lambda t: t.outside.ops_files == {"README.md": "x"},
    ),
    "cancel a run": (lambda t: CancelRun("r1", "why"), lambda t: set(t.outside.cancelled) == {"r1"}),
}  # fmt: skip


def ready(bench: Bench) -> Bench:
    green(bench)
    bench.repo.statuses[bench.head].clear()
    approve(bench)
    bench.repo.items[2].reviews.clear()
    bench.outside.forge.as_user("dev-bot").commit(b.PROJECT, "other", {"b.py": "2"})
    return bench


def operation(bench: Bench, name: str) -> tuple[Operation, Callable[[Bench], object]]:
    make, holds = OPERATIONS[name]
    ready(bench)
    if name == "merge":
        green(bench)
        approve(bench)
    return make(bench), holds


@pytest.mark.parametrize("name", OPERATIONS)
def test_done(bench: Bench, name: str) -> None:
    op, holds = operation(bench, name)
    assert bench.do(op).ending is Ending.DONE
    assert holds(bench)
    assert bench.spool.entries() == ()


@pytest.mark.parametrize("name", OPERATIONS)
def test_decided_twice_is_done_once(bench: Bench, name: str) -> None:
    op, holds = operation(bench, name)
    assert bench.do(op).ending is Ending.DONE
    bench.do(op)
    assert holds(bench)


def losing(number: int, when: str) -> Callable[[str], str | None]:
    """Loses the answer of call number ``number``."""
    count = 0

    def lose(name: str) -> str | None:
        nonlocal count
        count += 1
        return when if count == number else None

    return lose


@pytest.mark.parametrize("when", ["before", "after", "kill"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_any_answer_may_be_lost(tmp_path: Path, name: str, when: str) -> None:
    for number in range(1, 12):
        outside = stage.outside(tmp_path / str(number))
        bench = bench_of(outside)
        op, holds = operation(bench, name)
        calls: list[str] = []
        lose = losing(number, when)

        def counted(call: str, calls: list[str] = calls, lose: Callable[[str], str | None] = lose) -> str | None:
            calls.append(call)
            return lose(call)

        bench.lose = counted
        try:
            outcome = bench.do(op)
        except Killed:
            outcome = None
        if len(calls) < number:
            return  # every call of this operation was lost once
        if outcome is None or outcome.ending is not Ending.DONE:
            outside.forge.advance(600)
            performer = bench.performer()
            resumed = performer.resume()
            # Killed before anything was sent: it is decided afresh.
            outcome = resumed[0] if resumed else performer.perform([bench.effect(op)])[0]
        assert outcome.ending is Ending.DONE, (number, outcome)
        assert holds(bench), number
        assert bench.spool.entries() == ()


def bench_of(outside: stage.Outside) -> Bench:
    founder = outside.forge.as_user("founder")
    founder.create_issue(b.PROJECT, title="Add the median", body="Please.")
    founder.add_labels(b.PROJECT, 1, ["backlog"])
    dev = outside.forge.as_user("dev-bot")
    dev.commit(b.PROJECT, "fix/issue-1", {"a.py": "1"})
    dev.create_pull(b.PROJECT, head="fix/issue-1", base="main", title="fix: it (#1)", body="Fixes #1")
    return Bench(outside)


@pytest.mark.parametrize("name", ["comment", "create an issue", "post a review"])
def test_without_reading_first_it_would_double(bench: Bench, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack that reading first answers: with that one check off, a lost answer makes a second post."""
    monkeypatch.setattr(Steps, "already", lambda *args, **named: None)
    op, holds = operation(bench, name)
    lost = {"comment": "comment", "create an issue": "create_issue", "post a review": "review"}[name]
    calls = 0

    def lose(call: str) -> str | None:
        nonlocal calls
        calls += call == lost
        return "after" if call == lost and calls == 1 else None

    bench.lose = lose
    assert bench.do(op).ending is Ending.DEFERRED
    assert bench.later().ending is Ending.DONE
    assert not holds(bench)


# ---- facts ---------------------------------------------------------------------------------------------------------


def test_facts_of_earlier_steps_reach_the_record(bench: Bench) -> None:
    spec, finish = a_run(bench)
    bench.outside.forge.as_user("dev-bot").commit(b.PROJECT, "other", {"b.py": "2"})
    outcome = bench.do(OpenPull(REPO, "dev-bot", "other", "main", "Other", "words"), finish, run=spec.run)
    assert outcome.facts["pull"] == "3"
    record = bench.outside.journal[spec.run]
    assert (record.state, record.fact("pull")) == (RunState.SUCCEEDED, "3")
    assert bench.outside.leases == {}


def test_what_was_asked_of_the_vault_reaches_the_record(bench: Bench) -> None:
    spec, finish = a_run(bench)
    request = RequestAction(REPO, "vault-bot", "a-1", "vault/a-1", "main", "vault/actions/a-1.toml", "", "t", "b", "m")
    assert bench.do(request, finish, run=spec.run).ending is Ending.DONE
    number = next(n for n, item in bench.repo.items.items() if item.head == "vault/a-1")
    assert bench.outside.journal[spec.run].fact("vault_pull") == str(number)


def test_without_a_vault_here_an_action_is_given_up(bench: Bench) -> None:
    bench.changes["requests"] = None
    outcome = bench.do(RequestAction(REPO, "vault-bot", "a-1", "vault/a-1", "main", "p", "", "t", "b", "m"))
    assert (outcome.ending, outcome.reason) == (Ending.ABANDONED, "a-1 cannot be proposed: this host has no vault")


def test_a_posted_marker_is_the_runs_own(bench: Bench) -> None:
    bench.do(PostComment(REPO, "dev-bot", 1, "Hello"), run="r7")
    assert "<!-- factory:comment r7 " in bench.repo.items[1].comments[0].body


def test_two_equal_comments_of_one_effect_are_two(bench: Bench) -> None:
    op = PostComment(REPO, "dev-bot", 1, "Hello")
    bench.do(op, op)
    assert len(bench.repo.items[1].comments) == 2


def test_a_comment_by_somebody_else_with_our_marker_does_not_count(bench: Bench) -> None:
    op = PostComment(REPO, "dev-bot", 1, "Hello")
    bench.do(op)
    stolen = bench.repo.items[1].comments.pop().body
    bench.outside.forge.as_user("outsider").comment(b.PROJECT, 1, stolen)
    bench.do(op)
    assert [c.author.login for c in bench.repo.items[1].comments] == ["outsider", "dev-bot"]


# ---- the status comment --------------------------------------------------------------------------------------------


def say(text: str) -> SetStatusComment:
    return SetStatusComment(REPO, "factory-bot", 1, f"**Status:** {text}")


def test_there_is_one_status_comment(bench: Bench) -> None:
    for text in ("one", "two", "one"):
        bench.do(say(text))
    (comment,) = bench.repo.items[1].comments
    assert comment.body.startswith("**Status:** one\n\n<!--")


def test_one_that_a_person_deleted_stays_deleted(bench: Bench) -> None:
    bench.do(say("one"))
    bench.repo.items[1].comments.clear()
    assert bench.do(say("two")).ending is Ending.DONE
    assert bench.repo.items[1].comments == []
    assert bench.spool.muted() == {ISSUE}


# ---- merging -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.repo.items[2].reviews.clear(),
        lambda t: t.repo.statuses[t.head].clear(),
        lambda t: t.founder.review(b.PROJECT, 2, state=ReviewState.REQUEST_CHANGES, body="no", commit=t.head),
        lambda t: t.outside.forge.as_user("colleague").commit(b.PROJECT, "fix/issue-1", {"evil.py": "1"}),
        lambda t: t.founder.edit_pull(b.PROJECT, 2, state="closed"),
        lambda t: t.outside.forge.as_user("factory-bot").post_status(
            b.PROJECT, t.head, context="factory/ci", state=CheckState.FAILURE, description="red"
        ),
    ],
)  # fmt: skip
def test_a_merge_judges_the_gate_again(bench: Bench, change: Callable[[Bench], object]) -> None:
    green(bench)
    approve(bench)
    op = merge(bench)
    bench.outside.forge.advance(5)
    change(bench)
    assert bench.do(op).ending is Ending.ABANDONED
    assert not bench.repo.items[2].merged
    assert bench.spool.entries() == ()


def test_an_approver_who_lost_the_right_to_write_does_not_count(bench: Bench) -> None:
    green(bench)
    approve(bench, "founder")
    op = merge(bench, rules=rules(person_needed="it says so"))
    bench.changes = {"may_write": lambda repo, login: False}
    outcome = bench.do(op)
    assert outcome.ending is Ending.ABANDONED
    assert "it says so" in outcome.reason
    bench.changes = {"may_write": lambda repo, login: login == "founder"}
    assert bench.do(op).ending is Ending.DONE


def test_what_follows_a_merge_is_finished_after_a_kill(bench: Bench) -> None:
    green(bench)
    approve(bench)
    asked = Preconditions(repo=REPO, number=2, is_pull=True, head=bench.head, open=True)
    head = bench.head
    close = CloseIssue(REPO, "factory-bot", 1)
    operations = (merge(bench), close, DeleteBranch(REPO, "factory-bot", "fix/issue-1", head))

    def hook(point: str) -> None:
        if point == "done:0":
            raise Killed

    bench.hook = hook
    with pytest.raises(Killed):
        bench.do(*operations, asked=asked)
    bench.hook = lambda point: None
    assert bench.later().ending is Ending.DONE
    assert bench.repo.items[1].state is ItemState.CLOSED
    assert bench.outside.head("fix/issue-1") is None


def test_a_branch_that_moved_is_not_deleted(bench: Bench) -> None:
    assert bench.do(DeleteBranch(REPO, "factory-bot", "fix/issue-1", b.BASE)).ending is Ending.DONE
    assert bench.outside.head("fix/issue-1") is not None


def test_an_issue_with_open_dependencies_is_left_open(bench: Bench) -> None:
    bench.founder.create_issue(b.PROJECT, title="First", body="")
    bench.founder.add_dependency(b.PROJECT, 1, (b.PROJECT, 3))
    outcome = bench.do(CloseIssue(REPO, "factory-bot", 1))
    assert (outcome.ending, outcome.facts) == (Ending.DONE, {"left-open": "it has open dependencies"})


# ---- updating ------------------------------------------------------------------------------------------------------


def conflict(bench: Bench) -> tuple[UpdatePull, StartRun]:
    bench.founder.commit(b.PROJECT, "main", {"a.py": "0"})
    spec = b.spec("resolve-conflict", Subject(REPO, "pull", "2"))
    start = StartRun(spec, 1.0, spec.subject.key, 1, "here", b.NOW)
    return UpdatePull(REPO, "dev-bot", 2, bench.head), start


def test_a_conflict_goes_on_to_the_run(bench: Bench) -> None:
    outcome = bench.do(*conflict(bench))
    assert outcome.facts["update"] == "conflict"
    assert len(bench.outside.sessions) == 1


def test_without_a_conflict_no_run_starts(bench: Bench) -> None:
    update, start = conflict(bench)
    bench.founder.commit(b.PROJECT, "main", {"a.py": None, "c.py": "1"})
    outcome = bench.do(update, start)
    assert (outcome.ending, outcome.facts["update"]) == (Ending.DONE, "not needed")
    assert bench.outside.sessions == {}


# ---- starting ------------------------------------------------------------------------------------------------------


def starting() -> StartRun:
    return StartRun(b.spec(), 1.0, ISSUE.key, 1, "here", b.NOW)


@pytest.mark.parametrize("point", ["decided", "sent", "begun", "done:0", "recorded:0", "removed"])
def test_a_start_is_killed_and_there_is_one_session(bench: Bench, point: str) -> None:
    def hook(at: str) -> None:
        if at == point:
            raise Killed

    bench.hook = hook
    with pytest.raises(Killed):
        bench.do(starting())
    bench.hook = lambda at: None
    bench.performer().resume()
    sent = point not in ("decided",)
    assert len(bench.outside.sessions) == len(bench.outside.journal) == len(bench.outside.leases) == sent
    assert bench.spool.entries() == ()


def test_a_lease_of_another_run_is_respected(bench: Bench) -> None:
    other = LeaseFact(ISSUE.key, "r-other", "there", 1, b.NOW, "c0ffee")
    bench.outside.leases[ISSUE.key] = other
    outcome = bench.do(starting())
    assert outcome.ending is Ending.ABANDONED
    assert "r-other" in outcome.reason
    assert bench.outside.sessions == {}
    assert bench.outside.leases == {ISSUE.key: other}


def test_a_left_lease_is_taken_over(bench: Bench) -> None:
    bench.outside.leases[ISSUE.key] = LeaseFact(ISSUE.key, "r-old", "there", 1, b.NOW, "c0ffee")
    assert bench.do(replace(starting(), replaces="c0ffee", epoch=2)).ending is Ending.DONE
    assert bench.outside.leases[ISSUE.key].epoch == 2


def test_a_session_that_cannot_start_is_a_failed_run(bench: Bench) -> None:
    class Broken:
        def start(self, spec: SessionSpec) -> None:
            raise SandboxUnavailable("bubblewrap is missing")

        def cancel(self, run: str) -> None:
            raise AssertionError

    bench.changes = {"launcher": Broken()}
    outcome = bench.do(starting(), run=b.spec().run)
    assert outcome.ending is Ending.ABANDONED
    record = bench.outside.journal[b.spec().run]
    assert (record.state, record.cause) == (RunState.FAILED, Cause.SANDBOX)
    assert "bubblewrap is missing" in record.detail
    assert bench.outside.leases == {}


# ---- preconditions -------------------------------------------------------------------------------------------------

STALE: dict[str, tuple[Preconditions, Callable[[Bench], object]]] = {
    "closed": (
        Preconditions(repo=REPO, number=1, open=True), lambda t: t.founder.edit_issue(b.PROJECT, 1, state="closed"),
    ),
    "label gone": (
        Preconditions(repo=REPO, number=1, labels=frozenset({"backlog"})),
        lambda t: t.founder.remove_label(b.PROJECT, 1, "backlog"),
    ),
    "label set": (
        Preconditions(repo=REPO, number=1, without=frozenset({"priority"})),
        lambda t: t.founder.add_labels(b.PROJECT, 1, ["priority"]),
    ),
    "head moved": (
        Preconditions(repo=REPO, number=2, is_pull=True, head="HEAD"),
        lambda t: t.founder.commit(b.PROJECT, "fix/issue-1", {"x": "y"}),
    ),
    "mode changed": (
        Preconditions(modes=frozenset({Mode.MERGE})),
        lambda t: setattr(t.outside, "config", b.config(mode=Mode.SUGGEST)),
    ),
    "lease lost": (
        Preconditions(lease=ISSUE.key, run="r1", epoch=1),
        lambda t: t.outside.leases.update({ISSUE.key: LeaseFact(ISSUE.key, "r2", "there", 2, b.NOW, "x")}),
    ),
    "lease gone": (Preconditions(lease=ISSUE.key, run="r1", epoch=1), lambda t: t.outside.leases.clear()),
    "same run in a newer epoch": (
        Preconditions(lease=ISSUE.key, run="r1", epoch=1),
        lambda t: t.outside.leases.update({ISSUE.key: LeaseFact(ISSUE.key, "r1", "here", 2, b.NOW, "x")}),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STALE)
def test_a_precondition_is_asked_before_the_try(bench: Bench, name: str) -> None:
    asked, change = STALE[name]
    if asked.head:
        asked = replace(asked, head=bench.head)
    if asked.lease:
        bench.outside.leases[ISSUE.key] = LeaseFact(ISSUE.key, "r1", "here", 1, b.NOW, "x")
    say_it = PostComment(REPO, "factory-bot", 1, "Hello")
    assert bench.do(say_it, asked=asked).ending is Ending.DONE
    bench.repo.items[1].comments.clear()
    change(bench)
    assert bench.do(say_it, asked=asked).ending is Ending.ABANDONED
    assert bench.repo.items[1].comments == []
    assert bench.spool.entries() == ()


def test_a_pause_defers_and_its_end_lets_it_go_on(bench: Bench) -> None:
    bench.outside.pauses = (Pause("all", "founder", b.NOW),)
    performer = bench.performer()
    asked = Preconditions(unpaused=frozenset({"all", "project"}))
    (outcome,) = performer.perform([bench.effect(PostComment(REPO, "dev-bot", 1, "Hello"), asked=asked)])
    assert (outcome.ending, outcome.reason) == (Ending.DEFERRED, "all is paused")
    assert performer.locked() == {ISSUE}
    bench.outside.pauses = ()
    bench.outside.forge.advance(600)
    assert [o.ending for o in performer.resume()] == [Ending.DONE]
    assert len(bench.repo.items[1].comments) == 1


def test_what_was_done_is_recorded_in_spite_of_a_pause(bench: Bench) -> None:
    spec, finish = a_run(bench)

    def hook(point: str) -> None:
        if point == "recorded:0":
            bench.outside.pauses = (Pause("all", "founder", b.NOW),)

    bench.hook = hook
    asked = Preconditions(unpaused=frozenset({"all"}))
    assert bench.do(PostComment(REPO, "dev-bot", 1, "Hi"), finish, asked=asked, run=spec.run).ending is Ending.DONE
    assert bench.outside.journal[spec.run].state is RunState.SUCCEEDED


# ---- giving up -----------------------------------------------------------------------------------------------------


def test_an_abandoned_effect_still_ends_its_run_and_not_as_a_success(bench: Bench) -> None:
    spec, finish = a_run(bench)
    push = PushBranch(REPO, "dev-bot", spec.run, "fix/issue-1", b.HEAD, b.BASE)
    outcome = bench.do(push, finish, run=spec.run)
    assert outcome.ending is Ending.ABANDONED
    record = bench.outside.journal[spec.run]
    assert (record.state, record.cause, record.head) == (RunState.FAILED, Cause.GATE, None)
    assert "moved" in record.detail
    assert bench.outside.leases == {}
    assert bench.spool.entries() == ()


def test_a_zombie_records_nothing(bench: Bench) -> None:
    spec, finish = a_run(bench)
    bench.outside.leases[ISSUE.key] = LeaseFact(ISSUE.key, "r-new", "there", 4, b.NOW, "x")
    before = dict(bench.outside.journal)
    asked = Preconditions(lease=ISSUE.key, run=spec.run, epoch=3)
    push = PushBranch(REPO, "dev-bot", spec.run, "fix/issue-7", bench.head, None)
    assert bench.do(push, finish, asked=asked, run=spec.run).ending is Ending.ABANDONED
    assert bench.outside.head("fix/issue-7") is None
    assert bench.outside.journal == before
    assert bench.outside.leases[ISSUE.key].run == "r-new"


@pytest.mark.parametrize("point", ["abandoning", "removed"])
def test_killed_while_giving_up(bench: Bench, point: str) -> None:
    spec, finish = a_run(bench)

    def hook(at: str) -> None:
        if at == point:
            raise Killed

    bench.hook = hook
    push = PushBranch(REPO, "dev-bot", spec.run, "fix/issue-1", b.HEAD, b.BASE)
    with pytest.raises(Killed):
        bench.do(push, finish, run=spec.run)
    bench.hook = lambda at: None
    for outcome in bench.performer().resume():
        assert outcome.ending is Ending.ABANDONED
    assert bench.outside.journal[spec.run].state is RunState.FAILED
    assert bench.spool.entries() == ()


def test_a_clear_no_of_the_forge_abandons(bench: Bench) -> None:
    outcome = bench.do(PostComment(REPO, "dev-bot", 99, "Hello"))
    assert outcome.ending is Ending.ABANDONED


def test_no_forge_defers_for_hours_with_growing_waits(bench: Bench) -> None:
    bench.lose = lambda name: "before"
    performer = bench.performer()
    performer.perform([bench.effect(PostComment(REPO, "dev-bot", 1, "Hello"))])
    waits = []
    for _ in range(40):
        due = performer.next_due()
        assert due is not None
        waits.append(due - bench.outside.now)
        bench.outside.forge.world.now = due
        (outcome,) = performer.resume()
        assert outcome.ending is Ending.DEFERRED
    assert waits[0] == timedelta(seconds=2)
    assert max(waits) == timedelta(minutes=5)
    bench.lose = lambda name: None
    bench.outside.forge.advance(600)
    assert [o.ending for o in performer.resume()] == [Ending.DONE]


def test_nothing_is_tried_before_it_is_due(bench: Bench) -> None:
    bench.lose = lambda name: "before"
    performer = bench.performer()
    performer.perform([bench.effect(PostComment(REPO, "dev-bot", 1, "Hello"))])
    assert performer.resume() == ()


@pytest.mark.parametrize("error", [ForgeRefused("posting: 500", status=500), ValueError("a bug"), KeyError("another")])
def test_what_keeps_failing_is_given_up_with_its_reason(bench: Bench, error: Exception) -> None:
    class Broken:
        def write(self, files: object, message: str) -> str | None:
            raise error

    bench.changes = {"ops": Broken()}
    performer = bench.performer()
    effect = bench.effect(OpsWrite(str(b.OPS), "factory-bot", {"a": "b"}, "why"))
    (outcome,) = performer.perform([effect])
    for _ in range(MAX_TRIES):
        if outcome.ending is Ending.ABANDONED:
            break
        bench.outside.forge.advance(600)
        (outcome,) = performer.resume()
    assert outcome.ending is Ending.ABANDONED
    assert f"{MAX_TRIES} tries" in outcome.reason
    assert performer.locked() == frozenset()


def test_the_same_effect_again_and_again_is_braked(bench: Bench) -> None:
    bad = bench.effect(PostComment(REPO, "dev-bot", 99, "Hello"))
    performer = bench.performer()
    tried = []
    for _ in range(300):
        (outcome,) = performer.perform([bad])
        tried.append(outcome.ending)
        bench.outside.forge.advance(1)
    assert tried[:3] == [Ending.ABANDONED, Ending.DEFERRED, Ending.ABANDONED]
    assert 3 < tried.count(Ending.ABANDONED) < 12
    assert performer.locked() == frozenset()
    other = bench.effect(PostComment(REPO, "dev-bot", 1, "Hello"), key="other")
    assert [o.ending for o in performer.perform([other])] == [Ending.DONE]


def test_one_effect_that_fails_does_not_stop_the_next(bench: Bench) -> None:
    bad = bench.effect(PostComment(REPO, "dev-bot", 99, "Hello"), key="bad")
    good = bench.effect(PostComment(REPO, "dev-bot", 1, "Hello"), key="good")
    outcomes = bench.performer().perform([bad, good])
    assert [o.ending for o in outcomes] == [Ending.ABANDONED, Ending.DONE]


# ---- a whole life with a bad network -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_a_life_with_a_flaky_forge(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    outside = stage.outside(tmp_path / "spool")
    founder = outside.forge.as_user("founder")
    founder.create_issue(b.PROJECT, title="Add the median", body="Please.")
    founder.add_labels(b.PROJECT, 1, ["backlog"])

    def lose(name: str) -> str | None:
        return chance.choice(("before", "after")) if chance.random() < 0.15 else None

    theatre = stage.Stage(outside, play, wrap=lambda forge: cast(Forge, Flaky(forge, lose)))
    repo = outside.forge.world.repos[b.PROJECT]
    theatre.until(lambda o: repo.items[1].state is ItemState.CLOSED and not o.leases, ticks=400)
    pulls = [i for i in repo.items.values() if i.head is not None]
    assert [p.merged for p in pulls] == [True]
    assert len([c for c in repo.items[1].comments if c.body.startswith("**Status:**")]) <= 1
    assert len(pulls[0].reviews) == len({(r.author.login, r.commit) for r in pulls[0].reviews})
