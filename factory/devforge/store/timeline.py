"""The rows below an issue or pull request: comments of people and events. One table, one order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.devforge.errors import Refusal, not_found
from factory.devforge.store.database import Row, Store


@dataclass(frozen=True)
class Entry:
    """``kind`` is Forgejo's timeline type; ``data`` what that kind adds (label_id, old_title, review_id ...)."""

    id: int
    issue_id: int
    kind: str
    poster_id: int
    body: str
    data: Mapping[str, Any]
    created: int
    updated: int


def _entry(row: Row) -> Entry:
    return Entry(**{**dict(row), "data": json.loads(row["data"])})


def add(
    store: Store, issue_id: int, kind: str, user_id: int, body: str = "", *, touch: bool = True, **data: Any
) -> int:
    """Append one entry; the subject's ``updated`` moves with it. Returns the entry's id."""
    with store.tx():
        now = store.now()
        if touch:
            store.update("issues", issue_id, updated=now)
        return store.insert(
            "comments",
            issue_id=issue_id,
            kind=kind,
            poster_id=user_id,
            body=body,
            data=json.dumps(data),
            created=now,
            updated=now,
        )


def of_issue(
    store: Store, issue_id: int, *, kinds: tuple[str, ...] = (), since: int | None = None, before: int | None = None
) -> list[Entry]:
    """Entries in order of creation; ``since`` and ``before`` are inclusive and look at ``updated``."""
    sql, args = "SELECT * FROM comments WHERE issue_id = ?", [issue_id]
    if since is not None:
        sql, args = sql + " AND updated >= ?", [*args, since]
    if before is not None:
        sql, args = sql + " AND updated <= ?", [*args, before]
    found = [_entry(row) for row in store.all(sql + " ORDER BY id", *args)]
    return [entry for entry in found if not kinds or entry.kind in kinds]


def count(store: Store, issue_id: int) -> int:
    """Comments of people, as the issue object counts them."""
    return int(store.value("SELECT count(*) FROM comments WHERE issue_id = ? AND kind = 'comment'", issue_id))


def get(store: Store, comment_id: int) -> Entry:
    row = store.one("SELECT * FROM comments WHERE id = ?", comment_id)
    if row is None:
        raise not_found(f"comment does not exist [id: {comment_id}, issue_id: 0]")
    return _entry(row)


def edit(store: Store, entry: Entry, body: str) -> Entry:
    """Change a comment's text. The subject's ``updated`` stays: Forgejo does not move it either."""
    if not body.strip():
        raise Refusal(422, "[Body]: Required")
    store.update("comments", entry.id, body=body, updated=store.now())
    return get(store, entry.id)


def delete(store: Store, entry: Entry) -> None:
    with store.tx():
        store.run("DELETE FROM reactions WHERE comment_id = ?", entry.id)
        store.run("DELETE FROM comments WHERE id = ?", entry.id)


def of_repo(store: Store, repo_id: int, *, since: int | None = None, before: int | None = None) -> list[Entry]:
    """All comments of people in one repo, oldest first."""
    sql = "SELECT c.* FROM comments c JOIN issues i ON i.id = c.issue_id WHERE i.repo_id = ? AND c.kind = 'comment'"
    args = [repo_id]
    if since is not None:
        sql, args = sql + " AND c.updated >= ?", [*args, since]
    if before is not None:
        sql, args = sql + " AND c.updated <= ?", [*args, before]
    return [_entry(row) for row in store.all(sql + " ORDER BY c.id", *args)]
