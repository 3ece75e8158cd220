"""What the last recorded tick saw and decided, read again: ``explain``, ``replay-tick`` and ``status`` ask here.

The newest World is decided anew by the very functions the tick uses, so nothing else can be told than what is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.runs import run_facts
from factory.daemon.worlds import Tick, WorldStore, digest
from factory.errors import UsageError
from factory.forge.values import RepoName
from factory.plan.effect import Effect, Plan
from factory.plan.explain import explain
from factory.plan.model import Skip, World
from factory.plan.operations import operation_name
from factory.roles.turn import decide
from factory.runs.model import Subject


@dataclass(frozen=True)
class Seen:
    """One recorded tick, with the plan recomputed from its World."""

    tick: Tick
    world: World
    plan: Plan
    same: bool = True
    """The plan is the recorded one. False: the daemon decided with another version of the factory."""


def store(deployment: Deployment, project: RepoName) -> WorldStore:
    """The recorded Worlds of a project on this host."""
    return WorldStore(deployment.state / "worlds" / f"{project.owner}.{project.name}")


def newest(deployment: Deployment, project: RepoName) -> Seen | None:
    """The last recorded tick; None before there was one. Raises UsageError when its World cannot be read."""
    worlds = store(deployment, project)
    last = max((tick.number for tick in worlds.ticks()), default=None)
    return None if last is None else _seen(worlds, last)


def _seen(worlds: WorldStore, number: int) -> Seen:
    tick, world = worlds.load(number)
    plan = decide(world, tick.at)
    return Seen(tick, world, plan, same=digest(plan)[0] == tick.plan)


def explained(
    deployment: Deployment, kind: str, number: int, *, project: str | None = None, seen: Seen | None = None
) -> dict[str, Any]:
    """Where an issue or pull request stands: state, first thing in the way, who can clear it, since when, cost so far.

    ``seen``: the tick to ask; default: the newest. Raises UsageError when it saw no such thing.
    """
    repo, _ = project_of(deployment, project)
    seen = seen or newest(deployment, repo)
    if seen is None:
        raise UsageError(f"explaining {kind} {number}: no tick has looked at {repo} yet", hint="factory up --detach")
    told = explain(seen.world, seen.plan, kind, number)
    if told is None:
        raise UsageError(
            f"explaining {kind} {number}: the last tick ({_when(seen.tick.at)}) does not know it",
            hint=_other_kind(seen.world, kind, number) or "it is closed since long, or there is no such number",
        )
    folder = {"issue": "issues", "pull": "pulls"}[kind]
    return {
        "project": str(repo),
        "kind": kind,
        "number": number,
        "title": told.title,
        "url": f"{deployment.host.forge_url.rstrip('/')}/{repo}/{folder}/{number}",
        "state": told.state,
        "doing": list(told.doing),
        "rule": told.rule,
        "reason": told.reason,
        "clears": told.clears,
        "since": told.since.isoformat() if told.since else None,
        "cost_usd": round(told.cost.cost_usd, 4),
        "scripted": told.cost.scripted,
        "runs": [run_facts(run) for run in told.runs],
        "actions": [{"id": id, "state": state} for id, state in told.actions],
        "pull": told.pull,
        "pull_explanation": (
            explained(deployment, "pull", told.pull, project=str(repo), seen=seen) if told.pull is not None else None
        ),
        "tick": seen.tick.number,
        "as_of": seen.tick.at.isoformat(),
        "same_plan": seen.same,
    }


def _other_kind(world: World, kind: str, number: int) -> str | None:
    if kind == "issue" and any(f.pull.number == number for f in world.pulls):
        return f"#{number} is a pull request: factory explain pull {number}"
    if kind == "pull" and any(f.issue.number == number for f in world.issues):
        return f"#{number} is an issue: factory explain issue {number}"
    return None


def replayed(deployment: Deployment, number: int | None = None, *, project: str | None = None) -> dict[str, Any]:
    """Decide a recorded tick again. ``same``: the plan has the recorded digest. Raises UsageError (see WorldStore)."""
    repo, _ = project_of(deployment, project)
    worlds = store(deployment, repo)
    if number is None:
        number = max((tick.number for tick in worlds.ticks()), default=None)
    if number is None:
        raise UsageError(f"replaying a tick of {repo}: none is recorded yet", hint="factory up --detach")
    seen = _seen(worlds, number)
    return {
        "project": str(repo),
        "tick": seen.tick.number,
        "at": seen.tick.at.isoformat(),
        "world": seen.tick.world,
        "plan": {"recorded": seen.tick.plan, "recomputed": digest(seen.plan)[0]},
        "same": seen.same,
        "effects": [_effect(effect) for effect in seen.plan.effects],
        "skips": [skip_facts(skip) for skip in seen.plan.skips],
    }


def _effect(effect: Effect) -> dict[str, Any]:
    return {
        "id": effect.id,
        "subject": named(effect.subject),
        "kind": effect.kind,
        "reason": effect.reason,
        "operations": [operation_name(operation) for operation in effect.operations],
        "run": effect.run,
    }


def skip_facts(skip: Skip) -> dict[str, Any]:
    """One thing not done, for JSON and text."""
    return {
        "subject": named(skip.subject),
        "rule": skip.rule,
        "reason": skip.reason,
        "clears": skip.clears,
        "since": skip.since.isoformat() if skip.since else None,
    }


def named(subject: Subject) -> str:
    """``issue #3``, ``pull #4``, ``commit 1a2b3c4d5e6f``: as a person says it."""
    if subject.kind in ("issue", "pull"):
        return f"{subject.kind} #{subject.id}"
    return f"{subject.kind} {subject.id[:12]}"


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
