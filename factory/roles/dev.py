"""The dev role: open issues that ask to be worked on."""

from __future__ import annotations

from datetime import datetime

from factory.forge.values import ItemState
from factory.plan import commands, history, labels, names, trust
from factory.plan.model import Intent, IssueFacts, World
from factory.runs.model import RunState

FORMULA = "dev"
FIRST, OTHERS = 40, 50


def look(world: World, now: datetime) -> tuple[Intent, ...]:
    """One intent per open issue that carries the start label. Whether it may start is the plan's question."""
    return tuple(
        _intent(world, facts)
        for facts in world.issues
        if facts.issue.state is ItemState.OPEN and labels.START in facts.issue.labels
    )


def _intent(world: World, facts: IssueFacts) -> Intent:
    issue = facts.issue
    people = trust.people(world)
    reset = history.reset_at(facts, people)
    said = "\n\n".join(
        f"{c.author.login} at {c.created_at:%Y-%m-%d %H:%M} UTC:\n{c.body}"
        for c in facts.comments
        if c.author.login.lower() in people and not commands.given([c], people)
    )
    label = trust.newest_start_label(facts)
    return Intent(
        subject=names.issue_subject(world, issue.number),
        formula=FORMULA,
        key="implement",
        reason=f"`{labels.START}` is set on #{issue.number}",
        since=label.created_at if label else issue.created_at,
        priority=FIRST if labels.PRIORITY in issue.labels else OTHERS,
        issue=issue.number,
        title=issue.title,
        base_ref=world.base.ref,
        base=world.base.tip,
        head_ref=names.free_branch(world, f"fix/issue-{issue.number}"),
        inputs={
            "issue": str(issue.number),
            "issue_title": issue.title,
            "issue_body": issue.body,
            "issue_author": issue.author.login,
            "issue_date": f"{issue.created_at:%Y-%m-%d}",
            "comments": said,
            "previous": _previous(world, issue.number),
        },
        trusted=trust.is_trusted(world, issue.author.login),
        fresh_after=reset,
    )


def _previous(world: World, number: int) -> str:
    """How the last attempt ended, where that was its own fault."""
    ended = [r for r in history.runs_of(world, FORMULA, names.issue_subject(world, number)) if r.state.is_terminal]
    if not ended or ended[-1].state is RunState.SUCCEEDED or history.is_same_round(ended[-1]):
        return ""
    return f"{ended[-1].cause}: {ended[-1].detail}"
