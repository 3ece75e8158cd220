from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from factory.config.schedule import parse_schedule

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"), [("every 10m", 600), ("every 12 h", 43200), ("EVERY 1d", 86400), ("every 30s", 30)]
)
def test_intervals(text: str, seconds: int) -> None:
    schedule = parse_schedule(text)
    assert schedule.seconds == seconds
    assert schedule.due(None, NOW) == NOW
    assert schedule.due(NOW, NOW) == NOW + timedelta(seconds=seconds)


def test_cron_in_utc() -> None:
    schedule = parse_schedule("0 6 * * mon")
    assert schedule.due(NOW, NOW) == datetime(2026, 11, 23, 6, tzinfo=UTC)
    elsewhere = NOW.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:00").tzinfo)
    assert schedule.due(elsewhere, NOW) == datetime(2026, 11, 23, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "every", "every 5s", "every 500d", "10m", "* * * *", "61 * * * *", "0 0 31 2 *", "x" * 500]
)
def test_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="interval"):
        parse_schedule(text)
