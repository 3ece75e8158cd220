from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from factory.runs.model import Cause, RunRecord, RunState
from factory.runs.retry import RULES, GiveUp, Retry, retry_decision

Record = Callable[..., RunRecord]


def ended(record: Record, now: datetime, *causes: Cause | None) -> list[RunRecord]:
    """Runs a minute apart with these ends; None is a success."""
    found = []
    for index, cause in enumerate(causes):
        state = RunState.SUCCEEDED if cause is None else RunState.LOST if cause is Cause.LOST else RunState.FAILED
        at = now + timedelta(minutes=index)
        found.append(record(run=f"r{index}", state=state, cause=cause, started_at=at, finished_at=at))
    return found


def test_every_cause_has_a_rule() -> None:
    assert set(RULES) == set(Cause)
    for rule in RULES.values():
        assert rule.tries >= 1
        assert rule.then
        assert rule.tries == 1 or rule.backoff


@pytest.mark.parametrize("cause", list(Cause))
def test_every_cause_ends_after_its_tries(cause: Cause, record: Record, now: datetime) -> None:
    tries = RULES[cause].tries
    for count in range(1, tries):
        decision = retry_decision(cause, ended(record, now, *[cause] * count), now)
        assert isinstance(decision, Retry)
        assert decision.attempt == count + 1
    decision = retry_decision(cause, ended(record, now, *[cause] * tries), now)
    assert isinstance(decision, GiveUp)
    assert RULES[cause].then in decision.reason
    assert decision.attempts == tries


def test_a_lost_run_is_tried_at_once_in_its_round(record: Record, now: datetime) -> None:
    assert retry_decision(Cause.LOST, ended(record, now, Cause.LOST), now) == Retry(now, same_round=True, attempt=2)


def test_the_wait_grows_and_counts_from_the_end(record: Record, now: datetime) -> None:
    history = ended(record, now, Cause.GIT, Cause.GIT)
    late = now + timedelta(hours=3)
    decision = retry_decision(Cause.GIT, history, late)
    assert isinstance(decision, Retry)
    assert decision.at == now + timedelta(minutes=1, seconds=60)
    assert decision == retry_decision(Cause.GIT, history, late + timedelta(days=1)), "asking again changes nothing"


def test_quota_stops_the_backend_until_its_reset(record: Record, now: datetime) -> None:
    history = ended(record, now, Cause.QUOTA)
    reset = now + timedelta(hours=2)
    assert retry_decision(Cause.QUOTA, history, now, reset=reset) == Retry(reset, True, 2, backend_until=reset)
    unknown = retry_decision(Cause.QUOTA, history, now)
    assert isinstance(unknown, Retry)
    assert unknown.backend_until == now + timedelta(minutes=15)


@pytest.mark.parametrize(
    ("causes", "attempt"),
    [
        ((Cause.NO_CHANGES, None, Cause.NO_CHANGES), 2),
        ((Cause.GATE, Cause.LOST, Cause.GATE), 3),
        ((Cause.GATE, Cause.NO_CHANGES, Cause.GATE), 2),
    ],
)
def test_only_ends_in_a_row_count(
    causes: tuple[Cause | None, ...], attempt: int, record: Record, now: datetime
) -> None:
    last = causes[-1]
    assert last is not None
    decision = retry_decision(last, ended(record, now, *causes), now)
    assert isinstance(decision, Retry)
    assert decision.attempt == attempt


def test_a_run_that_still_lives_is_no_end(record: Record, now: datetime) -> None:
    history = [*ended(record, now, Cause.LOST), record(run="r9")]
    assert isinstance(retry_decision(Cause.LOST, history, now), Retry)
