"""Whether a demo can still end by itself, judged from what the last tick saw and decided. Pure."""

from __future__ import annotations

from collections.abc import Collection

from factory.plan.effect import Plan
from factory.plan.model import World
from factory.runs.model import Cause, RunState

MISMATCH = "mismatch:"
"""How the gateway begins when a session and its script part."""
PERSON = "a person"
APPROVAL = "approval"
"""The rule of a vault action that waits for one."""


def off_script(world: World) -> str | None:
    """The first session that did not follow its script. It is played the same way again, so it will not end better."""
    for run in world.runs:
        if run.state is RunState.FAILED and run.cause is Cause.BACKEND and run.detail.startswith(MISMATCH):
            return f"{run.formula} on {run.subject.kind} #{run.subject.id} left its script: {run.detail}"
    return None


def needs_person(plan: Plan) -> str | None:
    """What only a person can clear, and the demo has none."""
    for skip in plan.skips:
        if skip.rule == APPROVAL:
            continue  # the demo gives it, or the person who wants to give it themselves
        if skip.subject.kind in ("issue", "pull") and skip.clears.startswith(PERSON):
            return f"{skip.subject.kind} #{skip.subject.id} waits for a person: {skip.reason}"
    return None


CUT_OFF = frozenset({"UNKNOWN", "FENCED"})
"""Of an action whose run was lost. What it sent last may be under way for a minute, so for so long nobody looks."""


def waits_for_time(plan: Plan | None, actions: Collection[str] = ()) -> bool:
    """Whether something goes on by itself after a while: a session is tried again, or it is found out whether an action
    that was cut off was done. ``actions``: the kind of each one's last entry on the ledger."""
    return not CUT_OFF.isdisjoint(actions) or any(skip.clears == "time" for skip in (plan.skips if plan else ()))
