"""This host's sign of life for the other hosts of one ops repo: pushed while it runs something, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from factory.errors import FactoryError
from factory.git.leases import host_ref, lease_update
from factory.git.transport import Remote, push
from factory.process.lock import boot_id

EVERY = timedelta(minutes=5)
"""A third of the silence after which another host takes our runs for lost (plan/recovery.py)."""


@dataclass
class Heartbeat:
    """One per ops repo. A beat that fails costs nothing but its own time: the next tick tries again."""

    mirror: Callable[[], Path]
    remote: Remote
    host: str
    said: Callable[[str], None]
    _last: datetime | None = None

    def beat(self, live: Iterable[str], refs: Mapping[str, str], now: datetime) -> bool:
        """Push a beat when one is due. ``live``: this host's running runs; ``refs``: the ops repo's, as just seen."""
        runs = sorted(live)
        if not runs:
            self._last = None
            return False
        if self._last is None:
            self._last = now  # the lease of the run that just started is a sign of life itself
        if now - self._last < EVERY:
            return False
        ref = host_ref(self.host)
        try:
            update = lease_update(
                self.mirror(), ref, run=runs[0], host=self.host, epoch=0, boot=boot_id(), at=now,
                previous=refs.get(ref),
            )  # fmt: skip
            push(self.mirror(), self.remote, [update])
        except FactoryError as error:
            self.said(f"the heartbeat was not pushed: {error.message}")
            return False
        self._last = now
        return True
