"""Runs whose host died: recorded as lost, so that the next tick may start them again from their last checkpoint."""

from __future__ import annotations

from datetime import datetime, timedelta

from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Obstacle, World
from factory.plan.operations import FinishRun
from factory.runs.journal import lost
from factory.runs.model import RunRecord

SILENCE = timedelta(minutes=15)
"""How long another host may be silent before its runs count as lost. Its leases only save work: should it return, the
epoch of whoever took over fences it."""


def judge(world: World, record: RunRecord, now: datetime) -> Effect | Obstacle | None:
    """What to do about one unfinished run: None while there is no reason to doubt it."""
    if any(settled.spec.run == record.run for settled in world.settled):
        return None
    if record.host == world.host.host:
        return _lost(world, record, now, "its process ended without a result") if record.run in world.dead else None
    seen = world.heartbeats.get(record.host)
    leases = [lease.at for lease in world.leases if lease.run == record.run]
    last = max([record.started_at, *leases, *([seen] if seen else [])])
    if now - last < SILENCE:
        return None
    return _lost(world, record, now, f"host {record.host} is silent since {last:%Y-%m-%d %H:%M:%S} UTC")


def _lost(world: World, record: RunRecord, now: datetime, why: str) -> Effect | Obstacle:
    if record.subject in world.locked:
        return Obstacle("unconfirmed", "an effect on it is decided and not yet confirmed", "the next tick")
    ended = lost(record, max(now, record.started_at), why)
    return Effect(
        id=effect_id(record.subject, "lost", record.run),
        subject=record.subject,
        kind="lost",
        reason=f"{record.run} is lost: {why}",
        operations=(FinishRun(ended, record.subject.key),),
        preconditions=Preconditions(),
        run=record.run,
    )
