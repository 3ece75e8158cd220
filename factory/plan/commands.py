"""Comment commands of trusted people: ``/start /stop /retry /hold /explain``, alone on the first line of a comment."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from factory.forge.values import Comment

NAMES = frozenset({"start", "stop", "retry", "hold", "explain"})


@dataclass(frozen=True)
class Command:
    """A command a trusted person gave in a comment."""

    name: str
    by: str
    at: datetime
    comment: int


def given(comments: Iterable[Comment], people: frozenset[str]) -> tuple[Command, ...]:
    """The commands in these comments, oldest first. ``people``: logins in lower case whose commands count.

    An edited comment is not a command: whoever may edit could put words into another's mouth.
    """
    found = []
    for comment in comments:
        if comment.author.login.lower() not in people or comment.updated_at != comment.created_at:
            continue
        first = comment.body.strip().split("\n", 1)[0].strip()
        if first.startswith("/") and first[1:].lower() in NAMES:
            found.append(Command(first[1:].lower(), comment.author.login, comment.created_at, comment.id))
    return tuple(sorted(found, key=lambda c: (c.at, c.comment)))


def newest(commands: Iterable[Command], *names: str) -> Command | None:
    return max((c for c in commands if c.name in names), key=lambda c: (c.at, c.comment), default=None)


def holding(commands: Iterable[Command]) -> Command | None:
    """The ``/hold`` or ``/stop`` in force: no later ``/start`` or ``/retry`` lifted it."""
    last = newest(commands, "hold", "stop", "start", "retry")
    return last if last is not None and last.name in ("hold", "stop") else None
