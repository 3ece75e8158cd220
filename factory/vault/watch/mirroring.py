"""The ledger's copy on another machine: brought up to date where it is behind, and compared with the forge's.

Not part of the trusted part: nothing here starts or stops an action. The copy only ever moves forward; what stands
there is never replaced or removed, whatever it is. What is copied is what a dispatcher of this host found to be a
ledger (its high-water mark), so that a forged entry does not get to where nobody could take it back.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from factory.config.home import write_private
from factory.errors import NotFound, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, fetch, ls_remote, push

LEDGER = "refs/heads/ledger"
THERE = "refs/heads/there"
NAME = "mirror.json"
LIST_S, FETCH_S = 20.0, 120.0
"""For one answer of the mirror, and for all of its ledger."""


class Standing(StrEnum):
    """How the mirror's ledger stands to the forge's."""

    SAME = "same"
    BEHIND = "behind"
    """Entries are missing there; they come with the next copy."""
    EMPTY = "empty"
    AHEAD = "ahead"
    """It has entries that the forge's ledger lost."""
    DIVERGED = "diverged"
    """Each has entries that the other has not."""
    OTHER = "other"
    """They do not begin with the same entry."""


ALARMS = frozenset({Standing.AHEAD, Standing.DIVERGED, Standing.OTHER})


@dataclass(frozen=True)
class Compared:
    """Both tips. ``lacks``: entries that only the forge's ledger has; ``more``: those that only the mirror has."""

    standing: Standing
    ledger: str
    mirror: str
    lacks: int = 0
    more: int = 0

    @property
    def alarm(self) -> str:
        """What a person must know of it; empty: it is as it should be."""
        if self.standing not in ALARMS:
            return ""
        tips = f"the forge's ledger ends with {self.ledger[:12]}, the mirror with {self.mirror[:12]}"
        if self.standing is Standing.AHEAD:
            return f"{tips}, {self.more} entries further on: the forge lost them (an older backup, a ledger cut off)"
        if self.standing is Standing.DIVERGED:
            return f"{tips}; {self.more} entries are only there and {self.lacks} only on the forge: one was rewritten"
        return f"{tips}, and they do not begin with the same entry: it is the copy of another ledger"

    @property
    def hint(self) -> str | None:
        """What to do about the alarm."""
        if self.standing is Standing.OTHER:
            return "begun anew on purpose? rename the branch at the mirror; the next copy makes it again"
        return "find out why; then factory vault mirror bring-back --reason ..." if self.alarm else None


@dataclass(frozen=True)
class Sides:
    """Where the three are. ``copy``: this host's copy of the ops repo; ``ref``: the ledger's branch at the mirror;
    ``scratch``: a folder for what is fetched to be looked at."""

    copy: Path
    forge: Remote
    mirror: Remote
    ref: str
    scratch: Path


@dataclass(frozen=True)
class Look:
    """What the last look found, kept over restarts. ``seen``: the high-water mark it went by."""

    url: str
    at: datetime
    seen: str
    compared: Compared | None = None
    trouble: str = ""
    """Why nothing could be compared or copied."""


def branch_of(ops: str) -> str:
    """The ledger's branch at the mirror, which may serve several: ``ops`` is ``owner/name``."""
    return f"refs/heads/ledger/{ops}"


def compare(repo: Path, ledger: str, mirror: str | None) -> Compared:
    """Two ledgers of which ``repo`` holds all. Raises GitFailed."""
    if not mirror:
        return Compared(Standing.EMPTY, ledger, "", objects.count_commits(repo, ledger))
    if ledger == mirror:
        return Compared(Standing.SAME, ledger, mirror)
    if objects.merge_base(repo, ledger, mirror) is None:
        return Compared(Standing.OTHER, ledger, mirror)
    lacks, more = objects.ahead_behind(repo, ledger, mirror)
    standing = Standing.DIVERGED if lacks and more else Standing.AHEAD if more else Standing.BEHIND
    return Compared(standing, ledger, mirror, lacks, more)


def look(sides: Sides, seen: str) -> Compared:
    """Compare, and before that copy up to ``seen`` where the mirror's is the beginning of that; empty: copy nothing.

    One request to the mirror, two where something is copied. The forge is asked only where what this host knows of it
    does not explain what the mirror has. Raises ForgeError, Conflict, GitFailed: nothing is known then."""
    there = ls_remote(sides.mirror, (sides.ref,), timeout_s=LIST_S).get(sides.ref)
    if seen and seen != there and objects.exists(sides.copy, seen) and _holds(sides.copy, seen, there):
        try:  # from the very commit that was looked at, which the new one contains: nothing can be lost there
            push(sides.copy, sides.mirror, [RefUpdate(sides.ref, seen, there)])
            there = seen
        except RefMoved:  # another host of ours copied meanwhile, or somebody else wrote there: it is compared below
            there = ls_remote(sides.mirror, (sides.ref,), timeout_s=LIST_S).get(sides.ref)
    ledger = objects.read_ref(sides.copy, LEDGER)
    if ledger is not None and _holds(sides.copy, ledger, there):
        return compare(sides.copy, ledger, there)
    with together(sides) as (repo, ledger, there):
        return compare(repo, ledger, there)


def _holds(repo: Path, tip: str, commit: str | None) -> bool:
    """Whether ``tip`` goes on from the commit; from nothing everything does."""
    return commit is None or (objects.exists(repo, commit) and objects.is_ancestor(repo, commit, tip))


@contextmanager
def together(sides: Sides) -> Iterator[tuple[Path, str, str | None]]:
    """A repo for as long as the body lasts that holds the forge's ledger and the mirror's as they are now, with their
    tips. Raises as ``look``."""
    with _scratch(sides) as repo:
        fetch(repo, sides.forge, [f"+{LEDGER}:{LEDGER}"], timeout_s=FETCH_S)
        there = _fetched(repo, sides)
        ledger = objects.read_ref(repo, LEDGER)
        assert ledger is not None
        yield repo, ledger, there


def far_mark(sides: Sides) -> bytes | None:
    """A high-water mark of what the mirror has, in the form of the dispatcher's own; None: it has nothing. Raises as
    ``look``."""
    with _scratch(sides) as repo:
        tip = _fetched(repo, sides)
        if tip is None:
            return None
        commits = objects.log(repo, tip, first_parent=True)
        return json.dumps({"root": commits[-1].oid, "tip": tip, "count": len(commits)}).encode()


def _fetched(repo: Path, sides: Sides) -> str | None:
    try:
        fetch(repo, sides.mirror, [f"+{sides.ref}:{THERE}"], timeout_s=FETCH_S)
    except NotFound:
        if sides.ref in ls_remote(sides.mirror, (sides.ref,), timeout_s=LIST_S):
            raise
        return None  # the repo is there; that branch is not
    return objects.read_ref(repo, THERE)


@contextmanager
def _scratch(sides: Sides) -> Iterator[Path]:
    sides.scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = Path(tempfile.mkdtemp(prefix="factory-mirror-", dir=sides.scratch))
    try:
        repo = place / "both.git"
        objects.init_bare(repo)
        if objects.is_repo(sides.copy):  # what is here already is not fetched again
            info = repo / "objects" / "info"
            info.mkdir(exist_ok=True)
            (info / "alternates").write_text(f"{(sides.copy / 'objects').absolute()}\n", encoding="utf-8")
        yield repo
    finally:
        shutil.rmtree(place, ignore_errors=True)


def write(folder: Path, found: Look) -> None:
    """Keep it, whole or not at all. Raises OSError."""
    write_private(folder / NAME, json.dumps({**asdict(found), "at": found.at.isoformat()}, indent=1).encode())


def read(folder: Path) -> Look | None:
    """The last look; None before there was one, and for a file that cannot be read."""
    try:
        told = json.loads((folder / NAME).read_bytes())
        compared = told["compared"]
        if compared is not None:
            compared = Compared(**{**compared, "standing": Standing(compared["standing"])})
        return Look(told["url"], datetime.fromisoformat(told["at"]), told["seen"], compared, told["trouble"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
