"""The journal as the daemon sees it: folded runs, read once and then only what is new."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from factory.errors import Problem
from factory.runs.journal import entries_since, fold
from factory.runs.model import RunRecord


class JournalView:
    """Holds the fold of everything up to a tip. Lost with the process and rebuilt from git."""

    def __init__(self) -> None:
        self._tip: str | None = None
        self._records: tuple[RunRecord, ...] = ()
        self.problems: tuple[Problem, ...] = ()

    def read(self, mirror: Path, tip: str | None, now: datetime, keep: timedelta) -> tuple[RunRecord, ...]:
        """Unfinished runs and those that ended within ``keep``, oldest first. Raises GitFailed."""
        if tip is not None and tip != self._tip:
            reading = entries_since(mirror, self._tip, tip, since=None if self._tip else (now - keep).date())
            self._records = fold(reading.entries, self._records)
            self.problems = (*self.problems, *reading.problems)[-50:]
            self._tip = tip
        kept = tuple(r for r in self._records if r.finished_at is None or now - r.finished_at < keep)
        self._records = kept
        return kept
