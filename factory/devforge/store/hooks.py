"""Webhook subscriptions and the log of deliveries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from factory.devforge.errors import invalid, not_found
from factory.devforge.store.database import Row, Store
from factory.devforge.store.repos import Repo

KINDS = ("forgejo", "gitea")
# The words a subscription may use, and which events each of them covers.
_GROUPS = {
    "issues": ("issues", "issue_assign", "issue_label", "issue_milestone"),
    "issues_only": ("issues",),
    "pull_request": (
        "pull_request", "pull_request_assign", "pull_request_label", "pull_request_milestone", "pull_request_sync",
        "pull_request_review_request",
    ),
    "pull_request_only": ("pull_request",),
    "pull_request_review": (
        "pull_request_review_approved", "pull_request_review_rejected", "pull_request_review_comment",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Hook:
    """Of a repo, of an owner (account or organisation), or of the whole forge (both None)."""

    id: int
    repo_id: int | None
    owner_id: int | None
    type: str
    url: str
    content_type: str
    secret: str
    events: tuple[str, ...]
    branch_filter: str
    authorization: str
    active: bool
    created: int
    updated: int

    def wants(self, event: str) -> bool:
        """``event`` is the word of X-Forgejo-Event-Type."""
        return any(event in _GROUPS.get(word, (word,)) for word in self.events)


def _hook(row: Row) -> Hook:
    return Hook(**{**dict(row), "events": tuple(json.loads(row["events"])), "active": bool(row["active"])})


def create(
    store: Store,
    *,
    repo: Repo | None = None,
    owner_id: int | None = None,
    kind: str,
    url: str,
    content_type: str,
    secret: str = "",
    events: Sequence[str] = (),
    branch_filter: str = "",
    authorization: str = "",
    active: bool = False,
) -> Hook:
    """A new subscription; without events it gets pushes only. 422 for a bad type, content type or address."""
    if kind not in KINDS:
        raise invalid(f"Invalid hook type: {kind}")
    now = store.now()
    made = store.insert(
        "hooks",
        repo_id=None if repo is None else repo.id,
        owner_id=owner_id,
        type=kind,
        url=check_url(url),
        content_type=check_content_type(content_type),
        secret=secret,
        events=json.dumps(list(events) or ["push"]),
        branch_filter=branch_filter,
        authorization=authorization,
        active=int(active),
        created=now,
        updated=now,
    )
    return get(store, made)


def check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid(f"Invalid url: {url}")
    return url


def check_content_type(word: str) -> str:
    if word not in ("json", "form"):
        raise invalid("Invalid content type")
    return word


def get(store: Store, hook_id: int) -> Hook:
    row = store.one("SELECT * FROM hooks WHERE id = ?", hook_id)
    if row is None:
        raise not_found(f"webhook does not exist [id: {hook_id}]")
    return _hook(row)


def of_repo(store: Store, repo: Repo) -> list[Hook]:
    return [_hook(row) for row in store.all("SELECT * FROM hooks WHERE repo_id = ? ORDER BY id", repo.id)]


def of_owner(store: Store, owner_id: int | None) -> list[Hook]:
    """Of an account or organisation; None: of the whole forge."""
    sql = "SELECT * FROM hooks WHERE repo_id IS NULL AND owner_id IS ? ORDER BY id"
    return [_hook(row) for row in store.all(sql, owner_id)]


def listening(store: Store, repo_id: int, owner_id: int) -> list[Hook]:
    """All active subscriptions that hear what happens in a repo."""
    sql = (
        "SELECT * FROM hooks WHERE active = 1"
        " AND (repo_id = ? OR (repo_id IS NULL AND (owner_id = ? OR owner_id IS NULL))) ORDER BY id"
    )
    return [_hook(row) for row in store.all(sql, repo_id, owner_id)]


def delete(store: Store, hook: Hook) -> None:
    store.run("DELETE FROM hooks WHERE id = ?", hook.id)
