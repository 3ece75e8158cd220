"""What a finished session causes: its result, held against the formula's grants, as one effect with ordered steps.

Order: branch, pull request, review, status, comments, labels, issues; last the terminal journal entry, which frees the
lease. Every word of an agent is made harmless before it stands under an account of ours. Asking for more than was
granted fails the run as a whole (DESIGN section 10).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from factory.forge.values import CheckState, ReviewState
from factory.formula.model import Formula, StepKind
from factory.plan import labels
from factory.plan.agent_text import harmless, one_line
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.operations import (
    AddLabels,
    CreateIssue,
    FinishRun,
    OpenPull,
    Operation,
    PostComment,
    PostReview,
    PostStatus,
    PushBranch,
    RemoveLabel,
    RequestAction,
)
from factory.plan.start import ACTING, PROJECT
from factory.plan.vault import Asked
from factory.runs.model import Cause, RunRecord, RunState
from factory.runs.spec import SessionResult, SessionSpec, StepResult

DETAIL = 6000
"""Characters of a red CI's log kept in the record: what a fix run is shown."""
INFRASTRUCTURE_EXITS = frozenset({125, 128, 137})
"""Sandbox failed, git failed, killed: the check could not tell (DESIGN section 10)."""

VERDICTS = {"approve": ReviewState.APPROVED, "request_changes": ReviewState.REQUEST_CHANGES,
            "comment": ReviewState.COMMENT}  # fmt: skip


@dataclass(frozen=True)
class Wanted:
    """What the session asked of the vault, as actions ready to be proposed; ``unfit``: why that cannot be."""

    asked: tuple[Asked, ...] = ()
    unfit: str = ""
    repo: str = ""
    account: str = ""


@dataclass
class _Draft:
    """What is being put together for one result."""

    operations: list[Operation] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    state: RunState = RunState.SUCCEEDED
    cause: Cause | None = None
    detail: str = ""

    def fail(self, cause: Cause, detail: str) -> None:
        self.state, self.cause, self.detail = RunState.FAILED, cause, detail
        self.operations.clear()


def settle(
    spec: SessionSpec,
    result: SessionResult,
    formula: Formula,
    record: RunRecord,
    *,
    lease: str,
    now: datetime,
    factory_account: str,
    log_url: str = "",
    vault: Wanted | None = None,
) -> Effect:
    """The one effect of a session that ended. ``record`` is the journal's unfinished record of the run."""
    draft = _Draft(state=result.state, cause=result.cause, detail=result.detail[-DETAIL:])
    if formula.grants.statuses:
        _ci(draft, spec, result, formula, factory_account, log_url)
    elif result.state is RunState.SUCCEEDED or result.cause is Cause.REFUSED:
        _succeeded(draft, spec, result, formula, vault or Wanted())
    finished = replace(
        record,
        state=draft.state,
        cause=draft.cause,
        detail=draft.detail,
        finished_at=max(now, record.started_at),
        head=_head(spec, result, draft),
        usage=result.usage,
        facts=tuple(sorted({**dict(record.facts), **draft.facts}.items())),
    )
    return Effect(
        id=effect_id(spec.subject, "settle", spec.run),
        subject=spec.subject,
        kind=f"settle:{spec.formula}",
        reason=f"{spec.run} ended: {draft.state}" + (f" ({draft.cause})" if draft.cause else ""),
        operations=(*draft.operations, FinishRun(finished, lease)),
        preconditions=_preconditions(spec, draft, lease, record.epoch),
        run=spec.run,
    )


def _head(spec: SessionSpec, result: SessionResult, draft: _Draft) -> str | None:
    """The head produced, else the head judged; a run that made nothing has none."""
    if draft.state is not RunState.SUCCEEDED:
        return None
    return result.head or spec.head


def _preconditions(spec: SessionSpec, draft: _Draft, lease: str, epoch: int) -> Preconditions:
    held = Preconditions(lease=lease, run=spec.run, epoch=epoch)
    if not draft.operations:
        return held
    held = replace(held, modes=ACTING, unpaused=PROJECT | {spec.role})
    if spec.subject.kind == "pull":
        reviews = any(isinstance(op, PostReview) for op in draft.operations)
        return replace(
            held, repo=spec.project, number=int(spec.subject.id), is_pull=True, open=True,
            head=spec.head if reviews else None,
        )  # fmt: skip
    if spec.subject.kind == "issue":
        return replace(held, repo=spec.project, number=int(spec.subject.id), open=True)
    return held


# ---- ci ------------------------------------------------------------------------------------------------------------


def _ci(draft: _Draft, spec: SessionSpec, result: SessionResult, formula: Formula, account: str, log_url: str) -> None:
    """A status per granted context: green, red, or (the machine failed) error, which is tried again."""
    sha = spec.head or spec.base
    shells = [s for s in result.steps if _kind(formula, s) is StepKind.SHELL]
    failed = next((s for s in result.steps if not s.ok), None)
    if result.state is RunState.CANCELLED:
        return
    if result.cause is Cause.MAX_DURATION or _infrastructure(result, failed, bool(shells)):
        conclusion, state = "infra", CheckState.ERROR
        draft.state, draft.cause = RunState.FAILED, result.cause or Cause.SANDBOX
        words = f"could not tell: {result.cause or (failed.detail if failed else 'nothing ran')}"
    elif failed is not None:
        conclusion, state, words = "failure", CheckState.FAILURE, failed.detail or "failed"
        draft.state, draft.cause, draft.detail = RunState.SUCCEEDED, None, _tail(failed)
    else:
        conclusion, state, words = "success", CheckState.SUCCESS, f"passed in {result.seconds:.0f} s"
        draft.state, draft.cause = RunState.SUCCEEDED, None
    draft.facts["ci"] = conclusion
    for context in formula.grants.statuses:
        draft.operations.append(
            PostStatus(spec.project, account, sha, context, state, one_line(words, limit=140), log_url)
        )


def _infrastructure(result: SessionResult, failed: StepResult | None, ran: bool) -> bool:
    if result.cause in (Cause.GATE, None) and failed is not None:
        return exit_code(failed) in INFRASTRUCTURE_EXITS
    return not ran or result.state is not RunState.SUCCEEDED


def exit_code(step: StepResult) -> int | None:
    """The exit code of a shell step, where one is known."""
    code = (step.answer or {}).get("exit")
    return code if isinstance(code, int) else None


def _tail(step: StepResult) -> str:
    tail = (step.answer or {}).get("tail")
    text = tail if isinstance(tail, str) and tail.strip() else step.log or step.detail
    return text[-DETAIL:]


def _kind(formula: Formula, result: StepResult) -> StepKind | None:
    return next((step.kind for step in formula.steps if step.id == result.step), None)


# ---- sessions of agents --------------------------------------------------------------------------------------------


def _succeeded(draft: _Draft, spec: SessionSpec, result: SessionResult, formula: Formula, vault: Wanted) -> None:
    exceeded = exceeds(result, formula)
    if exceeded:
        draft.fail(Cause.GATE, f"asked for more than was granted: {exceeded}")
        return
    asked = sum(1 for line in result.outbox if line.get("kind") == "vault")
    if vault.unfit or asked != len(vault.asked):
        words = vault.unfit or "what it asked of the vault is not known here"
        draft.fail(Cause.INVALID_OUTPUT, f"asked the vault for what it cannot do: {words}")
        return
    person = [text for step in result.steps for text in _strings((step.answer or {}).get("person"))]
    if person:
        draft.facts["person"] = one_line(person[0])
    refusal = next((line for line in result.outbox if line.get("kind") == "refuse"), None)
    if refusal is not None:
        _refused(draft, spec, refusal)
    elif formula.grants.review:
        _review(draft, spec, result, formula)
    elif formula.grants.commits:
        _commits(draft, spec, result, formula)
    if draft.state is RunState.SUCCEEDED or draft.cause is Cause.REFUSED:
        _outbox(draft, spec, result)
        _vault(draft, vault)


def exceeds(result: SessionResult, formula: Formula) -> str | None:
    """What of a result goes beyond the formula's grants, in words; None when nothing does."""
    grants = formula.grants
    if result.head is not None and not grants.commits:
        return "commits"
    count = {kind: sum(1 for line in result.outbox if line.get("kind") == kind) for kind in ("comment", "issue")}
    for kind, allowance in (("comment", grants.comments), ("issue", grants.issues)):
        if count[kind] > (allowance.max if allowance else 0):
            return f"{count[kind]} {kind}s"
    for asked in result.outbox:
        asks, wanted = asked.get("kind"), _asked_labels(asked)
        if asks == "pull" and not grants.pull_request:
            return "a pull request"
        if asks == "refuse" and not grants.refuse:
            return "a refusal"
        if asks == "label" and not set(wanted) <= set(grants.labels):
            return f"the labels {', '.join(wanted)}"
        if asks == "issue" and not set(wanted) <= set(grants.issues.labels if grants.issues else ()):
            return f"an issue with the labels {', '.join(wanted)}"
        if asks == "vault" and asked.get("formula") not in grants.vault:
            return f"the vault action {str(asked.get('formula'))[:40]}"
    return None


def _asked_labels(line: Mapping[str, object]) -> tuple[str, ...]:
    """Every label a line names: those of an issue, or those it puts on and takes off its subject."""
    return tuple(label for field in ("labels", "add", "remove") for label in _strings(line.get(field)))


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list | tuple) else ()


def _text(line: Mapping[str, object], *names: str) -> str:
    values = (line.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value.strip()), "")


def _commits(draft: _Draft, spec: SessionSpec, result: SessionResult, formula: Formula) -> None:
    if result.head is None or spec.head_ref is None:
        draft.fail(Cause.NO_CHANGES, "ended without a commit and without a refusal")
        return
    draft.operations.append(PushBranch(spec.project, spec.account, spec.run, spec.head_ref, result.head, spec.head))
    if formula.grants.pull_request and spec.subject.kind != "pull":
        draft.operations.append(_open_pull(spec, result))
        if spec.subject.kind == "issue":
            draft.operations.append(AddLabels(spec.project, spec.account, int(spec.subject.id), (labels.IN_PROGRESS,)))
    elif spec.subject.kind == "pull":
        draft.facts["pull"] = spec.subject.id


def _open_pull(spec: SessionSpec, result: SessionResult) -> OpenPull:
    assert spec.head_ref is not None
    asked = [wish for wish in result.outbox if wish.get("kind") == "pull"]
    line: Mapping[str, object] = asked[-1] if asked else {}
    title = one_line(_text(line, "title")) or one_line(spec.inputs.get("issue_title", "")) or "Change"
    if spec.issue is not None:
        title = f"{title} (#{spec.issue})"
    body = harmless(_text(line, "body", "text"))
    foot = [f"Run `{spec.run}` of `{spec.formula}`, round {spec.round}."]
    if spec.issue is not None:
        foot.insert(0, f"Fixes #{spec.issue}")
    return OpenPull(spec.project, spec.account, spec.head_ref, spec.base_ref, title, "\n\n".join([body, *foot]).strip())


def _review(draft: _Draft, spec: SessionSpec, result: SessionResult, formula: Formula) -> None:
    answer = next(
        (s.answer for s in reversed(result.steps)
         if s.answer and any(step.id == s.step and step.output == "verdict" for step in formula.steps)), None,
    )  # fmt: skip
    state = VERDICTS.get(str((answer or {}).get("verdict", "")))
    if answer is None or state is None or spec.head is None:
        draft.fail(Cause.INVALID_OUTPUT, "no verdict")
        return
    found = [f for f in _list(answer.get("findings")) if isinstance(f, dict)]
    draft.facts |= {
        "verdict": str(answer["verdict"]),
        "findings": ",".join(sorted({finding_digest(f) for f in found})),
        "pull": spec.subject.id,
    }
    body = _review_body(spec, answer, found)
    draft.operations.append(PostReview(spec.project, spec.account, int(spec.subject.id), spec.head, state, body))


def finding_digest(finding: Mapping[str, object]) -> str:
    """What makes two findings the same one across rounds: the reviewer's own name for it, else its place and words."""
    name = _text(finding, "id") or _text(finding, "text", "message")
    return hashlib.sha256(f"{finding.get('path') or ''}\0{name}".encode()).hexdigest()[:10]


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, list | tuple) else []


def _review_body(spec: SessionSpec, answer: Mapping[str, object], found: list[dict[str, object]]) -> str:
    parts = [harmless(_text(answer, "summary")) or "No summary."]
    for finding in found:
        place = one_line(str(finding.get("path") or ""), limit=200).replace("`", "")
        at = finding.get("line")
        where = f"`{place}:{at}`" if place and isinstance(at, int) else f"`{place}`" if place else "general"
        severity = one_line(_text(finding, "severity"), limit=20)
        text = harmless(_text(finding, "text", "message"), limit=4000).replace("\n", "\n  ")
        parts.append(f"- {where}{f' ({severity})' if severity else ''}: {text}")
    unread = [one_line(text) for text in _strings(answer.get("not_read"))]
    if unread:
        parts.append("Not read: " + ", ".join(unread))
    parts.append(f"Judged at {spec.head} by run `{spec.run}`, round {spec.round}.")
    return "\n\n".join(parts)


def _refused(draft: _Draft, spec: SessionSpec, line: Mapping[str, object]) -> None:
    reason = one_line(_text(line, "reason", "why", "code"), limit=40)
    draft.state, draft.cause = RunState.FAILED, Cause.REFUSED
    words = harmless(_text(line, "text", "detail", "body", "message"), limit=4000)
    draft.detail = f"{reason}: {one_line(words, limit=300)}"
    draft.facts["refusal"] = reason
    number = int(spec.subject.id) if spec.subject.kind in ("issue", "pull") else None
    if number is None:
        return
    body = f"**Not started: {reason or 'refused'}.**\n\n{words}".strip()
    draft.operations.append(PostComment(spec.project, spec.account, number, body))
    label = labels.REFUSALS.get(reason, labels.BLOCKED)
    draft.operations.append(AddLabels(spec.project, spec.account, number, (label,)))


def _outbox(draft: _Draft, spec: SessionSpec, result: SessionResult) -> None:
    number = int(spec.subject.id) if spec.subject.kind in ("issue", "pull") else None
    for line in result.outbox:
        kind = line.get("kind")
        if kind == "comment" and number is not None:
            body = harmless(_text(line, "body", "text"))
            draft.operations.append(PostComment(spec.project, spec.account, number, body))
        elif kind == "label" and number is not None:
            if added := _strings(line.get("add")):
                draft.operations.append(AddLabels(spec.project, spec.account, number, added))
            draft.operations += [
                RemoveLabel(spec.project, spec.account, number, label) for label in _strings(line.get("remove"))
            ]
        elif kind == "issue":
            body = harmless(_text(line, "body", "text"))
            source = f"Found by run `{spec.run}`" + (f" on #{number}." if number is not None else ".")
            draft.operations.append(
                CreateIssue(
                    spec.project, spec.account, one_line(_text(line, "title")) or "Follow-up",
                    f"{body}\n\n{source}".strip(), _asked_labels(line),
                )
            )  # fmt: skip


def _vault(draft: _Draft, vault: Wanted) -> None:
    """What leaves the factory is only proposed here: an approval and the dispatcher stand before it."""
    for one in vault.asked:
        draft.operations.append(
            RequestAction(vault.repo, vault.account, one.id, one.branch, one.base, one.path, one.text, one.title,
                          one.body, one.message)
        )  # fmt: skip
    if vault.asked:
        draft.facts["vault"] = " ".join(one.id for one in vault.asked)
