"""Appending to the journal on the remote: a segment on its tip, pushed by compare-and-swap; again when it moved."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from factory.errors import Conflict, GitFailed, NotFound, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, fetch, push
from factory.git.values import Signature
from factory.process.lock import hold
from factory.runs.journal import REF, Entry, next_seq, segment_commit

ATTEMPTS = 40
_LOCK_WAIT_S = 120.0


@dataclass(frozen=True)
class Appended:
    """A confirmed append to the journal."""

    commit: str
    """The journal's new tip."""
    attempts: int


def short_wait(attempt: int) -> None:
    """Full jitter, growing to two seconds."""
    time.sleep(random.uniform(0, min(2.0, 0.05 * 2 ** min(attempt, 6))))  # noqa: S311


def append(
    remote: Remote,
    mirror: Path,
    entries: Sequence[Entry],
    *,
    host: str,
    now: datetime,
    author: Signature,
    also: Sequence[RefUpdate] = (),
    attempts: int = ATTEMPTS,
    wait: Callable[[int], None] = short_wait,
) -> Appended:
    """Add one segment with these entries to the remote's journal; returns when the remote has it.

    ``also``: updates of other refs (a lease) that land in the same atomic push or not at all. Where one of those moved,
    RefMoved is raised and nothing was written. ``mirror`` is a bare repo of this host; its journal ref follows.
    Raises Conflict when the journal kept moving, ForgeError when the outcome could not be had."""
    with hold(mirror / "factory-journal.lock", timeout_s=_LOCK_WAIT_S):
        tip = objects.read_ref(mirror, REF)
        if tip is None:
            tip = fetch_journal(remote, mirror)
        for attempt in range(1, attempts + 1):
            seq = next_seq(mirror, tip, host, now)
            commit = segment_commit(mirror, tip, entries, host, seq, now, author)
            try:
                push(mirror, remote, [RefUpdate(REF, commit, tip), *also], atomic=True)
            except RefMoved:
                moved_on = fetch_journal(remote, mirror)
                if moved_on == tip:
                    raise  # the journal is where we thought: it was another ref of this push
                tip = moved_on
                wait(attempt)
                continue
            try:
                objects.update_ref(mirror, REF, commit, tip)
            except RefMoved:
                pass  # somebody fetched a newer tip meanwhile
            return Appended(commit, attempt)
    raise Conflict(f"appending to the journal: it moved {attempts} times in a row", hint="it is tried again")


def fetch_journal(remote: Remote, mirror: Path) -> str | None:
    """Bring the journal's objects and ref into the mirror; its tip, None when the remote has no journal yet."""
    for patience in (0.05, 0.2, 0.5, None):
        try:
            fetch(mirror, remote, [f"+{REF}:{REF}"])
        except NotFound:
            return None
        except GitFailed:  # another process of this host was fetching into the same ref
            if patience is None:
                raise
            time.sleep(random.uniform(patience / 2, patience))  # noqa: S311
            continue
        return objects.read_ref(mirror, REF)
    return None
