from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.runs.ids import RUN_ID, run_id, run_time

TIMES = st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@given(TIMES, TIMES, st.text())
def test_ids_sort_by_time(a: datetime, b: datetime, intent: str) -> None:
    first, second = run_id(a, intent), run_id(b, intent)
    assert RUN_ID.fullmatch(first)
    if b - a >= timedelta(milliseconds=1):
        assert first < second


@given(TIMES, st.text())
def test_the_time_can_be_read(at: datetime, intent: str) -> None:
    assert timedelta(0) <= at - run_time(run_id(at, intent)) < timedelta(milliseconds=1)


def test_one_intent_is_one_run_and_two_are_two() -> None:
    at = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
    assert run_id(at, "dev:3:1") == run_id(at.astimezone(timezone(timedelta(hours=5))), "dev:3:1")
    assert run_id(at, "dev:3:1") != run_id(at, "dev:3:2")
    assert run_id(at, "dev:3:1").startswith("r20261121T091500000-")


def test_a_time_without_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError):
        run_id(datetime(2026, 1, 1), "x")  # noqa: DTZ001


@pytest.mark.parametrize("text", ["", "r2026", "x20261121T091500000-00000000", "r20261121T091500000-0000000g"])
def test_what_is_no_id_has_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        run_time(text)
