"""Commit statuses: append-only, the newest per context counts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from factory.devforge import globs
from factory.devforge.store.database import Store, build
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

_WORST_FIRST = ("error", "failure", "warning", "pending", "success")


@dataclass(frozen=True)
class Status:
    """``number`` counts per commit: it is the ``id`` on the wire."""

    id: int
    repo_id: int
    sha: str
    number: int
    context: str
    state: str
    description: str
    target_url: str
    creator_id: int
    created: int


def add(
    store: Store, repo: Repo, creator: User, sha: str, *, state: str, context: str, description: str, target_url: str
) -> Status:
    """Post a status; the newest of a context counts. Numbers of one commit count up."""
    with store.tx():
        last = store.value("SELECT max(number) FROM statuses WHERE repo_id = ? AND sha = ?", repo.id, sha)
        status_id = store.insert(
            "statuses",
            repo_id=repo.id,
            sha=sha,
            number=(last or 0) + 1,
            context=context,
            state=state,
            description=description,
            target_url=target_url,
            creator_id=creator.id,
            created=store.now(),
        )
        row = store.one("SELECT * FROM statuses WHERE id = ?", status_id)
        assert row is not None
        return build(Status, row)


def every(store: Store, repo: Repo, sha: str) -> list[Status]:
    """All of a commit, newest first."""
    rows = store.all("SELECT * FROM statuses WHERE repo_id = ? AND sha = ? ORDER BY id DESC", repo.id, sha)
    return [build(Status, row) for row in rows]


def latest(store: Store, repo: Repo, sha: str) -> list[Status]:
    """The newest of each context, newest first."""
    found: dict[str, Status] = {}
    for status in every(store, repo, sha):
        found.setdefault(status.context, status)
    return list(found.values())


def worst(states: Iterable[str]) -> str:
    """error < failure < warning < pending < success; unknown words weigh as pending; nothing gives ''."""
    given = [state if state in _WORST_FIRST else "pending" for state in states]
    return min(given, key=_WORST_FIRST.index) if given else ""


def gate(store: Store, repo: Repo, sha: str, contexts: Sequence[str]) -> str:
    """The state that counts for a required-status rule (reference, section 3.2): the worst over all patterns, a pattern
    that nothing matches being pending; with no pattern, the worst of all statuses ('' when there is none)."""
    current = latest(store, repo, sha)
    if not contexts:
        return worst(status.state for status in current)
    states: list[str] = []
    for pattern in contexts:
        matched = [s.state for s in current if s.context == pattern or globs.matches(pattern, s.context)]
        states.append(worst(matched) or "pending")
    return worst(states)
