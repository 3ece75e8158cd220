"""Schedules as written in files: ``every 10m`` or a five-field cron expression (UTC)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cronsim import CronSim, CronSimError

_EVERY = re.compile(r"every (\d{1,6}) ?(s|m|h|d)")
_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MIN_SECONDS = 10
EXAMPLE = 'for example "every 10m" or "0 6 * * *" (UTC)'
"""Hint for a schedule that does not read."""


@dataclass(frozen=True)
class Schedule:
    """When a role looks. Exactly one of ``seconds`` and ``cron`` is set."""

    text: str
    seconds: int | None = None
    cron: str | None = None

    def due(self, last: datetime | None, now: datetime) -> datetime:
        """When the next start is due, from the last start (aware UTC); never started: now."""
        if last is None:
            return now
        if self.seconds is not None:
            return last + timedelta(seconds=self.seconds)
        assert self.cron is not None
        return next(CronSim(self.cron, last.astimezone(UTC)))


def parse_schedule(text: str) -> Schedule:
    """Read a schedule; raises ValueError with what is wrong."""
    plain = " ".join(text.split()).lower()
    found = _EVERY.fullmatch(plain)
    if found:
        seconds = int(found[1]) * _UNIT[found[2]]
        if not MIN_SECONDS <= seconds <= 366 * 86400:
            raise ValueError("an interval is at least 10 seconds and at most a year")
        return Schedule(text, seconds=seconds)
    try:
        next(CronSim(plain.upper(), datetime(2026, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError("neither an interval nor a five-field cron expression that ever fires") from error
    return Schedule(text, cron=plain.upper())
