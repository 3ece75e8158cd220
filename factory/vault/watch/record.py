"""``sentinel.json``: what the sentinel last saw of one ops repo, kept over restarts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from factory.config.home import write_private
from factory.vault.ports import Settings
from factory.vault.watch import settings
from factory.vault.watch.settings import Facts

NAME = "sentinel.json"
KEPT = 50
"""Changes that are remembered."""
POLLS = 3
"""After so many polls without a look, what happened between is not known."""


@dataclass(frozen=True)
class Change:
    """A change and the generation that began with it."""

    generation: int
    at: datetime
    words: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """The last look. ``at`` and ``since`` are the forge's time, ``looked`` is this host's."""

    digest: str
    generation: int
    since: datetime
    """Watched without a gap and without a change since then."""
    at: datetime
    looked: datetime
    wrong: tuple[str, ...]
    facts: Facts
    changes: tuple[Change, ...] = ()
    poll_seconds: float = 0.0

    def told(self) -> Settings:
        """As the trusted part takes it."""
        last = self.changes[-1].words if self.changes else ()
        return Settings(self.digest, self.generation, self.since, self.at, "; ".join(self.wrong), "; ".join(last))

    def changed_since(self, generation: int) -> tuple[str, ...]:
        """What changed after that generation, in words, as far as it is remembered."""
        return tuple(words for change in self.changes if change.generation > generation for words in change.words)


def after(
    before: Record | None, facts: Facts, wrong: tuple[str, ...], *, at: datetime, looked: datetime, poll_seconds: float
) -> Record:
    """The record of one more look. The generation grows with every change that is seen, also back to what was; it is
    never below the time in seconds, so that losing the record does not bring an earlier one back."""
    digest = settings.digest(facts)
    fresh = at + settings.SECOND
    if before is None:
        return Record(digest, int(at.timestamp()), fresh, at, looked, wrong, facts, (), poll_seconds)
    gap = at - before.at > timedelta(seconds=POLLS * max(poll_seconds, before.poll_seconds))
    if before.digest != digest:
        generation = max(before.generation + 1, int(at.timestamp()))
        change = Change(generation, at, settings.changes(before.facts, facts))
        since = fresh if gap else settings.settled(before.facts, facts, before.at, at)
        return Record(
            digest, generation, since, at, looked, wrong, facts, (*before.changes, change)[-KEPT:], poll_seconds
        )
    since = fresh if gap else before.since
    return Record(digest, before.generation, since, at, looked, wrong, facts, before.changes, poll_seconds)


def write(folder: Path, record: Record) -> None:
    """Keep it, whole or not at all. Raises OSError."""
    write_private(folder / NAME, json.dumps({"v": 1, **asdict(record)}, default=_text, indent=1).encode())


def read(folder: Path) -> Record | None:
    """The last look; None before there was one, and for a file that cannot be read."""
    try:
        told: Mapping[str, Any] = json.loads((folder / NAME).read_bytes())
        changes = tuple(
            Change(one["generation"], datetime.fromisoformat(one["at"]), tuple(one["words"])) for one in told["changes"]
        )
        since, at, looked = (datetime.fromisoformat(told[key]) for key in ("since", "at", "looked"))
        return Record(
            str(told["digest"]), int(told["generation"]), since, at, looked, tuple(told["wrong"]), told["facts"],
            changes, float(told["poll_seconds"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _text(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()
