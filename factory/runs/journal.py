"""The journal: what the factory started, what came of it, and what it changed, on branch ``journal`` of the ops repo.

Segments ``runs/YYYY/MM/DD/<host>-<seq>.jsonl`` are immutable; a commit only adds some. One line is one entry.
``started`` carries the budget reservation and is pushed *before* the session starts; ``finished`` carries the whole
record again, so a reader that has only the last days still knows everything about a run. Reading is incremental (only
the commits since the last tip) and tolerant: a kind of a newer factory is kept, a broken line is a finding with file
and line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path

from factory.errors import Problem, UsageError
from factory.git import objects
from factory.git.values import CommitInfo, Signature, TreeEntry
from factory.runs.codec import Malformed, compact, decode, encode, parse_json
from factory.runs.model import Cause, RunRecord, RunState

BRANCH = "journal"
REF = f"refs/heads/{BRANCH}"
MAX_LINE = 65_536
"""Bytes of one entry."""
MAX_SEGMENT = 4_000_000
_SEGMENT = re.compile(r"runs/(\d{4})/(\d{2})/(\d{2})/([a-z0-9][a-z0-9.-]*)-(\d{6,})\.jsonl")

STARTED = "started"
FINISHED = "finished"
EFFECT = "effect"
OPS_COMMIT = "ops-commit"


@dataclass(frozen=True)
class Entry:
    """One line. ``data`` is the kind's own: ``run`` (a RunRecord) for started and finished."""

    kind: str
    at: datetime
    host: str
    data: Mapping[str, object] = field(default_factory=dict)
    segment: str = field(default="", compare=False)
    """Where it was read."""
    line: int = field(default=0, compare=False)

    @property
    def record(self) -> RunRecord | None:
        """The run record of a started or finished entry. Raises Malformed when it does not hold one."""
        return decode(RunRecord, self.data.get("run")) if self.kind in (STARTED, FINISHED) else None


def started(record: RunRecord, at: datetime) -> Entry:
    """A run begins, with ``reserved_usd`` set aside. Appended before its session starts."""
    if record.state.is_terminal:
        raise UsageError(f"{record.run} has ended ({record.state}); it cannot start")
    return Entry(STARTED, at, record.host, {"run": encode(record)})


def finished(record: RunRecord, at: datetime) -> Entry:
    """A run ended; the record says how, with usage, facts and head."""
    if not record.state.is_terminal:
        raise UsageError(f"{record.run} has not ended ({record.state})")
    return Entry(FINISHED, at, record.host, {"run": encode(record)})


def effect_recorded(
    at: datetime,
    host: str,
    *,
    key: str,
    what: str,
    subject: str,
    run: str | None = None,
    facts: Mapping[str, str] | None = None,
) -> Entry:
    """The server confirmed an effect: its spool key, what was done in words, and facts that belong to the run
    (``pull`` = its number). The facts join those of the run's record when the journal is folded."""
    data: dict[str, object] = {"key": key, "what": what[:1000], "subject": subject, "facts": dict(facts or {})}
    return Entry(EFFECT, at, host, data | ({"run": run} if run else {}))


def ops_commit(
    at: datetime, host: str, *, commit: str, paths: Sequence[str], why: str, run: str | None = None
) -> Entry:
    """The ops writer put this commit on ``main``: what no entry and no verified merge explains was somebody else."""
    data: dict[str, object] = {"commit": commit, "paths": sorted(paths), "why": why[:1000]}
    return Entry(OPS_COMMIT, at, host, data | ({"run": run} if run else {}))


def encode_entry(entry: Entry) -> str:
    """One line of JSON, without its line end. Raises Malformed for what could not be read back or is too long."""
    line = compact({"kind": entry.kind, "at": encode(entry.at), "host": entry.host, "data": encode(entry.data)})
    if len(line) > MAX_LINE:
        raise Malformed(f"writing a journal entry ({entry.kind}): {len(line)} bytes; an entry takes {MAX_LINE}")
    return line


def decode_entry(line: str) -> Entry:
    """The entry on one line. An unknown kind is kept as it is; a known one must hold what it promises."""
    if len(line) > MAX_LINE:
        raise Malformed(f"reading a journal entry: {len(line)} characters; an entry takes {MAX_LINE}")
    data = parse_json(line)
    if not isinstance(data, dict):
        raise Malformed("reading a journal entry: not an object")
    entry = Entry(
        decode(str, data.get("kind"), "$.kind"),
        decode(datetime, data.get("at"), "$.at"),
        decode(str, data.get("host"), "$.host"),
        decode(dict[str, object], data.get("data", {}), "$.data"),
    )
    entry.record  # noqa: B018 - raises Malformed for a run that is none
    return entry


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


def fold(entries: Iterable[Entry], known: Iterable[RunRecord] = ()) -> tuple[RunRecord, ...]:
    """The runs that the entries tell of, oldest first; ``known`` are the records folded so far.

    The highest epoch of a run speaks: a host that was overtaken can not end somebody else's run. Within an epoch the
    first end stands; a later, contradicting one only adds what it says was spent. Reading an entry twice changes
    nothing."""
    runs = {record.run: record for record in known}
    facts: dict[str, dict[str, str]] = {}
    for entry in entries:
        record = entry.record
        if record is not None:
            runs[record.run] = _join(runs.get(record.run), record)
        elif entry.kind == EFFECT and isinstance(run := entry.data.get("run"), str):
            told = entry.data.get("facts")
            if isinstance(told, Mapping):
                facts.setdefault(run, {}).update({str(k): str(v) for k, v in told.items()})
    for run, more in facts.items():
        if run in runs:
            merged = dict(runs[run].facts) | more
            runs[run] = replace(runs[run], facts=tuple(sorted(merged.items())))
    return tuple(sorted(runs.values(), key=lambda record: (record.started_at, record.run)))


def _join(old: RunRecord | None, new: RunRecord) -> RunRecord:
    if old is None:
        return new
    if new.epoch < old.epoch or (new.epoch == old.epoch and old.state.is_terminal):
        return _spent_more(old, new)
    kept = dict(old.facts) | dict(new.facts)
    return replace(new, facts=tuple(sorted(kept.items()))) if kept else new


def _spent_more(stays: RunRecord, other: RunRecord) -> RunRecord:
    more = other.state.is_terminal and other.usage.cost_usd > stays.usage.cost_usd
    return replace(stays, usage=other.usage) if more else stays


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


def open_runs(records: Iterable[RunRecord]) -> tuple[RunRecord, ...]:
    """Those that have not ended."""
    return tuple(record for record in records if not record.state.is_terminal)


def lost(record: RunRecord, at: datetime, detail: str) -> RunRecord:
    """The record of a run whose process is proven dead and left no result."""
    return replace(record, state=RunState.LOST, cause=Cause.LOST, finished_at=at, detail=detail)
