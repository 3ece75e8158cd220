"""The journal's entries and what they add up to: one line is one entry, the fold of them tells every run's state. Pure.

``started`` carries the budget reservation and is pushed *before* the session starts; ``finished`` carries the whole
record again, so a reader that has only the last days still knows everything about a run. A kind of a newer factory is
kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from factory.errors import UsageError
from factory.runs.codec import Malformed, compact, decode, encode, parse_json
from factory.runs.model import Cause, RunRecord, RunState

MAX_LINE = 65_536
"""Bytes of one entry."""

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
    if not other.state.is_terminal:
        return stays
    learnt = other.usage.known and not stays.usage.known
    more = other.usage.known == stays.usage.known and other.usage.cost_usd > stays.usage.cost_usd
    return replace(stays, usage=other.usage) if learnt or more else stays


def lost(record: RunRecord, at: datetime, detail: str) -> RunRecord:
    """The record of a run whose process is proven dead and left no result."""
    usage = replace(record.usage, known=False)
    return replace(record, state=RunState.LOST, cause=Cause.LOST, finished_at=at, detail=detail, usage=usage)
