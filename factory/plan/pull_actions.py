"""What can be done about a pull request: start a run, merge, block. Which of them, ``pulls`` says."""

from __future__ import annotations

from dataclasses import dataclass

from factory.config.model import Mode
from factory.plan import history, labels, status_comment, trust
from factory.plan.agent_text import harmless
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Intent, Obstacle
from factory.plan.operations import (
    AddLabels,
    CloseIssue,
    DeleteBranch,
    GateRules,
    MergePull,
    Operation,
    PostComment,
    RemoveLabel,
    SetStatusComment,
)
from factory.plan.pull_case import Case
from factory.plan.start import ACTING, PROJECT

REVIEW, FIX, ADDRESS, CONFLICT = "review-pr", "fix-ci", "address-review", "resolve-conflict"


@dataclass(frozen=True)
class Try:
    """An intent that the forge may make needless: ``before`` runs first."""

    intent: Intent
    before: tuple[Operation, ...] = ()


Action = Try | Effect | Obstacle


def intent_for(this: Case, formula: str, key: str, reason: str, inputs: dict[str, str] | None = None) -> Intent:
    """A run of ``formula`` on this pull request at its head; ``inputs`` come on top of those every run is given."""
    pull, issue = this.facts.pull, this.issue_facts
    text = {
        "pull": str(pull.number),
        "pull_title": pull.title,
        "pull_body": pull.body,
        "head": pull.head_sha,
        "issue": str(this.issue) if this.issue is not None else "",
        "issue_title": issue.issue.title if issue else "",
        "issue_body": issue.issue.body if issue else "",
        "files": str(len(this.facts.files)),
        "changed": "\n".join(f"{f.status} {f.path} +{f.additions} -{f.deletions}" for f in this.facts.files),
        "reason": reason,
    }
    return Intent(
        subject=this.subject,
        formula=formula,
        key=key,
        reason=reason,
        since=pull.updated_at,
        priority=20 if formula == REVIEW else 30,
        issue=this.issue,
        title=_title(this),
        base_ref=pull.base_ref,
        base=this.world.base.tip,
        head_ref=pull.head_ref,
        head=pull.head_sha,
        inputs={**text, **(inputs or {})},
        trusted=_author_trusted(this),
        fresh_after=this.reset,
    )


def _title(this: Case) -> str:
    """The originating issue's title; where the issue is not in sight, what our pull request's title keeps of it."""
    if this.issue_facts is not None:
        return this.issue_facts.issue.title
    title = this.facts.pull.title
    if this.issue is not None:
        title = title.removesuffix(f"(#{this.issue})").strip()
    return title


def _author_trusted(this: Case) -> bool:
    if this.issue_facts is not None:
        return trust.is_trusted(this.world, this.issue_facts.issue.author.login)
    return trust.is_trusted(this.world, this.facts.pull.author.login)


def block(this: Case, why: str, evidence: str) -> Effect:
    """Stop and say why: the label, and one comment with the evidence."""
    world, number = this.world, this.facts.pull.number
    repo, account = str(world.project), world.config.account("factory")
    body = f"**Stopped: {why}.**\n\nTake `{labels.BLOCKED}` off to let the factory try again."
    if evidence.strip():
        quoted = "\n".join(f"> {line}" for line in harmless(evidence, limit=4000).splitlines())
        body += f"\n\n{quoted}"
    key = f"{this.head}/{why}/{this.reset.isoformat() if this.reset else ''}"
    operations = (PostComment(repo, account, number, body), AddLabels(repo, account, number, (labels.BLOCKED,)))
    return effect_on(this, "block", key, why, operations)


def effect_on(
    this: Case, kind: str, key: str, reason: str, operations: tuple[Operation, ...], *, free: bool = False
) -> Effect:
    """An effect without a run, good only at this head. ``free``: it needs no precondition at all."""
    conditions = Preconditions() if free else Preconditions(
        repo=str(this.world.project), number=this.facts.pull.number, is_pull=True, head=this.head, open=True,
        modes=ACTING, unpaused=PROJECT,
    )  # fmt: skip
    return Effect(effect_id(this.subject, kind, key), this.subject, kind, reason, operations, conditions)


def merge(this: Case, rule: GateRules) -> Effect:
    """Merge at this head, and what follows from it: the issue is closed, its label and the branch go."""
    world, facts = this.world, this.facts
    pull, repo, account = facts.pull, str(world.project), world.config.account("factory")
    title = f"{pull.title} (#{pull.number})" if f"#{pull.number}" not in pull.title else pull.title
    operations: list[Operation] = [
        MergePull(repo, account, pull.number, this.head, title, _trailers(this), rule),
    ]
    if this.issue is not None:
        operations.append(RemoveLabel(repo, account, this.issue, labels.IN_PROGRESS))
        operations.append(CloseIssue(repo, account, this.issue))
        if this.issue_facts is not None and status_comment.existing(world, this.issue_facts) is not None:
            operations.append(SetStatusComment(repo, account, this.issue, status_comment.done(pull.number)))
    operations.append(DeleteBranch(repo, account, pull.head_ref, this.head))
    conditions = Preconditions(
        repo=repo, number=pull.number, is_pull=True, head=this.head, open=True, without=frozenset({labels.BLOCKED}),
        modes=frozenset({Mode.MERGE}), unpaused=PROJECT,
    )  # fmt: skip
    return Effect(
        id=effect_id(this.subject, "merge", this.head),
        subject=this.subject,
        kind="merge",
        reason=f"approved and green at {this.head[:8]}",
        operations=tuple(operations),
        preconditions=conditions,
    )


def _trailers(this: Case) -> str:
    """What a merge commit says of where it came from. ``Factory-*`` trailers count only there."""
    made = [r for r in this.world.runs if r.head == this.head and r.fact("from") not in (None, this.head)]
    lines = []
    if made:
        lines.append(f"Factory-Run: {made[-1].run}")
        formula = this.world.formulas.get(made[-1].formula)
        version = f"@{formula.version}" if formula else ""
        lines.append(f"Factory-Formula: {made[-1].formula}{version}")
    if this.issue is not None:
        lines.append(f"Factory-Cost: {history.dollars(history.cost_of_issue(this.world, this.issue))}")
    return "\n".join(lines)
