"""Where a head stands to the tip of its base, kept while the base goes on.

Each of the questions walks through all that came onto the base since they parted, and every push onto the base asks
them anew for every open pull request. But what a base gained changes the answers little: unless one of the head's own
commits is in it, the two part where they parted, and the head lacks that many commits more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from factory.git import objects
from factory.git.values import CommitInfo

KEPT = 1024
"""Heads of which the last answer is remembered."""
FEW = 200
"""Own commits of a head, or commits that a base gained, beyond which everything is asked anew."""


@dataclass(frozen=True)
class Comparison:
    """How a head stands to its base: ``status`` is ``mergeable``, ``ancestor`` (nothing to merge), ``conflict`` or
    ``error`` (unrelated histories); ``behind`` counts commits of the base that the head lacks."""

    merge_base: str
    status: str
    conflicts: tuple[str, ...]
    behind: int


@dataclass(frozen=True)
class _Known:
    """An answer, and the commits that the head had for itself then; None where they were many or merges."""

    base: str
    answer: Comparison
    own: frozenset[str] | None


_KNOWN: OrderedDict[tuple[Path, str], _Known] = OrderedDict()
"""By head. Several threads may write: the last one is as right as any."""


@lru_cache(maxsize=512)
def compare(path: Path, base: str, head: str) -> Comparison:
    """Depends on nothing but the two commits. Raises GitFailed."""
    last = _KNOWN.get((path, head))
    found = _gone_on(path, last, base, head) if last is not None else None
    if found is None:
        answer = _whole(path, base, head)
        found = _Known(base, answer, _own(path, base, head) if answer.merge_base else None)
    _KNOWN[path, head] = found
    while len(_KNOWN) > KEPT:
        _KNOWN.popitem(last=False)
    return found.answer


def _whole(path: Path, base: str, head: str) -> Comparison:
    common = objects.merge_base(path, base, head)
    if common is None:
        return Comparison("", "error", (), 0)
    if common == head:
        return Comparison(common, "ancestor", (), objects.ahead_behind(path, base, head)[0])
    if common == base:
        return Comparison(common, "mergeable", (), 0)
    merged = objects.merge_commits(path, base, head)
    behind = objects.ahead_behind(path, base, head)[0]
    return Comparison(common, "conflict" if merged.conflicts else "mergeable", merged.conflicts, behind)


def _own(path: Path, base: str, head: str) -> frozenset[str] | None:
    """Commits of the head that the base lacks, where they are a short line; then the two part at one commit."""
    found = objects.log(path, head, exclude=[base], limit=FEW + 1)
    if len(found) > FEW or any(len(commit.parents) != 1 for commit in found):
        return None
    return _ids(found)


def _gone_on(path: Path, last: _Known, base: str, head: str) -> _Known | None:
    """The answer for a base that went on since, and took in none of the head's own commits; None: it is not so."""
    gained = None if last.own is None else _gained(path, last.base, base)
    if last.own is None or gained is None or gained & last.own:
        return None
    common, behind = last.answer.merge_base, last.answer.behind + len(gained)
    if common == head:
        return _Known(base, Comparison(common, "ancestor", (), behind), last.own)
    paths = objects.conflicts(path, common, base, head)
    return _Known(base, Comparison(common, "conflict" if paths else "mergeable", paths, behind), last.own)


@lru_cache(maxsize=64)
def _gained(path: Path, old: str, new: str) -> frozenset[str] | None:
    """What came onto a base, the same for all that is open there; None where it did not go on, or by many commits."""
    if not objects.is_ancestor(path, old, new):
        return None
    found = objects.log(path, new, exclude=[old], limit=FEW + 1)
    return _ids(found) if len(found) <= FEW else None


def _ids(commits: Sequence[CommitInfo]) -> frozenset[str]:
    return frozenset(commit.oid for commit in commits)
