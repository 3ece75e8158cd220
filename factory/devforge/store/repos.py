"""Repositories as rows: names, settings, collaborators."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import orgs, users
from factory.devforge.store.database import Row, Store
from factory.devforge.store.users import User
from factory.git import objects

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

SETTINGS: Mapping[str, Any] = {
    "has_issues": True, "has_pull_requests": True, "has_wiki": False, "has_projects": False, "has_releases": True,
    "has_packages": False, "has_actions": False, "allow_merge_commits": True, "allow_rebase": True,
    "allow_rebase_explicit": True, "allow_rebase_update": True, "allow_squash_merge": True,
    "allow_fast_forward_only_merge": True, "allow_manual_merge": False, "autodetect_manual_merge": False,
    "ignore_whitespace_conflicts": False, "default_delete_branch_after_merge": False, "default_merge_style": "merge",
    "default_update_style": "merge", "default_allow_maintainer_edit": False, "template": False,
}  # fmt: skip


@dataclass(frozen=True)
class Repo:
    """``settings`` holds the switches of :data:`SETTINGS`; ``owner`` is the owner's login."""

    id: int
    owner_id: int
    owner: str
    name: str
    description: str
    website: str
    private: bool
    archived: bool
    default_branch: str
    settings: Mapping[str, Any]
    fork_of: int | None
    empty: bool
    created: int
    updated: int
    path: Path

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"


_SELECT = "SELECT r.*, u.login AS owner FROM repos r JOIN users u ON u.id = r.owner_id "


def _repo(store: Store, row: Row) -> Repo:
    return Repo(
        id=row["id"],
        owner_id=row["owner_id"],
        owner=row["owner"],
        name=row["name"],
        description=row["description"],
        website=row["website"],
        private=bool(row["private"]),
        archived=bool(row["archived"]),
        default_branch=row["default_branch"],
        settings={**SETTINGS, **json.loads(row["settings"])},
        fork_of=row["fork_of"],
        empty=bool(row["empty"]),
        created=row["created"],
        updated=row["updated"],
        path=store.repo_path(row["owner"], row["name"]),
    )


def find(store: Store, owner: str, name: str) -> Repo | None:
    row = store.one(_SELECT + "WHERE u.login = ? AND r.name = ?", owner, name)
    return None if row is None else _repo(store, row)


def by_id(store: Store, repo_id: int) -> Repo:
    row = store.one(_SELECT + "WHERE r.id = ?", repo_id)
    if row is None:
        raise not_found(f"repository does not exist [id: {repo_id}]")
    return _repo(store, row)


def get(store: Store, owner: str, name: str) -> Repo:
    found = find(store, owner, name)
    if found is None:
        raise not_found(f"repository does not exist [id: 0, uid: 0, owner_name: {owner}, name: {name}]")
    return found


def renamed(store: Store, owner: str, name: str) -> Repo | None:
    """The repo that once had this name, when nothing has it now."""
    row = store.one(
        "SELECT d.repo_id FROM redirects d JOIN users u ON u.id = d.owner_id WHERE u.login = ? AND d.name = ?",
        owner,
        name,
    )
    return None if row is None else by_id(store, row["repo_id"])


def every(store: Store, *, owner: User | None = None) -> list[Repo]:
    """All repos, or those of one owner, by id."""
    if owner is not None:
        return [_repo(store, row) for row in store.all(_SELECT + "WHERE r.owner_id = ? ORDER BY r.id", owner.id)]
    return [_repo(store, row) for row in store.all(_SELECT + "ORDER BY r.id")]


def check_name(name: str) -> None:
    """422 for names a repo cannot have."""
    if not _NAME.fullmatch(name) or name in (".", "..") or name.startswith("-"):
        raise invalid(f"name is invalid [{name}]: must be valid alpha or numeric or dash(-_) or dot characters")
    if name.lower().endswith((".git", ".wiki", ".rss", ".atom")):
        raise invalid(f"name is reserved [name: {name}]")


def create(
    store: Store,
    owner: User,
    *,
    name: str,
    private: bool = False,
    description: str = "",
    default_branch: str = "main",
    fork_of: int | None = None,
) -> Repo:
    """A new, empty repo. 409 when the owner has one of that name, 422 for a bad name."""
    check_name(name)
    with store.tx():
        if find(store, owner.login, name) is not None:
            raise Refusal(409, "The repository with the same name already exists.")
        now = store.now()
        repo_id = store.insert(
            "repos",
            owner_id=owner.id,
            name=name,
            private=int(private),
            description=description,
            default_branch=default_branch or "main",
            fork_of=fork_of,
            created=now,
            updated=now,
        )
        store.run("DELETE FROM redirects WHERE owner_id = ? AND name = ?", owner.id, name)
        made = by_id(store, repo_id)
        if made.path.exists():
            # No row, so nobody's: left by a kill while a repo was made or deleted. Its refs must not come back.
            shutil.rmtree(made.path)
        objects.init_bare(made.path, made.default_branch)
        (made.path / "factory-repo-id").write_text(f"{repo_id}\n")
        return made


def rename(store: Store, repo: Repo, name: str) -> Repo:
    """Give the repo another name; the old one answers 301 until it is used again."""
    check_name(name)
    with store.tx():
        other = find(store, repo.owner, name)
        if other is not None and other.id != repo.id:
            raise Refusal(422, f"repo name is already taken: {name}")
        store.update("repos", repo.id, name=name)
        store.run("DELETE FROM redirects WHERE owner_id = ? AND name = ?", repo.owner_id, name)
        if name.lower() != repo.name.lower():
            store.insert("redirects", owner_id=repo.owner_id, name=repo.name, repo_id=repo.id)
            repo.path.rename(store.repo_path(repo.owner, name))
        return by_id(store, repo.id)


def next_number(store: Store, repo: Repo) -> int:
    """The next number of the one counter that issues and pull requests share."""
    with store.tx():
        number = int(store.value("SELECT next_number FROM repos WHERE id = ?", repo.id))
        store.run("UPDATE repos SET next_number = next_number + 1 WHERE id = ?", repo.id)
        return number


def touch(store: Store, repo: Repo) -> None:
    store.update("repos", repo.id, updated=store.now())


# ---------------------------------------------------------------- collaborators


def set_collaborator(store: Store, repo: Repo, login: str, permission: str) -> None:
    """Add or change a collaborator. Words other than read, write, admin leave the mode (write for a new one); 422
    for an unknown account: both as Forgejo does."""
    user = users.find(store, login)
    if user is None or user.is_org:
        raise invalid(f"user does not exist [uid: 0, name: {login}, keyid: 0]")
    level = orgs.level(permission) if permission in ("read", "write", "admin") else None
    with store.tx():
        known = store.value("SELECT mode FROM collaborators WHERE repo_id = ? AND user_id = ?", repo.id, user.id)
        if known is None:
            store.insert("collaborators", repo_id=repo.id, user_id=user.id, mode=2 if level is None else level)
        elif level is not None:
            sql = "UPDATE collaborators SET mode = ? WHERE repo_id = ? AND user_id = ?"
            store.run(sql, level, repo.id, user.id)


def remove_collaborator(store: Store, repo: Repo, user: User) -> None:
    store.run("DELETE FROM collaborators WHERE repo_id = ? AND user_id = ?", repo.id, user.id)


def collaborators(store: Store, repo: Repo) -> list[User]:
    """Collaborators only: no owner, no team members."""
    sql = "SELECT user_id FROM collaborators WHERE repo_id = ? ORDER BY user_id"
    return [users.by_id(store, row[0]) for row in store.all(sql, repo.id)]


def is_collaborator(store: Store, repo: Repo, user: User) -> bool:
    return store.one("SELECT 1 FROM collaborators WHERE repo_id = ? AND user_id = ?", repo.id, user.id) is not None
