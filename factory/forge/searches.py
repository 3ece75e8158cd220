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
        self._looked: dict[object, int] = {}
        """Who looked in this turn -> how many answers there were at the end of its look."""

    def begin(self) -> None:
        """A new turn: what the last one was told is old."""
        self._found.clear()
        self._looked.clear()

    def looked(self, asker: object) -> None:
        """``asker`` has read what it knows now: of this turn's answers only later ones are for it."""
        self._looked[asker] = len(self._found)

    def changed_since(
        self,
        forge: Forge,
        owner: str,
        since: datetime,
        *,
        settled: datetime | None,
        asker: object,
        now: Callable[[], datetime],
    ) -> Found:
        """As ``Forge.changed_since``, from an answer of this turn where one holds all that is asked for and was given
        after ``asker``'s last look: what it has seen since must not be unseen. "After" is the order of asking, for a
        forge's clock shows whole seconds, and a turn may take less."""
        asked = _Asked(forge, owner.lower(), since, settled)
        for known, found in self._found[self._looked.get(asker, 0) :]:
            if _covers(known, asked):
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
