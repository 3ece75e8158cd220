"""Accounts, organisations, teams, repos, labels, milestones as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from factory.devforge.store import access, labels, orgs, repos, tokens, users
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.labels import Label
from factory.devforge.store.orgs import Team
from factory.devforge.store.repos import Repo
from factory.devforge.store.tokens import Token
from factory.devforge.store.users import User

Json = dict[str, Any]
ZERO_TIME = "0001-01-01T00:00:00Z"
ANYBODY = Actor()


_UNSHOWN = ("allow_manual_merge", "autodetect_manual_merge")
"""Settings that can be set and that Forgejo never shows."""


def when(seconds: int | None) -> str | None:
    """RFC 3339 in UTC; None stays null."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")  # strftime cuts the year 0001


def user(store: Store, who: User, viewer: Actor = ANYBODY) -> Json:
    """``is_admin``, ``active`` and the real address are shown to the account itself and to site admins only."""
    private = viewer.user is not None and (viewer.user.id == who.id or viewer.site_admin)
    return {
        "id": who.id,
        "login": who.login,
        "username": who.login,
        "login_name": "",
        "source_id": 0,
        "full_name": who.full_name,
        "email": who.email if private else f"{who.login.lower()}@noreply.localhost",
        "avatar_url": f"{store.root_url}/avatars/{who.id}",
        "html_url": f"{store.root_url}/{who.login}",
        "language": "",
        "is_admin": bool(who.is_admin) and private,
        "last_login": when(who.last_login) if private and who.last_login else ZERO_TIME,
        "created": when(who.created),
        "restricted": bool(who.restricted),
        "active": bool(who.active) and private,
        "prohibit_login": False,
        "location": "",
        "pronouns": "",
        "website": "",
        "description": who.description,
        "visibility": who.visibility,
        "followers_count": 0,
        "following_count": 0,
        "starred_repos_count": 0,
    }


def user_id(store: Store, number: int | None) -> Json | None:
    """A nested account, as an anonymous viewer sees it."""
    return None if number is None else user(store, users.by_id(store, number))


def org(store: Store, who: User) -> Json:
    """An organisation."""
    return {
        "id": who.id,
        "name": who.login,
        "username": who.login,
        "full_name": who.full_name,
        "email": "",
        "avatar_url": f"{store.root_url}/avatars/{who.id}",
        "description": who.description,
        "website": "",
        "location": "",
        "visibility": who.visibility,
        "repo_admin_change_team_access": False,
    }


def team(store: Store, found: Team) -> Json:
    """A team and what it may do."""
    full = found.permission in ("admin", "owner")
    return {
        "id": found.id,
        "name": found.name,
        "description": found.description,
        "organization": org(store, users.by_id(store, found.org_id)),
        "includes_all_repositories": found.all_repos,
        "permission": found.permission if full else max(found.units.values(), key=orgs.level, default="read"),
        "units": list(orgs.UNITS) if full else sorted(found.units),
        "units_map": dict.fromkeys(orgs.UNITS, found.permission) if full else dict(found.units),
        "can_create_org_repo": full,
    }


def token(store: Store, found: Token, secret: str = "") -> Json:
    limited = None
    if found.repos is not None:
        limited = [repo_meta(repos.by_id(store, repo_id)) for repo_id in sorted(found.repos)]
    return {
        "id": found.id,
        "name": found.name,
        "sha1": secret,
        "token_last_eight": found.last_eight,
        "scopes": sorted(found.scopes),
        "repositories": limited,
    }


def repo_meta(repo: Repo) -> Json:
    return {"id": repo.id, "name": repo.name, "owner": repo.owner, "full_name": repo.full_name}


def repo(store: Store, found: Repo, viewer: Actor = ANYBODY) -> Json:
    """A repository as the viewer may see it."""
    level = access.best(store, viewer, found) if viewer.user is not None else Mode.READ
    url = f"{store.root_url}/{found.full_name}"
    counts = store.one(
        "SELECT count(*) FILTER (WHERE is_pull = 0) AS issues, count(*) FILTER (WHERE is_pull = 1) AS pulls"
        " FROM issues WHERE repo_id = ? AND state = 'open'",
        found.id,
    )
    assert counts is not None
    parent = None
    if found.fork_of is not None:
        source = repos.by_id(store, found.fork_of)
        parent = repo(store, source, viewer) if access.best(store, viewer, source) >= Mode.READ else None
    return {
        "id": found.id,
        "owner": user_id(store, found.owner_id),
        "name": found.name,
        "full_name": found.full_name,
        "description": found.description,
        "empty": found.empty,
        "private": found.private,
        "fork": found.fork_of is not None,
        "template": found.settings["template"],
        "parent": parent,
        "mirror": False,
        "size": 0,
        "language": "",
        "languages_url": f"{store.root_url}/api/v1/repos/{found.full_name}/languages",
        "html_url": url,
        "url": f"{store.root_url}/api/v1/repos/{found.full_name}",
        "link": "",
        "ssh_url": "",
        "clone_url": f"{url}.git",
        "original_url": "",
        "website": found.website,
        "stars_count": 0,
        "forks_count": int(store.value("SELECT count(*) FROM repos WHERE fork_of = ?", found.id)),
        "watchers_count": 0,
        "open_issues_count": counts["issues"],
        "open_pr_counter": counts["pulls"],
        "release_counter": store.value("SELECT count(*) FROM releases WHERE repo_id = ? AND draft = 0", found.id),
        "default_branch": found.default_branch,
        "archived": found.archived,
        "archived_at": when(found.updated) if found.archived else "1970-01-01T00:00:00Z",
        "created_at": when(found.created),
        "updated_at": when(found.updated),
        "permissions": {"admin": level >= Mode.ADMIN, "push": level >= Mode.WRITE, "pull": level >= Mode.READ},
        "internal_tracker": {
            "enable_time_tracker": False,
            "allow_only_contributors_to_track_time": True,
            "enable_issue_dependencies": True,
        },
        "avatar_url": "",
        "internal": False,
        "mirror_interval": "",
        "mirror_updated": ZERO_TIME,
        "object_format_name": "sha1",
        "topics": [],
        "repo_transfer": None,
        "wiki_branch": "main",
        "globally_editable_wiki": False,
        **{name: value for name, value in found.settings.items() if name not in _UNSHOWN},
    }


def label(store: Store, found: Label) -> Json:
    """A label of a repository or organisation."""
    if found.repo_id is not None:
        where = f"repos/{repos.by_id(store, found.repo_id).full_name}"
    else:
        where = f"orgs/{users.by_id(store, found.org_id or 0).login}"
    return {
        "id": found.id,
        "name": found.name,
        "exclusive": found.exclusive,
        "is_archived": found.archived,
        "color": found.color,
        "description": found.description,
        "url": f"{store.root_url}/api/v1/{where}/labels/{found.id}",
    }


def label_id(store: Store, number: int) -> Json | None:
    found = labels.find_id(store, number)
    return None if found is None else label(store, found)


def milestone(store: Store, row: Row) -> Json:
    """A milestone with its counts."""
    counts = store.one(
        "SELECT count(*) FILTER (WHERE state = 'open') AS open, count(*) FILTER (WHERE state = 'closed') AS closed"
        " FROM issues WHERE milestone_id = ?",
        row["id"],
    )
    assert counts is not None
    return {
        "id": row["id"],
        "title": row["title"],
        "description": row["description"],
        "state": row["state"],
        "open_issues": counts["open"],
        "closed_issues": counts["closed"],
        "created_at": when(row["created"]),
        "updated_at": when(row["updated"]),
        "closed_at": when(row["closed"]),
        "due_on": when(row["due"]),
    }


def milestone_id(store: Store, number: int | None) -> Json | None:
    row = None if number is None else store.one("SELECT * FROM milestones WHERE id = ?", number)
    return None if row is None else milestone(store, row)


def token_list(store: Store, who: User) -> list[Json]:
    return [token(store, found) for found in tokens.of_user(store, who)]
