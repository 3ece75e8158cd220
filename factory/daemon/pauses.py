"""Pauses: a local file stops at once and survives a lost forge; ``pauses/`` in the ops repo mirrors it.

The stricter holds.
An unreadable pause means paused: nobody writes one by accident.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from factory.config.home import write_private
from factory.plan.model import Pause


def local(folder: Path) -> tuple[Pause, ...]:
    """The pauses of this host."""
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    return tuple(parse(file.stem, file.read_bytes()) for file in files)


def stricter(*sources: Iterable[Pause]) -> tuple[Pause, ...]:
    """Every scope that any source pauses, told once (the oldest)."""
    by_scope: dict[str, Pause] = {}
    for pause in sorted((p for source in sources for p in source), key=lambda p: p.since):
        by_scope.setdefault(pause.scope, pause)
    return tuple(by_scope[scope] for scope in sorted(by_scope))


def parse(scope: str, data: bytes) -> Pause:
    """The pause a file tells; one that cannot be read is a pause all the same."""
    try:
        table: Mapping[str, object] = tomllib.loads(data.decode())
        since = table.get("since")
        return Pause(
            scope,
            str(table.get("by", "unknown")),
            since if isinstance(since, datetime) and since.tzinfo else datetime.min.replace(tzinfo=UTC),
            str(table.get("reason", "")),
        )
    except (UnicodeDecodeError, tomllib.TOMLDecodeError):
        return Pause(
            scope, "unknown", datetime.min.replace(tzinfo=UTC), "its file cannot be read, so it counts as a pause"
        )


def render(pause: Pause) -> bytes:
    """The file of a pause."""
    import tomlkit

    table = tomlkit.document()
    table["by"] = pause.by
    table["since"] = pause.since
    table["reason"] = pause.reason
    return tomlkit.dumps(table).encode()


def put(folder: Path, pause: Pause) -> None:
    """Pause on this host, at once."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(folder / f"{pause.scope}.toml", render(pause))


def lift(folder: Path, scope: str) -> bool:
    """Take this host's pause away; False when there was none."""
    file = folder / f"{scope}.toml"
    if not file.exists():
        return False
    file.unlink()
    return True
