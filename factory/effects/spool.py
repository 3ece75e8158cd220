"""Effects decided but not yet confirmed, one fsynced file each: what survives a kill at any point.

An entry is *decided* (never sent: dropped on start and decided afresh) or *sent* (settled by reading first, then
continued where it stopped). Its subject stays locked until it is done or abandoned with a reason. A file that cannot be
read is set aside and reported; it is never silently lost.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from factory.errors import Problem
from factory.plan.effect import Effect
from factory.runs import codec
from factory.runs.model import Subject

SCHEMA = "factory.spool/v1"
DECIDED = "decided"
SENT = "sent"


@dataclass(frozen=True)
class Entry:
    """One effect on its way."""

    effect: Effect
    created: datetime
    state: str = DECIDED
    done: tuple[Mapping[str, str], ...] = ()
    """Facts of the steps the server confirmed, in order."""
    tries: int = 0
    not_before: datetime | None = None
    trouble: str = ""
    """Why the last try did not end."""
    abandoning: str = ""
    """Why it is being given up: only the closing journal entry is still owed."""

    @property
    def facts(self) -> dict[str, str]:
        """All confirmed facts so far, later steps over earlier ones."""
        return {name: value for step in self.done for name, value in step.items()}


@dataclass
class Spool:
    """``folder`` is created 0700. One process at a time uses it (the daemon's lock)."""

    folder: Path
    _entries: dict[str, Entry] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def load(self) -> tuple[Problem, ...]:
        """Read what an earlier process left: *decided* entries are dropped, *sent* ones kept. Returns what could not be
        read; those files now lie in ``quarantine/``."""
        problems = []
        self._entries.clear()
        for path in sorted(self.folder.glob("*.part")):
            path.unlink()  # a write that never became an entry
        for path in sorted(self.folder.glob("*.json")):
            try:
                entry = _parse(path.read_bytes())
            except (codec.Malformed, ValueError) as error:
                problems.append(self._set_aside(path, str(error)))
                continue
            if path.stem != entry.effect.id:
                problems.append(self._set_aside(path, f"it holds the effect {entry.effect.id}"))
            elif entry.state == DECIDED:
                self._unlink(path)
            else:
                self._entries[entry.effect.id] = entry
        return tuple(problems)

    def entries(self) -> tuple[Entry, ...]:
        """In the order in which they were decided."""
        return tuple(sorted(self._entries.values(), key=lambda e: (e.created, e.effect.id)))

    def get(self, effect: str) -> Entry | None:
        return self._entries.get(effect)

    def locked(self) -> frozenset[Subject]:
        """Subjects with an effect that is neither done nor abandoned: they wait."""
        return frozenset(entry.effect.subject for entry in self._entries.values())

    def put(self, effect: Effect, now: datetime) -> Entry:
        """Keep a freshly decided effect. One that is on its way already stays as it is."""
        there = self._entries.get(effect.id)
        if there is not None:
            return there
        return self.save(Entry(effect, now))

    def save(self, entry: Entry) -> Entry:
        """Write the entry; returns when it is on the disk."""
        body = {
            SCHEMA: {
                "effect": entry.effect.to_json(),
                "rest": codec.encode(
                    _Rest(
                        entry.created,
                        entry.state,
                        entry.done,
                        entry.tries,
                        entry.not_before,
                        entry.trouble,
                        entry.abandoning,
                    )
                ),
            }
        }
        path = self._path(entry.effect.id)
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        self._sync()
        self._entries[entry.effect.id] = entry
        return entry

    def remove(self, entry: Entry) -> None:
        """It is done or abandoned: the subject is free."""
        self._unlink(self._path(entry.effect.id))
        self._entries.pop(entry.effect.id, None)

    def muted(self) -> frozenset[Subject]:
        """Subjects whose confirmed status comment was deleted by a person."""
        told = self._confirmed()
        return frozenset(subject for subject, there in told.items() if not there)

    def confirm_status(self, subject: Subject, there: bool) -> None:
        """Note that the status comment of ``subject`` exists, or that it existed and a person deleted it."""
        told = self._confirmed()
        if told.get(subject) == there:
            return
        told[subject] = there
        path = self.folder / "status-comments"
        part = path.with_suffix(".part")
        part.write_text(codec.compact([[codec.encode(s), told[s]] for s in sorted(told)]))
        part.replace(path)

    def was_confirmed(self, subject: Subject) -> bool:
        return subject in self._confirmed()

    def _confirmed(self) -> dict[Subject, bool]:
        try:
            raw = codec.parse_json((self.folder / "status-comments").read_bytes())
        except (FileNotFoundError, codec.Malformed):
            return {}  # a lost note costs at most one comment that is posted again
        if not isinstance(raw, list):
            return {}
        return {codec.decode(Subject, item[0]): bool(item[1]) for item in raw if isinstance(item, list)}

    def _path(self, effect: str) -> Path:
        return self.folder / f"{effect}.json"

    def _unlink(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._sync()

    def _sync(self) -> None:
        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _set_aside(self, path: Path, why: str) -> Problem:
        aside = self.folder / "quarantine"
        aside.mkdir(exist_ok=True, mode=0o700)
        target = aside / path.name
        number = 1
        while target.exists():
            number += 1
            target = aside / f"{path.stem}.{number}.json"
        path.replace(target)
        self._sync()
        return Problem(
            str(target), None, f"is not an effect that can be read: {why}",
            "look at what it was about to do, then delete it; what is still wanted is decided again",
        )  # fmt: skip


def _parse(data: bytes) -> Entry:
    raw = codec.parse_json(data)
    if not isinstance(raw, dict) or list(raw) != [SCHEMA] or not isinstance(raw[SCHEMA], dict):
        raise codec.Malformed(f"expected exactly the key {SCHEMA!r}")
    body = raw[SCHEMA]
    effect = Effect.from_json(body.get("effect"))
    entry = codec.decode(_Rest, body.get("rest"), "$.rest")
    if entry.state not in (DECIDED, SENT) or len(entry.done) > len(effect.operations):
        raise codec.Malformed("its state does not fit")
    return Entry(effect, entry.created, entry.state, entry.done, entry.tries, entry.not_before, entry.trouble,
                 entry.abandoning)  # fmt: skip


@dataclass(frozen=True)
class _Rest:
    """An entry without its effect, as it lies in the file."""

    created: datetime
    state: str
    done: tuple[Mapping[str, str], ...]
    tries: int
    not_before: datetime | None
    trouble: str
    abandoning: str
