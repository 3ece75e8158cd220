"""One thing that needs a person, as values: what is decided and told is made of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Screen:
    """The facts that code computed about a request, and the asker's words apart from them."""

    rows: tuple[tuple[str, tuple[str, ...]], ...]
    """(label, lines). Labels are ours; lines may quote others."""
    asker: str
    words: str
    """Untrusted."""


@dataclass(frozen=True)
class Item:
    """``key``: the same thing has the same, and what needs to be told anew has another."""

    key: str
    project: str
    """Empty: it is of the host."""
    act: str
    """One word of ours: approve, settle, unblock, look, do, repair."""
    title: str
    """May quote others."""
    url: str
    """The page on the forge where a person acts."""
    board: str = ""
    """The page that lists all that needs somebody in this project."""
    since: datetime | None = None
    frees: str = ""
    why: str = ""
    screen: Screen | None = None
