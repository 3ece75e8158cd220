"""The journal: what the factory started, what came of it, and what it changed, on branch ``journal`` of the ops repo.

Segments ``runs/YYYY/MM/DD/<host>-<seq>.jsonl`` are immutable; a commit only adds some. One line is one entry
(``runs/entry.py``). Reading is incremental (only the commits since the last tip) and tolerant: a kind of a newer
factory is kept, a broken line is a finding with file and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path

from factory.errors import Problem, UsageError
from factory.git import objects
from factory.git.values import CommitInfo, Signature, TreeEntry
from factory.runs.codec import Malformed
from factory.runs.entry import (
    EFFECT,
    FINISHED,
    OPS_COMMIT,
    STARTED,
    Entry,
    decode_entry,
    effect_recorded,
    encode_entry,
    finished,
    fold,
    lost,
    ops_commit,
    started,
)

__all__ = [
    "BRANCH", "EFFECT", "FINISHED", "OPS_COMMIT", "REF", "STARTED", "Entry", "Reading", "effect_recorded",
    "entries_since", "finished", "fold", "host_slug", "lost", "next_seq", "ops_commit", "segment_commit",
    "segment_path", "started",
]  # fmt: skip

BRANCH = "journal"
REF = f"refs/heads/{BRANCH}"
MAX_SEGMENT = 4_000_000
_SEGMENT = re.compile(r"runs/(\d{4})/(\d{2})/(\d{2})/([a-z0-9][a-z0-9.-]*)-(\d{6,})\.jsonl")


@dataclass(frozen=True)
class Reading:
    """Entries in the order in which their commits landed, and what could not be read or should not be there."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


def entries_since(repo: Path, old_tip: str | None, new_tip: str, *, since: date | None = None) -> Reading:
    """Entries of the commits after ``old_tip`` up to ``new_tip``, read from git objects.

    With ``old_tip`` None all segments of ``new_tip`` are read, or those of the UTC day ``since`` and later; their
    entries come in the order of their times, because that order needs no walk over the history.
    The journal only grows: a commit with several parents, a changed or deleted segment and a rewritten history are
    problems (what was added still counts). Raises GitFailed when a tip is not in ``repo``."""
    if old_tip == new_tip:
        return Reading((), ())
    if old_tip is None:
        return _read_all(repo, new_tip, since)
    if not (objects.exists(repo, old_tip) and objects.is_ancestor(repo, old_tip, new_tip)):
        again = _read_all(repo, new_tip, since)
        what = f"was rewritten: {new_tip[:12]} does not contain {old_tip[:12]}; all of it was read again"
        return Reading(again.entries, (Problem(BRANCH, None, what), *again.problems))
    problems: list[Problem] = []
    entries: list[Entry] = []
    for info in reversed(objects.log(repo, new_tip, exclude=(old_tip,), first_parent=True)):
        problems.extend(_merge_problem(info))
        parent = info.parents[0] if info.parents else objects.EMPTY_TREE
        for change in sorted(objects.diff_paths(repo, parent, info.oid), key=lambda found: _order(found.path)):
            if change.status not in ("added", "copied"):
                problems.append(
                    Problem(change.path, None, f"commit {info.oid[:12]} {change.status} it; segments are only added")
                )
            elif (entry := objects.find_entry(repo, info.oid, change.path)) is not None:
                _collect(repo, entry, entries, problems)
    return Reading(tuple(entries), tuple(problems))


def _read_all(repo: Path, tip: str, since: date | None) -> Reading:
    problems = [problem for info in objects.log(repo, tip) for problem in _merge_problem(info)]
    entries: list[Entry] = []
    for entry in objects.list_tree(repo, tip, recursive=True):
        match = _SEGMENT.fullmatch(entry.path)
        if since is None or match is None or (match[1], match[2], match[3]) >= tuple(f"{since:%Y %m %d}".split()):
            _collect(repo, entry, entries, problems)
    return Reading(tuple(sorted(entries, key=lambda found: found.at)), tuple(problems))


def _merge_problem(info: CommitInfo) -> Iterator[Problem]:
    if len(info.parents) > 1:
        yield Problem(BRANCH, None, f"commit {info.oid[:12]} is a merge; the journal takes none")


def _collect(repo: Path, found: TreeEntry, entries: list[Entry], problems: list[Problem]) -> None:
    if found.kind != "blob" or _SEGMENT.fullmatch(found.path) is None:
        problems.append(Problem(found.path, None, "is not a segment of the journal"))
        return
    read, broken = _read_segment(repo, found)
    entries.extend(read)
    problems.extend(broken)


def _order(path: str) -> tuple[str, int]:
    match = _SEGMENT.fullmatch(path)
    return (path.rpartition("-")[0], int(match[5])) if match else (path, 0)


def _read_segment(repo: Path, found: TreeEntry) -> tuple[list[Entry], list[Problem]]:
    path, data = found.path, objects.read_blob(repo, found.oid, MAX_SEGMENT + 1) or b""
    problems: list[Problem] = []
    if len(data) > MAX_SEGMENT:
        problems.append(Problem(path, None, f"is larger than {MAX_SEGMENT} bytes; the rest is not read"))
        data = data[: data.rfind(b"\n", 0, MAX_SEGMENT) + 1]
    entries: list[Entry] = []
    for number, raw in enumerate(data.split(b"\n"), start=1):
        if not raw.strip():
            continue
        try:
            entry = decode_entry(raw.decode("utf-8"))
        except (Malformed, UnicodeDecodeError) as error:
            problems.append(Problem(path, number, f"is not a journal entry: {error}"))
            continue
        entries.append(replace(entry, segment=path, line=number))
    return entries, problems


def segment_path(host: str, seq: int, now: datetime) -> str:
    """``runs/YYYY/MM/DD/<host>-<seq>.jsonl``, by the UTC day of ``now``."""
    path = f"runs/{now.astimezone(UTC):%Y/%m/%d}/{host_slug(host)}-{seq:06d}.jsonl"
    if _SEGMENT.fullmatch(path) is None:
        raise UsageError(f"{host!r} cannot be the host's name in the journal")
    return path


def host_slug(host: str) -> str:
    """The host's name as a segment's name may hold it."""
    return re.sub(r"[^a-z0-9.]+", "-", host.lower()).strip("-.") or "host"


def next_seq(mirror: Path, tip: str | None, host: str, now: datetime) -> int:
    """The first free sequence number of this host on this day."""
    day = segment_path(host, 1, now).rpartition("/")[0]
    if tip is None or objects.find_entry(mirror, tip, day) is None:
        return 1
    mine = host_slug(host)
    taken = [
        int(match[5])
        for entry in objects.list_tree(mirror, tip, day)
        if (match := _SEGMENT.fullmatch(entry.path)) and match[4] == mine
    ]
    return max(taken, default=0) + 1


def segment_commit(
    mirror: Path, tip: str | None, entries: Sequence[Entry], host: str, seq: int, now: datetime, author: Signature
) -> str:
    """A commit on ``tip`` (None: the journal's first) that adds one segment with these entries; returns its id.

    It moves no ref: push it by compare-and-swap, alone or atomically with a lease. Raises UsageError when there is
    nothing to write, Malformed for an entry that could not be read back."""
    if not entries:
        raise UsageError("a journal segment needs at least one entry")
    path = segment_path(host, seq, now)
    if tip is not None and objects.find_entry(mirror, tip, path) is not None:
        raise UsageError(f"{path} exists already; segments are never changed")
    text = "".join(encode_entry(entry) + "\n" for entry in entries)
    kinds = sorted({entry.kind for entry in entries})
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    message = f"Record {count} of {host_slug(host)}: {', '.join(kinds)}\n"
    return objects.build_commit(
        mirror, parent=tip, changes={path: text.encode()}, message=message, author=author, committer=author
    )
