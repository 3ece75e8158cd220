"""Why is nothing (or this) happening? State, the first thing in the way, who can clear it, since when, at what cost.

It reads the plan that the tick itself decided, so it cannot say anything else than what is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from factory.forge.values import ItemState
from factory.plan import history, labels, names, trust
from factory.plan.effect import Plan
from factory.plan.model import Obstacle, World
from factory.plan.triage import open_pull
from factory.runs.model import RunRecord, Subject, Usage


@dataclass(frozen=True)
class Explanation:
    """All of it as values; text is rendered from them."""

    subject: Subject
    title: str
    state: str
    """One line: ``merged``, ``in review``, ``waits``..."""
    doing: tuple[str, ...]
    """What this tick does about it: kind and reason of each effect."""
    rule: str = ""
    reason: str = ""
    clears: str = ""
    since: datetime | None = None
    cost: Usage = field(default_factory=Usage)
    runs: tuple[RunRecord, ...] = ()
    """Oldest first."""
    pull: int | None = None
    """For an issue: its open pull request, whose own explanation goes on from here."""
    actions: tuple[tuple[str, str], ...] = ()
    """Vault actions that its runs asked for and that are not over, each with where it stands."""


def explain(world: World, plan: Plan, kind: str, number: int) -> Explanation | None:
    """``kind``: ``issue`` or ``pull``. None when the World does not have it (closed long ago, or no such number)."""
    return _issue(world, plan, number) if kind == "issue" else _pull(world, plan, number)


def _issue(world: World, plan: Plan, number: int) -> Explanation | None:
    facts = next((i for i in world.issues if i.issue.number == number), None)
    if facts is None:
        return None
    subject = names.issue_subject(world, number)
    pull = open_pull(world, number)
    running = history.unfinished(world, subject)
    obstacle = _skip(plan, subject)
    if facts.issue.state is not ItemState.OPEN:
        state, obstacle = "closed", None
    elif running is not None:
        state = f"being worked on by {running.run} (round {running.round})"
    elif pull is not None:
        state = f"pull request #{pull} is open"
    elif labels.START not in facts.issue.labels:
        state = "not started"
        act = trust.start_act(world, facts)
        obstacle = act if isinstance(act, Obstacle) else None
    elif obstacle is None and plan.effect_for(subject) is not None:
        state = "starts now"
    else:
        state = "waits"
    runs = tuple(r for r in world.runs if r.issue == number)
    return replace(_built(plan, subject, facts.issue.title, state, obstacle, runs, pull), actions=asked(world, number))


def asked(world: World, issue: int) -> tuple[tuple[str, str], ...]:
    """Vault actions that the runs of an issue asked for and that are not over: id and where each stands."""
    ids = [id for run in world.runs if run.issue == issue for id in (run.fact("vault") or "").split()]
    return tuple((id, standing) for id in dict.fromkeys(ids) if (standing := world.vault.standing(id)))


def _pull(world: World, plan: Plan, number: int) -> Explanation | None:
    facts = next((p for p in world.pulls if p.pull.number == number), None)
    if facts is None:
        return None
    subject = names.pull_subject(world, number)
    running = history.unfinished(world, subject)
    obstacle = _skip(plan, subject)
    if facts.pull.merged:
        state, obstacle = "merged", None
    elif facts.pull.state is not ItemState.OPEN:
        state, obstacle = "closed", None
    elif running is not None:
        state = f"{running.formula} runs as {running.run} (round {running.round})"
    elif obstacle is not None:
        state = "waits"
    elif plan.effect_for(subject) is not None:
        state = "moves now"
    else:
        state = "not the factory's: neither its own, nor was its review asked for by someone trusted"
    issue = names.issue_of_branch(facts.pull.head_ref) if names.is_ours(world, facts) else None
    runs = tuple(r for r in world.runs if r.subject == subject or (issue is not None and r.issue == issue))
    return _built(plan, subject, facts.pull.title, state, obstacle, runs, None)


def _skip(plan: Plan, subject: Subject) -> Obstacle | None:
    skip = next(iter(plan.skips_for(subject)), None)
    return Obstacle(skip.rule, skip.reason, skip.clears, skip.since) if skip is not None else None


def _built(
    plan: Plan, subject: Subject, title: str, state: str, obstacle: Obstacle | None,
    runs: tuple[RunRecord, ...], pull: int | None,
) -> Explanation:  # fmt: skip
    cost = Usage()
    for record in runs:
        cost = cost + record.usage
    return Explanation(
        subject=subject,
        title=title,
        state=state,
        doing=tuple(f"{e.kind}: {e.reason}" for e in plan.effects if e.subject == subject),
        rule=obstacle.rule if obstacle else "",
        reason=obstacle.reason if obstacle else "",
        clears=obstacle.clears if obstacle else "",
        since=obstacle.since if obstacle else None,
        cost=cost,
        runs=runs,
        pull=pull,
    )
