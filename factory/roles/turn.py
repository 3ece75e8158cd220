"""All roles' intents of one tick, and the plan that follows: what the daemon, ``explain`` and ``replay-tick`` call."""

from __future__ import annotations

from datetime import datetime

from factory.plan import decide as planning
from factory.plan.effect import Plan
from factory.plan.explain import Explanation
from factory.plan.explain import explain as planning_explain
from factory.plan.model import Intent, World
from factory.roles import dev


def intents(world: World, now: datetime) -> tuple[Intent, ...]:
    """What every active role wants. (Reviews are named by ``plan.pulls``: that role looks at nothing by itself.)"""
    return dev.look(world, now)


def decide(world: World, now: datetime) -> Plan:
    """The plan of one tick: a pure function of the World and the time."""
    return planning.decide(world, now, intents(world, now))


def explain(world: World, now: datetime, kind: str, number: int) -> Explanation | None:
    """``factory explain issue|pull N``: what the tick would decide at ``now``, seen from that subject."""
    return planning_explain(world, decide(world, now), kind, number)
