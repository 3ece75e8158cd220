"""The search for what changed, asked once per owner and turn, however many projects of that owner a host serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from factory.forge.protocol import Forge
from factory.forge.values import Issue, Pull, RepoName

PAGE = 50


@dataclass(frozen=True)
class Found:
    """What a search said."""

    items: tuple[tuple[RepoName, Issue | Pull], ...]
    newest: datetime | None
    """The newest ``updated_at`` the server named."""
    complete: bool
    """False: paging ended early, and of the second it was settled at not all may be shown."""
    at: datetime
    """The forge's clock when it was said: what changed later is not in it."""


@dataclass(frozen=True)
class _Asked:
    forge: Forge
    owner: str
    since: datetime
    settled: datetime | None


class Searches:
    """The answers of one turn. Whoever turns says ``begin``; a look by itself needs none of this and makes its own."""

    def __init__(self) -> None:
        self._found: list[tuple[_Asked, Found]] = []

    def begin(self) -> None:
        """A new turn: what the last one was told is old."""
        self._found.clear()

    def changed_since(
        self,
        forge: Forge,
        owner: str,
        since: datetime,
        *,
        settled: datetime | None,
        after: datetime | None,
        now: Callable[[], datetime],
    ) -> Found:
        """As ``Forge.changed_since``, from an answer of this turn where one holds all that is asked for and was given
        ``after`` the asker's last look: what it has seen since must not be unseen."""
        asked = _Asked(forge, owner.lower(), since, settled)
        for known, found in self._found:
            if _covers(known, asked) and (after is None or found.at > after):
                shown = tuple((repo, item) for repo, item in found.items if item.updated_at >= since)
                return Found(shown, found.newest, found.complete, found.at)
        items, newest = forge.changed_since(owner, since, settled=settled)
        fresh = Found(tuple(items), newest, settled is None or len(items) < PAGE, now())
        self._found.append((asked, fresh))
        return fresh


def _covers(known: _Asked, asked: _Asked) -> bool:
    if known.forge is not asked.forge or known.owner != asked.owner or known.since > asked.since:
        return False  # another account may see other repos
    return known.settled is None or (asked.settled is not None and known.settled <= asked.settled)
