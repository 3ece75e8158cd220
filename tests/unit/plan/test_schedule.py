"""A scheduled role looks when it is due, counted from the journal's last start."""

from __future__ import annotations

from datetime import timedelta

import pytest

from factory.plan import schedule
from factory.plan.effect import Plan
from factory.roles.turn import decide
from factory.testing import builders as b


def starts(plan: Plan) -> list[str]:
    return [effect.kind for effect in plan.effects if effect.kind.startswith("start:dev")]


def rules(plan: Plan) -> list[str]:
    return [skip.rule for skip in plan.skips if skip.subject.kind == "issue"]


@pytest.mark.parametrize(
    ("every", "minutes_ago", "is_due"), [("every 30m", 29, False), ("every 30m", 31, True), ("every 1h", 31, False)]
)
def test_a_scheduled_role_waits_for_its_time(every: str, minutes_ago: float, is_due: bool) -> None:
    earlier = b.run("dev", b.Subject(str(b.PROJECT), "issue", "9"), minutes_ago=minutes_ago)
    world = b.world([b.ready()], runs=[earlier], config=b.config(schedules={"dev": every}))
    plan = decide(world, b.NOW)
    assert bool(starts(plan)) is is_due
    assert ("schedule" in rules(plan)) is not is_due


def test_without_a_schedule_it_looks_at_every_tick() -> None:
    earlier = b.run("dev", b.Subject(str(b.PROJECT), "issue", "9"), minutes_ago=0.1)
    assert starts(decide(b.world([b.ready()], runs=[earlier]), b.NOW))


def test_a_role_that_never_started_is_due_now() -> None:
    world = b.world([b.ready()], config=b.config(schedules={"dev": "0 2 * * *"}))
    assert starts(decide(world, b.NOW))


def test_the_daemon_wakes_for_the_earliest_look_ahead() -> None:
    earlier = b.run("dev", minutes_ago=10)
    world = b.world(runs=[earlier], config=b.config(schedules={"dev": "every 30m", "reviewer": "every 2h"}))
    assert schedule.next_look(world, b.NOW) == earlier.started_at + timedelta(minutes=30)
    assert schedule.next_look(b.world(), b.NOW) is None


def test_reviews_and_repairs_do_not_wait_for_the_developers_schedule() -> None:
    world = b.world([], [b.pull()], config=b.config(schedules={"dev": "0 2 * * *"}))
    assert [e.kind for e in decide(world, b.NOW).effects if e.kind.startswith("start:")] == ["start:review-pr"]
