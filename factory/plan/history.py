"""Questions to the run records: rounds, attempts, lineages, and whether another try is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from factory.forge.values import TimelineEvent
from factory.plan import commands, labels
from factory.plan.model import IssueFacts, Obstacle, PullFacts, World
from factory.runs.model import Cause, RunRecord, RunState, Subject, Usage
from factory.runs.retry import RULES, GiveUp, retry_decision

_SLOW = timedelta(hours=1)
"""How often something that failed for reasons of the machine is tried once its rule gave up: never blocked for good."""


def runs_of(world: World, formula: str, subject: Subject, *, after: datetime | None = None) -> tuple[RunRecord, ...]:
    """Runs of a formula on a subject, oldest first, started after ``after``."""
    return tuple(r for r in world.runs_of(subject) if r.formula == formula and (after is None or r.started_at > after))


def unfinished(world: World, subject: Subject) -> RunRecord | None:
    return next((r for r in world.runs_of(subject) if not r.state.is_terminal), None)


def is_same_round(record: RunRecord) -> bool:
    """Ended by the machine, not by the work: the next try is the same round."""
    if record.state is RunState.LOST:
        return True
    return record.state.is_terminal and record.cause is not None and RULES[record.cause].same_round


def round_number(world: World, formula: str, issue: int | None, subject: Subject) -> int:
    """1 for the first run of this formula for this originating issue (or subject, without one)."""
    mine = (
        r for r in world.runs
        if r.formula == formula and (r.issue == issue if issue is not None else r.subject == subject)
    )  # fmt: skip
    return 1 + sum(1 for r in mine if not is_same_round(r))


def due(records: Iterable[RunRecord], now: datetime) -> Obstacle | None:
    """None when another run may start now, judged by how these (one formula, one subject) ended; else why not.

    Rule ``gave-up`` means a person has to look; ``backoff`` clears by itself.
    """
    finished = [r for r in records if r.state.is_terminal]
    if not finished or finished[-1].state is RunState.SUCCEEDED:
        return None
    last = finished[-1]
    cause = Cause.LOST if last.state is RunState.LOST else last.cause or Cause.BUG
    decision = retry_decision(cause, finished, now)
    ended = last.finished_at or last.started_at
    if isinstance(decision, GiveUp):
        if not RULES[cause].same_round:
            return Obstacle("gave-up", f"{last.formula} {decision.reason}", "a person: `/retry`", ended)
        at = ended + _SLOW
        if now < at:
            return Obstacle("backoff", f"{last.formula} {decision.reason}; next try {_clock(at)}", "time", ended)
        return None
    if now < decision.at:
        return Obstacle(
            "backoff", f"{last.formula} ended with {cause}; try {decision.attempt} at {_clock(decision.at)}", "time",
            ended,
        )  # fmt: skip
    return None


def _clock(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def reset_at(facts: IssueFacts | PullFacts, people: frozenset[str]) -> datetime | None:
    """The newest act of a person that wipes the slate: ``/retry`` or ``/start``, setting the start label (again), or
    taking off a label that stopped it."""
    given = commands.given(facts.comments, people)
    moments = [c.at for c in given if c.name in ("retry", "start")]
    moments += [e.created_at for e in facts.timeline if e.author.login.lower() in people and _starts_anew(e)]
    return max(moments, default=None)


def _starts_anew(event: TimelineEvent) -> bool:
    if event.kind != "label":
        return False
    if event.label == labels.START:
        return event.added is True
    return event.added is False and event.label in (labels.BLOCKED, labels.UNDERSPECIFIED, labels.ALREADY_DONE)


def fixes_in_lineage(world: World, formula: str, subject: Subject, head: str, after: datetime | None) -> int:
    """How many runs of ``formula`` in a row led to ``head`` or tried to mend it: the chain of heads each made from the
    one before. A head made by anything else ends the lineage."""
    runs = [r for r in runs_of(world, formula, subject, after=after) if r.state.is_terminal and not is_same_round(r)]
    count = 0
    seen: set[str] = set()
    current: str | None = head
    while current is not None and current not in seen:
        seen.add(current)
        count += sum(1 for r in runs if r.fact("from") == current and r.head in (None, current))
        made = next((r for r in runs if r.head == current and r.fact("from") not in (None, current)), None)
        if made is not None:
            count += 1
        current = made.fact("from") if made is not None else None
    return count


def resumable(world: World, formula: str, subject: Subject, head: str | None) -> str | None:
    """The wip commit a lost run of the same lineage left; only if it began from the same place."""
    for record in reversed(runs_of(world, formula, subject)):
        if not is_same_round(record):
            return None
        if record.run in world.wip and record.fact("from") == (head or ""):
            return world.wip[record.run]
    return None


def cost_of_issue(world: World, issue: int) -> Usage:
    """What all runs for an issue have used so far."""
    total = Usage()
    for record in world.runs:
        if record.issue == issue:
            total = total + record.usage
    return total


def dollars(usage: Usage) -> str:
    return f"${usage.cost_usd:.4f}" + (" (scripted)" if usage.scripted else "")
