"""Brakes: the same effect decided again and again does not spin the daemon.

The world may not show yet what was done, or the server may keep saying no to what the plan keeps wanting. Either way
the same effect (same id: same subject, same intent) waits a little longer each time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

FIRST = timedelta(seconds=2)
LONGEST = timedelta(minutes=5)
FORGOTTEN = timedelta(minutes=30)


@dataclass(frozen=True)
class Repeat:
    """An effect that is put off: how often so far, and until when."""

    count: int
    at: datetime
    until: datetime
    reason: str


@dataclass
class Repeats:
    """In memory only: a restart may try at once."""

    _known: dict[str, Repeat] = field(default_factory=dict)

    def ended(self, effect: str, now: datetime, reason: str) -> None:
        """This effect just came to an end (done, or abandoned for ``reason``)."""
        before = self._known.get(effect)
        count = before.count + 1 if before is not None else 1
        wait = min(LONGEST, FIRST * 2 ** min(count - 1, 10))
        self._known[effect] = Repeat(count, now, now + wait, reason)
        for name in [name for name, known in self._known.items() if now - known.at > FORGOTTEN]:
            del self._known[name]

    def too_soon(self, effect: str, now: datetime) -> Repeat | None:
        """How the same effect ended, while it is not to be tried again yet; None when it may be."""
        known = self._known.get(effect)
        return known if known is not None and now < known.until else None
