"""What a finished session causes: ordered steps within its grants, with harmless words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from factory.forge.values import CheckState, ReviewState
from factory.formula.model import Formula
from factory.plan.effect import Effect
from factory.plan.operations import (
    AddLabels,
    CreateIssue,
    FinishRun,
    OpenPull,
    PostComment,
    PostReview,
    PostStatus,
    PushBranch,
    RemoveLabel,
    RequestAction,
)
from factory.plan.settle import Wanted, finding_digest, settle
from factory.plan.vault import Asked
from factory.runs.model import Cause, RunRecord, RunState, Subject
from factory.runs.spec import SessionResult, SessionSpec, StepResult
from factory.testing import builders as b

PULL = Subject(str(b.PROJECT), "pull", "5")
COMMIT = Subject(str(b.PROJECT), "commit", b.HEAD)
NEW = b.sha("new")
REPO = str(b.PROJECT)


def done(spec: SessionSpec, **changes: object) -> Effect:
    return settled(spec, b.result(spec, **changes))


def settled(spec: SessionSpec, result: SessionResult, formula: Formula | None = None) -> Effect:
    facts = {"want": "w", "from": spec.head or ""}
    record = b.unfinished(spec.formula, spec.subject, run=spec.run, epoch=7, facts=facts)
    return settle(
        spec, result, formula or b.FORMULAS[spec.formula], record, lease=spec.subject.key, now=b.NOW,
        factory_account="factory-bot", log_url="http://web.test/log",
    )  # fmt: skip


def kinds(effect: Effect) -> list[str]:
    return [type(op).__name__ for op in effect.operations]


def ended(effect: Effect) -> RunRecord:
    last = effect.operations[-1]
    assert isinstance(last, FinishRun)
    return last.record


def asked(kind: str, **line: object) -> dict[str, object]:
    return {"kind": kind, **line}


# ---- dev -----------------------------------------------------------------------------------------------------------


def test_dev_pushes_opens_and_records() -> None:
    effect = done(b.spec(), head=NEW, outbox=(asked("pull", title="Add it", body="What and why."),))
    assert kinds(effect) == ["PushBranch", "OpenPull", "AddLabels", "FinishRun"]
    push, pull = effect.operations[:2]
    assert push == PushBranch(REPO, "dev-bot", b.spec().run, "fix/issue-1", NEW, None)
    assert isinstance(pull, OpenPull)
    assert pull.title == "Add it (#1)"
    assert pull.body.startswith("What and why.\n\nFixes #1\n")
    record = ended(effect)
    assert (record.state, record.cause, record.head, record.epoch) == (RunState.SUCCEEDED, None, NEW, 7)
    assert record.fact("want") == "w"
    assert (effect.preconditions.run, effect.preconditions.epoch) == (b.spec().run, 7)
    assert effect.preconditions.number == 1


def test_a_pull_request_that_was_not_described_is_opened_all_the_same() -> None:
    effect = done(b.spec(), head=NEW)
    pull = effect.operations[1]
    assert isinstance(pull, OpenPull)
    assert pull.title == "Add the median (#1)"


def test_without_commits_and_refusal_it_failed() -> None:
    record = ended(done(b.spec()))
    assert (record.state, record.cause, record.head) == (RunState.FAILED, Cause.NO_CHANGES, None)


@pytest.mark.parametrize(
    ("reason", "label"),
    [
        ("too-large", "underspecified"), ("unclear", "underspecified"), ("unmet-dependency", "blocked"),
        ("already-done", "already-done"), ("whatever", "blocked"),
    ],
)  # fmt: skip
def test_a_refusal_is_told_and_labelled(reason: str, label: str) -> None:
    effect = done(b.spec(), outbox=(asked("refuse", reason=reason, body="Because @founder."),))
    assert kinds(effect) == ["PostComment", "AddLabels", "FinishRun"]
    comment, added = effect.operations[:2]
    assert isinstance(comment, PostComment)
    assert "@founder" not in comment.body
    assert added == AddLabels(REPO, "dev-bot", 1, (label,))
    record = ended(effect)
    assert (record.state, record.cause, record.fact("refusal")) == (RunState.FAILED, Cause.REFUSED, reason)


def test_a_refusal_that_the_session_already_called_refused() -> None:
    spec = b.spec()
    result = b.result(spec, state=RunState.FAILED, cause=Cause.REFUSED, outbox=(asked("refuse", reason="unclear"),))
    assert kinds(settled(spec, result)) == ["PostComment", "AddLabels", "FinishRun"]


@pytest.mark.parametrize("cause", [c for c in Cause if c is not Cause.REFUSED])
def test_a_failed_session_causes_nothing_but_its_record(cause: Cause) -> None:
    spec = b.spec()
    result = b.result(
        spec, state=RunState.FAILED, cause=cause, head=NEW, outbox=(asked("comment", body="hi"),), detail="d" * 9000
    )
    effect = settled(spec, result)
    assert kinds(effect) == ["FinishRun"]
    record = ended(effect)
    assert (record.state, record.cause, record.head) == (RunState.FAILED, cause, None)
    assert len(record.detail) <= 6000


EXCEEDING = {
    "two comments": (b.spec(), {"head": NEW, "outbox": (asked("comment", body="a"), asked("comment", body="b"))}),
    "a label": (b.spec(), {"head": NEW, "outbox": (asked("label", add=["backlog"], remove=[]),)}),
    "an issue": (b.spec(), {"head": NEW, "outbox": (asked("issue", title="x", body="y"),)}),
    "a vault action": (b.spec(), {"head": NEW, "outbox": (asked("vault", action="release"),)}),
    "commits of a reviewer": (b.spec("review-pr", PULL), {"head": NEW, "steps": (b.verdict(),)}),
    "a pull request of a fix": (b.spec("fix-ci", PULL), {"head": NEW, "outbox": (asked("pull", title="x"),)}),
    "an issue with the start label": (
        b.spec("review-pr", PULL),
        {"steps": (b.verdict(),), "outbox": (asked("issue", title="x", body="y", labels=["backlog"]),)},
    ),
    "four issues": (
        b.spec("review-pr", PULL),
        {"steps": (b.verdict(),), "outbox": tuple(asked("issue", title=f"x{n}", body="y") for n in range(4))},
    ),
}


@pytest.mark.parametrize("name", EXCEEDING)
def test_exceeding_a_grant_fails_the_whole_run(name: str) -> None:
    spec, changes = EXCEEDING[name]
    effect = done(spec, **changes)
    assert kinds(effect) == ["FinishRun"]
    assert (ended(effect).state, ended(effect).cause) == (RunState.FAILED, Cause.GATE)


def test_a_fix_pushes_onto_the_head_it_began_from() -> None:
    effect = done(b.spec("fix-ci", PULL), head=NEW, outbox=(asked("comment", body="Sorted a copy."),))
    assert kinds(effect) == ["PushBranch", "PostComment", "FinishRun"]
    push = effect.operations[0]
    assert isinstance(push, PushBranch)
    assert (push.ref, push.new, push.expected) == ("fix/issue-1", NEW, b.HEAD)
    assert effect.preconditions.head is None  # the push is its own compare-and-swap
    assert ended(effect).fact("from") == b.HEAD


def test_a_base_fix_opens_a_pull_request_of_its_own() -> None:
    spec = b.spec("fix-base", Subject(REPO, "none", "fix-base"), issue=None, head=None, head_ref="fix/base-bbbbbbbb",
                  inputs={"issue_title": "main is red"})  # fmt: skip
    effect = done(spec, head=NEW)
    assert kinds(effect) == ["PushBranch", "OpenPull", "FinishRun"]
    pull = effect.operations[1]
    assert isinstance(pull, OpenPull)
    assert pull.title == "main is red"
    assert "Fixes" not in pull.body


# ---- review --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("approve", ReviewState.APPROVED), ("request_changes", ReviewState.REQUEST_CHANGES),
        ("comment", ReviewState.COMMENT),
    ],
)  # fmt: skip
def test_a_verdict_is_bound_to_its_head(word: str, state: ReviewState) -> None:
    found = b.finding(text="Closes #3 <!-- x --> @founder")
    effect = done(b.spec("review-pr", PULL), steps=(b.verdict(word, found),))
    assert kinds(effect) == ["PostReview", "FinishRun"]
    review = effect.operations[0]
    assert isinstance(review, PostReview)
    assert (review.account, review.number, review.commit, review.state) == ("review-bot", 5, b.HEAD, state)
    assert "`tally/x.py:3`" in review.body
    assert "Closes #3" not in review.body
    assert "<!--" not in review.body
    assert effect.preconditions.head == b.HEAD
    record = ended(effect)
    assert (record.fact("verdict"), record.fact("findings")) == (word, finding_digest(found))
    assert record.head == b.HEAD


@pytest.mark.parametrize("steps", [(), (StepResult("judge", True, answer={"verdict": "maybe"}),),
                                   (StepResult("other", True, answer={"verdict": "approve"}),)])  # fmt: skip
def test_without_a_verdict_there_is_no_review(steps: tuple[StepResult, ...]) -> None:
    effect = done(b.spec("review-pr", PULL), steps=steps)
    assert kinds(effect) == ["FinishRun"]
    assert ended(effect).cause is Cause.INVALID_OUTPUT


def test_follow_ups_are_filed_by_the_reviewer() -> None:
    line = asked("issue", title="Split it\nnow", body="Later. /start", labels=["tech-debt"])
    effect = done(b.spec("review-pr", PULL), steps=(b.verdict(),), outbox=(line,))
    issue = effect.operations[1]
    assert isinstance(issue, CreateIssue)
    assert (issue.account, issue.title, issue.labels) == ("review-bot", "Split it now", ("tech-debt",))
    assert "#5" in issue.body


def test_findings_are_the_same_by_their_name_not_their_words() -> None:
    assert finding_digest(b.finding(text="a")) == finding_digest(b.finding(text="b", line=9))
    assert finding_digest(b.finding("one")) != finding_digest(b.finding("two"))
    assert finding_digest(b.finding(path="x")) != finding_digest(b.finding(path="y"))


def test_what_a_check_left_for_a_person_is_remembered() -> None:
    facts = StepResult("facts", True, answer={"person": ["tests/a.py: assertions removed"]})
    record = ended(done(b.spec("review-pr", PULL), steps=(facts, b.verdict())))
    assert record.fact("person") == "tests/a.py: assertions removed"


# ---- ci ------------------------------------------------------------------------------------------------------------


def ci(**changes: object) -> tuple[PostStatus | None, RunRecord]:
    spec = b.spec("ci", COMMIT, role="ci", account="factory-bot", agent="")
    effect = done(spec, **changes)
    status = effect.operations[0]
    return (status if isinstance(status, PostStatus) else None, ended(effect))


def shell(code: int | None, tail: str = "boom") -> StepResult:
    answer: dict[str, object] = {"tail": tail} if code is None else {"exit": code, "tail": tail}
    return StepResult("check", code == 0, f"exit {code}", answer)


def test_green() -> None:
    status, record = ci(steps=(shell(0),))
    assert status == PostStatus(
        REPO, "factory-bot", b.HEAD, "factory/ci", CheckState.SUCCESS, "passed in 3 s", "http://web.test/log"
    )
    assert (record.state, record.fact("ci"), record.head) == (RunState.SUCCEEDED, "success", b.HEAD)


def test_red_is_a_success_of_the_run_and_keeps_the_log() -> None:
    status, record = ci(steps=(shell(1, "x" * 9000 + "END"),))
    assert status is not None
    assert status.state is CheckState.FAILURE
    assert (record.state, record.cause, record.fact("ci")) == (RunState.SUCCEEDED, None, "failure")
    assert record.detail.endswith("END")
    assert len(record.detail) <= 6000


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"steps": (shell(137),)}, Cause.SANDBOX),
        ({"steps": (shell(128),)}, Cause.SANDBOX),
        ({"steps": (shell(125),)}, Cause.SANDBOX),
        ({"steps": ()}, Cause.SANDBOX),
        ({"state": RunState.FAILED, "cause": Cause.SANDBOX}, Cause.SANDBOX),
        ({"state": RunState.FAILED, "cause": Cause.GIT}, Cause.GIT),
        ({"state": RunState.FAILED, "cause": Cause.MAX_DURATION, "steps": (shell(None),)}, Cause.MAX_DURATION),
        ({"state": RunState.FAILED, "cause": Cause.INACTIVITY, "steps": (shell(None),)}, Cause.INACTIVITY),
    ],
)
def test_trouble_is_neither_green_nor_red(changes: dict[str, object], cause: Cause) -> None:
    status, record = ci(**changes)
    assert status is not None
    assert status.state is CheckState.ERROR
    assert (record.state, record.cause, record.fact("ci"), record.head) == (RunState.FAILED, cause, "infra", None)


def test_a_gate_failure_of_the_session_is_red() -> None:
    status, record = ci(state=RunState.FAILED, cause=Cause.GATE, steps=(shell(2),))
    assert status is not None
    assert status.state is CheckState.FAILURE
    assert record.state is RunState.SUCCEEDED


def test_cancelled_ci_says_nothing() -> None:
    status, record = ci(state=RunState.CANCELLED, cause=Cause.CANCELLED)
    assert status is None
    assert record.state is RunState.CANCELLED


def test_usage_is_recorded() -> None:
    assert ended(done(b.spec(), head=NEW)).usage.cost_usd == 0.02


def test_the_end_is_never_before_the_start() -> None:
    spec = b.spec()
    record = replace(b.unfinished(run=spec.run), started_at=b.NOW.replace(hour=13))
    effect = settle(
        spec, b.result(spec), b.FORMULAS["dev"], record, lease="k", now=b.NOW, factory_account="factory-bot"
    )
    assert ended(effect).finished_at == record.started_at


def test_labels_are_put_on_and_taken_off_as_emit_writes_them() -> None:
    spec = b.spec()
    made = b.FORMULAS["dev"]
    granted = replace(made, grants=replace(made.grants, labels=("a", "b")))
    result = b.result(spec, head=NEW, commits=1, outbox=(asked("label", add=["a"], remove=["b"]),))
    effect = settled(spec, result, granted)
    assert AddLabels(spec.project, spec.account, 1, ("a",)) in effect.operations
    assert RemoveLabel(spec.project, spec.account, 1, "b") in effect.operations


def test_taking_off_a_label_that_is_not_granted_is_refused() -> None:
    spec = b.spec()
    result = b.result(spec, head=NEW, commits=1, outbox=(asked("label", add=[], remove=["backlog"]),))
    effect = settled(spec, result)
    assert not any(isinstance(op, RemoveLabel) for op in effect.operations)


# ---- the vault -----------------------------------------------------------------------------------------------------

ID = "2026-11-21-release-7f3a09c2"
RELEASE = Asked(
    ID, "high", f"vault/{ID}", "main", f"vault/actions/{ID}.toml", "v = 1\n", "a title", "facts", "a message"
)
GRANTED = replace(b.FORMULAS["dev"], grants=replace(b.FORMULAS["dev"].grants, vault=("release",)))


def vault(asked: tuple[Asked, ...] = (RELEASE,), unfit: str = "", formula: str = "release") -> Effect:
    spec = b.spec()
    line = {"kind": "vault", "formula": formula, "parameters": {"tag": "v1"}}
    left = b.result(spec, head=NEW, outbox=(line,))
    return settle(
        spec, left, GRANTED, b.unfinished(), lease="k", now=b.NOW, factory_account="factory-bot",
        vault=Wanted(asked, unfit, "acme/tally-ops", "vault-bot"),
    )  # fmt: skip


def test_a_vault_action_is_proposed_after_the_work() -> None:
    effect = vault()
    assert kinds(effect) == ["PushBranch", "OpenPull", "AddLabels", "RequestAction", "FinishRun"]
    request = effect.operations[-2]
    assert isinstance(request, RequestAction)
    assert (request.repo, request.account, request.branch, request.text) == (
        "acme/tally-ops", "vault-bot", RELEASE.branch, RELEASE.text,
    )  # fmt: skip
    assert ended(effect).state is RunState.SUCCEEDED
    assert ended(effect).fact("vault") == RELEASE.id


@pytest.mark.parametrize(
    ("effect", "cause", "words"),
    [
        (lambda: vault((), "params.tag: release@1 needs it"), Cause.INVALID_OUTPUT, "release@1 needs it"),
        (lambda: vault(()), Cause.INVALID_OUTPUT, "is not known here"),
        (lambda: vault(formula="promote"), Cause.GATE, "the vault action promote"),
    ],
)
def test_what_cannot_be_asked_fails_the_whole_run(effect: Callable[[], Effect], cause: Cause, words: str) -> None:
    made = effect()
    assert kinds(made) == ["FinishRun"]
    assert (ended(made).state, ended(made).cause) == (RunState.FAILED, cause)
    assert words in ended(made).detail
