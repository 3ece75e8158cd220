"""Journal and leases of one ops repo: every claim and every end is one atomic push of both."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from factory.errors import LeaseHeld, RefMoved
from factory.git import objects
from factory.git.leases import lease_ref, lease_update, read
from factory.git.transport import RefUpdate, Remote, fetch, ls_remote
from factory.git.values import Signature
from factory.plan.model import LeaseFact
from factory.process.lock import boot_id
from factory.runs.append import append
from factory.runs.ids import run_time
from factory.runs.journal import REF, Entry, entries_since, finished, started
from factory.runs.model import RunRecord


class OpsRecords:
    """The port ``effects.ports.Records``. Reads are fresh, from the remote."""

    def __init__(
        self, mirror: Callable[[], Path], remote: Remote, host: str, author: Callable[[], Signature],
        now: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._mirror, self._remote, self._host, self._author, self._now = mirror, remote, host, author, now

    def begin(self, record: RunRecord, lease: str, replaces: str | None) -> None:
        """The ``started`` entry and the lease in one push. Raises LeaseHeld when the lease is not at ``replaces``."""
        mirror, ref = self._mirror(), lease_ref(lease)
        claim = lease_update(
            mirror, ref, run=record.run, host=self._host, epoch=record.epoch, boot=boot_id(), at=record.started_at,
            previous=replaces,
        )  # fmt: skip
        self._append([started(record, self._now())], claim)

    def finish(self, record: RunRecord, lease: str) -> None:
        """The ``finished`` entry and, where the run still holds it, the release of the lease in one push."""
        holder = self.holder(lease)
        release = RefUpdate(lease_ref(lease), None, holder.commit) if holder and holder.run == record.run else None
        self._append([finished(record, self._now())], release)

    def append(self, entries: Sequence[Entry]) -> None:
        """Entries that go with no lease."""
        self._append(entries, None)

    def is_finished(self, run: str) -> bool:
        mirror = self._mirror()
        tip = self._refresh(mirror, (REF,)).get(REF)
        if tip is None:
            return False
        day = run_time(run)
        reading = entries_since(mirror, None, tip, since=day.date())
        return any(e.kind == "finished" and e.record is not None and e.record.run == run for e in reading.entries)

    def holder(self, lease: str) -> LeaseFact | None:
        mirror, ref = self._mirror(), lease_ref(lease)
        oid = self._refresh(mirror, (ref,)).get(ref)
        if oid is None:
            return None
        told = read(mirror, ref, oid)
        return LeaseFact(lease, told.run, told.host, told.epoch, told.at, oid)

    def _refresh(self, mirror: Path, refs: tuple[str, ...]) -> dict[str, str]:
        there = {ref: oid for ref, oid in ls_remote(self._remote, refs).items() if ref in refs}
        missing = [oid for oid in there.values() if not objects.exists(mirror, oid)]
        if missing:
            fetch(mirror, self._remote, missing)
        return there

    def _append(self, entries: Sequence[Entry], extra: RefUpdate | None) -> None:
        mirror = self._mirror()
        also = [extra] if extra is not None else []
        try:
            append(
                self._remote, mirror, entries, host=self._host, now=self._now(), author=self._author(), also=also
            )  # fmt: skip
        except RefMoved:
            if extra is None:
                raise
            self._refuse(mirror, extra, self._refresh(mirror, (extra.ref,)).get(extra.ref))

    def _refuse(self, mirror: Path, extra: RefUpdate, found: str | None) -> None:
        if found is None:
            raise LeaseHeld(f"{extra.ref} was released by somebody else meanwhile")
        told = read(mirror, extra.ref, found)
        raise LeaseHeld(f"{extra.ref} is held by {told.host} for {told.run} since {told.at:%Y-%m-%d %H:%M:%S} UTC")
