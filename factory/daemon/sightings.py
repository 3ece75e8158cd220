"""What this host saw of an issue when its start label first appeared: the text somebody trusted agreed to.

Kept in a file of its own: forgetting it would let a text that was changed in between pass as the one that was labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from factory.config.home import write_private
from factory.forge.values import Issue, TimelineEvent
from factory.plan.labels import START
from factory.plan.trust import text_digest
from factory.runs.codec import Malformed, compact, decode, encode, parse_json


@dataclass(frozen=True)
class Sighting:
    """The newest start label event, and the issue as it was then."""

    event: int
    digest: str
    updated_at: datetime


@dataclass
class Sightings:
    """Issue number -> sighting, for one project."""

    file: Path
    seen: dict[str, Sighting] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> Sightings:
        """Unreadable is as if nothing had been seen: the plan then asks for the label anew."""
        try:
            return cls(file, decode(dict[str, Sighting], parse_json(file.read_bytes())))
        except (FileNotFoundError, Malformed):
            return cls(file)

    def of(self, issue: Issue, timeline: tuple[TimelineEvent, ...]) -> Sighting | None:
        """The sighting of the newest start label, noted now if it is new. None: the label is not set."""
        events = [e for e in timeline if e.kind == "label" and e.label == START and e.added]
        if START not in issue.labels or not events:
            return None
        newest = max(events, key=lambda e: (e.created_at, e.id))
        known = self.seen.get(str(issue.number))
        if known is None or known.event != newest.id:
            known = Sighting(newest.id, text_digest(issue), issue.updated_at)
            self.seen[str(issue.number)] = known
            write_private(self.file, compact(encode(self.seen)).encode())
        return known
