"""The last distinct Worlds, content-addressed and compressed, so that any recent tick can be decided again.

``worlds/<sha256>.json.zz`` holds one World; ``ticks.jsonl`` one line per tick: its number, time, and the digests
of World and Plan. An idle tick adds only such a line.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from factory.errors import UsageError
from factory.plan.effect import Plan
from factory.plan.model import World
from factory.runs.codec import Malformed, compact, decode, encode, parse_json

KEEP = 1000


@dataclass(frozen=True)
class Tick:
    """One recorded tick."""

    number: int
    at: datetime
    project: str
    world: str
    plan: str


def digest(value: World | Plan) -> tuple[str, bytes]:
    """SHA-256 and canonical JSON of a World or Plan. Equal values give equal bytes."""
    data = compact(encode(value)).encode()
    return hashlib.sha256(data).hexdigest(), data


class WorldStore:
    """Append-only but for the oldest, which go when more than ``keep`` distinct Worlds are kept."""

    def __init__(self, folder: Path, keep: int = KEEP) -> None:
        self._folder = folder
        self._keep = keep
        self._ticks = folder / "ticks.jsonl"
        (folder / "worlds").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._last: dict[str, tuple[str, str]] = {}
        self._number = max((tick.number for tick in self.ticks()), default=0)

    def record(self, world: World, plan: Plan, now: datetime) -> int:
        """Keep this tick; returns its number."""
        name, data = digest(world)
        path = self._folder / "worlds" / f"{name}.json.zz"
        if not path.exists():
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_bytes(zlib.compress(data, 6))
            part.replace(path)
            self._prune()
        else:
            os.utime(path)
        self._number += 1
        line = {
            "tick": self._number,
            "at": now.astimezone(UTC).isoformat(),
            "project": str(world.project),
            "world": name,
            "plan": digest(plan)[0],
        }
        with self._ticks.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return self._number

    def ticks(self) -> Iterator[Tick]:
        """Recorded ticks, oldest first. A torn last line (a crash) is not a tick."""
        try:
            lines = self._ticks.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            yield Tick(row["tick"], datetime.fromisoformat(row["at"]), row["project"], row["world"], row["plan"])

    def load(self, number: int) -> tuple[Tick, World]:
        """The World of a tick. Raises UsageError when it is unknown or no longer kept."""
        last = 0
        for tick in self.ticks():
            last = tick.number
            if tick.number == number:
                path = self._folder / "worlds" / f"{tick.world}.json.zz"
                try:
                    return tick, decode(World, parse_json(zlib.decompress(path.read_bytes())))
                except FileNotFoundError as error:
                    raise UsageError(f"replaying tick {number}: its World is no longer kept") from error
                except (Malformed, zlib.error) as error:
                    raise UsageError(
                        f"replaying tick {number}: its World was written by another version or damaged: {error}"
                    ) from error
        raise UsageError(
            f"replaying tick {number}: there is none; ticks so far: {last}", hint=f"factory replay-tick {last}"
        )

    def _prune(self) -> None:
        worlds = sorted((self._folder / "worlds").glob("*.json.zz"), key=lambda p: p.stat().st_mtime)
        for old in worlds[: -self._keep]:
            old.unlink(missing_ok=True)
