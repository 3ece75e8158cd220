"""What an issue or pull request depends on. Open blockers prevent closing and merging."""

from __future__ import annotations

from factory.devforge.errors import Refusal
from factory.devforge.store import timeline
from factory.devforge.store.database import Store
from factory.devforge.store.users import User


def blockers(store: Store, issue_id: int) -> list[int]:
    """Rows of the issues it depends on, oldest dependency first."""
    rows = store.all("SELECT on_id FROM dependencies WHERE issue_id = ? ORDER BY rowid", issue_id)
    return [row[0] for row in rows]


def blocked_by(store: Store, issue_id: int) -> list[int]:
    """Rows of the issues that depend on it."""
    return [row[0] for row in store.all("SELECT issue_id FROM dependencies WHERE on_id = ? ORDER BY rowid", issue_id)]


def open_blockers(store: Store, issue_id: int) -> list[int]:
    sql = (
        "SELECT d.on_id FROM dependencies d JOIN issues i ON i.id = d.on_id"
        " WHERE d.issue_id = ? AND i.state = 'open' ORDER BY d.rowid"
    )
    return [row[0] for row in store.all(sql, issue_id)]


def add(store: Store, issue_id: int, on_id: int, doer: User) -> None:
    """``issue_id`` depends on ``on_id``. Duplicates and direct circles are refused with Forgejo's unmapped 500;
    longer circles and dependence on itself are accepted there, and so here."""
    with store.tx():
        if store.one("SELECT 1 FROM dependencies WHERE issue_id = ? AND on_id = ?", issue_id, on_id) is not None:
            raise Refusal(500, f"issue dependency does already exist [issue id: {issue_id}, dependency id: {on_id}]")
        reverse = store.one("SELECT 1 FROM dependencies WHERE issue_id = ? AND on_id = ?", on_id, issue_id)
        if reverse is not None and issue_id != on_id:
            raise Refusal(500, f"circular dependencies exists [issue id: {issue_id}, dependency id: {on_id}]")
        store.insert("dependencies", issue_id=issue_id, on_id=on_id, created=store.now())
        timeline.add(store, issue_id, "add_dependency", doer.id, dependent_issue_id=on_id)
        timeline.add(store, on_id, "add_dependency", doer.id, dependent_issue_id=issue_id)


def remove(store: Store, issue_id: int, on_id: int, doer: User) -> None:
    """Take a dependency off; 500 when there is none, as on Forgejo."""
    with store.tx():
        if store.one("SELECT 1 FROM dependencies WHERE issue_id = ? AND on_id = ?", issue_id, on_id) is None:
            raise Refusal(500, f"issue dependency does not exist [issue id: {issue_id}, dependency id: {on_id}]")
        store.run("DELETE FROM dependencies WHERE issue_id = ? AND on_id = ?", issue_id, on_id)
        timeline.add(store, issue_id, "remove_dependency", doer.id, dependent_issue_id=on_id)
        timeline.add(store, on_id, "remove_dependency", doer.id, dependent_issue_id=issue_id)
