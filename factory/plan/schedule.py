"""Roles that look on a schedule: when the next look is due, from the last start that the journal knows. Pure.

The last start is the journal's and not this process's, so a restart neither repeats a look nor skips one.
"""

from __future__ import annotations

from datetime import datetime

from factory.config.schedule import Schedule, parse_schedule
from factory.plan.model import Obstacle, World


def of_role(world: World, role: str) -> Schedule | None:
    """The role's schedule: ``[schedules]`` in factory.toml, else its own; None: it looks at every tick."""
    definition = world.roles.get(role)
    text = world.config.schedules.get(role) or (definition.schedule if definition is not None else None)
    return parse_schedule(text) if text else None


def due(world: World, role: str, now: datetime) -> datetime | None:
    """When the role looks next; None when it has no schedule. Never started: now."""
    schedule = of_role(world, role)
    if schedule is None:
        return None
    definition = world.roles.get(role)
    # Its first formula is what it looks for by itself; mending a pull request in between is no look.
    looks = definition.formulas[:1] if definition is not None else ()
    last = max((run.started_at for run in world.runs if run.role == role and run.formula in looks), default=None)
    return schedule.due(last, now)


def in_the_way(world: World, role: str, now: datetime) -> Obstacle | None:
    """The schedule, while the role's next look lies ahead."""
    at = due(world, role, now)
    if at is None or at <= now:
        return None
    return Obstacle(
        "schedule", f"{role} looks again at {at:%Y-%m-%d %H:%M:%S} UTC", "the time, or [schedules] in factory.toml"
    )


def next_look(world: World, now: datetime) -> datetime | None:
    """The earliest look that is still ahead, of any active role: the daemon wakes for it."""
    active = [role.name for role in world.roles.values() if role.active]
    ahead = [at for name in active if (at := due(world, name, now)) is not None and at > now]
    return min(ahead, default=None)
