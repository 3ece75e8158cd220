from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from factory.config.model import Budgets
from factory.runs.budget import cost, may_reserve, reservation, spent
from factory.runs.model import UNKNOWN_USAGE, Cause, RunRecord, RunState, Usage

Record = Callable[..., RunRecord]
LIMITS = Budgets(run_usd=2, role_day_usd=5, project_day_usd=8, project_month_usd=20)


def used(usd: float) -> Usage:
    return Usage(requests=3, input_tokens=100, output_tokens=10, cost_usd=usd)


@pytest.mark.parametrize(
    ("changes", "usd"),
    [
        ({}, 2.0),
        ({"usage": used(0.5)}, 2.0),
        ({"usage": used(3.0)}, 3.0),
        ({"state": RunState.SUCCEEDED, "usage": used(0.5)}, 0.5),
        ({"state": RunState.FAILED, "cause": Cause.GATE, "usage": used(0.5)}, 0.5),
        ({"state": RunState.LOST, "cause": Cause.LOST, "usage": UNKNOWN_USAGE}, 2.0),
        ({"state": RunState.LOST, "cause": Cause.LOST, "usage": used(0.7)}, 0.7),
        ({"state": RunState.LOST, "cause": Cause.LOST, "usage": replace(used(3.0), known=False)}, 3.0),
        ({"state": RunState.SUCCEEDED, "usage": UNKNOWN_USAGE}, 2.0),
        ({"state": RunState.FAILED, "cause": Cause.SANDBOX, "usage": UNKNOWN_USAGE}, 2.0),
        # Whoever counts the requests says that there was none.
        ({"state": RunState.FAILED, "cause": Cause.BUG, "usage": Usage()}, 0.0),
        ({"state": RunState.FAILED, "cause": Cause.BACKEND, "usage": Usage()}, 0.0),
        ({"state": RunState.CANCELLED, "cause": Cause.CANCELLED, "usage": Usage()}, 0.0),
        ({"state": RunState.SUCCEEDED, "reserved_usd": 0.0, "usage": UNKNOWN_USAGE}, 0.0),
    ],
)
def test_what_a_run_counts_as(record: Record, changes: dict[str, object], usd: float) -> None:
    assert cost(record(**changes)) == usd


def test_sums_by_day_role_and_month(record: Record, now: datetime) -> None:
    done = {"state": RunState.SUCCEEDED}
    records = [
        record(**done, usage=used(1.0)),
        record(**done, usage=used(0.5), role="reviewer"),
        record(**done, usage=used(4.0), started_at=now - timedelta(days=1)),
        record(**done, usage=used(9.0), started_at=now - timedelta(days=40)),
        record(run="running since yesterday", started_at=now - timedelta(days=1)),
    ]
    assert spent(records, now) == {
        "project:day": 3.5,
        "role:dev:day": 3.0,
        "role:reviewer:day": 0.5,
        "project:month": 7.5,
    }


def test_days_are_utc(record: Record) -> None:
    late = datetime.fromisoformat("2026-11-21T23:30:00-05:00")
    run = record(state=RunState.SUCCEEDED, usage=used(1.0), started_at=late)
    assert spent([run], datetime.fromisoformat("2026-11-22T01:00:00+00:00"))["project:day"] == 1.0
    assert spent([run], datetime.fromisoformat("2026-11-21T23:00:00+00:00"))["project:day"] == 0.0


def test_nothing_spent_is_said_too(now: datetime) -> None:
    assert spent([], now) == {"project:day": 0.0, "project:month": 0.0}


@pytest.mark.parametrize(
    ("already", "usd", "setting"),
    [
        ({}, 2.0, None),
        ({"role:dev:day": 3.0}, 2.0, None),
        ({"role:dev:day": 3.01}, 2.0, "role_day_usd"),
        ({"role:reviewer:day": 5.0}, 2.0, None),
        ({"project:day": 6.5}, 2.0, "project_day_usd"),
        ({"project:month": 19.0}, 2.0, "project_month_usd"),
        ({"project:month": 99.0}, 0.0, None),
    ],
)
def test_a_run_starts_only_within_its_budgets(already: dict[str, float], usd: float, setting: str | None) -> None:
    reason = may_reserve(LIMITS, already, role="dev", usd=usd)
    assert (reason is None) == (setting is None)
    if setting is not None:
        assert reason is not None
        assert setting in reason
        assert "$2.00" in reason


def test_ten_times_a_tenth_is_one() -> None:
    limits = Budgets(run_usd=1, role_day_usd=1, project_day_usd=1, project_month_usd=1)
    assert may_reserve(limits, {"project:day": sum([0.1] * 9)}, role="dev", usd=0.1) is None


def test_parallel_starts_see_each_others_reservation(record: Record, now: datetime) -> None:
    running = [record(run=f"r{i}") for i in range(2)]
    sums = spent(running, now)
    assert sums["role:dev:day"] == 4.0
    assert may_reserve(LIMITS, sums, role="dev", usd=2.0) is not None


def test_a_reservation_is_the_smaller_limit() -> None:
    assert reservation(1.5, LIMITS) == 1.5
    assert reservation(9.0, LIMITS) == 2
    assert reservation(-1.0, LIMITS) == 0
