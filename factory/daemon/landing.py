"""Landing what the ops writer made: on ``main`` and, in the same push, as a line of the journal.

A commit on ``main`` that is neither such a line nor an approved merge was somebody else's: the vault freezes then
(``vault/watch/explained.py``). Both refs move or neither, so there is no moment in which one is there alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from factory.git.transport import RefUpdate, Remote
from factory.git.values import Signature
from factory.ops.writer import Land
from factory.runs.append import append
from factory.runs.journal import ops_commit


def recorded(remote: Remote, mirror: Path, host: str, author: Signature) -> Land:
    """``ops.writer.Land`` that lists the commit on the journal. Raises as ``append`` does."""

    def land(update: RefUpdate, paths: Sequence[str], why: str) -> None:
        now = datetime.now(UTC)
        entry = ops_commit(now, host, commit=update.new or "", paths=paths, why=why)
        append(remote, mirror, [entry], host=host, now=now, author=author, also=[update])

    return land
