"""``state/notify/<channel>.json``: what was told on a channel and what waits, whole or not at all, on the disk."""

from __future__ import annotations

from pathlib import Path

from factory.config.home import write_private
from factory.errors import FactoryError
from factory.notify.state import State
from factory.runs.codec import Malformed, compact, decode, encode, parse_json

SCHEMA = "factory.notify/v1"
FOLDER = "notify"


def path_of(state: Path, name: str) -> Path:
    """Where a channel's file is; ``state`` is the host's state folder."""
    return state / FOLDER / f"{name}.json"


def read(state: Path, name: str) -> State | None:
    """None where nothing was ever told. Raises Malformed, OSError."""
    try:
        data = parse_json(path_of(state, name).read_bytes())
    except FileNotFoundError:
        return None
    if not isinstance(data, dict) or list(data) != [SCHEMA]:
        raise Malformed(f"reading {path_of(state, name)}: expected exactly the key {SCHEMA!r}")
    return decode(State, data[SCHEMA])


def write(state: Path, name: str, told: State) -> None:
    """Returns when it is on the disk. Raises OSError."""
    write_private(path_of(state, name), compact({SCHEMA: encode(told)}).encode())


def set_aside(state: Path, name: str, why: FactoryError) -> str:
    """Move a file away that cannot be read, so that it is neither lost nor in the way; says where it is now. What waits
    is then told again. Raises OSError."""
    path = path_of(state, name)
    aside = path.with_suffix(".unreadable")
    path.replace(aside)
    return f"{why.message}; it is {aside} now, and what waits is told again"


def forget(state: Path, name: str) -> None:
    """The channel is taken away."""
    path_of(state, name).unlink(missing_ok=True)
