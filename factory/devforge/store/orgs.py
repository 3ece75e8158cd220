"""Organisations and teams: as much as is needed to give accounts rights on an organisation's repos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import users
from factory.devforge.store.database import Store
from factory.devforge.store.users import User, by_id

UNITS = ("repo.code", "repo.issues", "repo.pulls", "repo.releases", "repo.wiki", "repo.projects", "repo.packages",
         "repo.actions", "repo.ext_issues", "repo.ext_wiki")  # fmt: skip
OWNERS = "Owners"
_LEVELS = ("none", "read", "write", "admin", "owner")


@dataclass(frozen=True)
class Team:
    """``units`` maps a unit to none, read or write; with ``permission`` admin or owner it does not matter."""

    id: int
    org_id: int
    name: str
    description: str
    permission: str
    units: Mapping[str, str]
    all_repos: bool


def create(store: Store, doer: User, *, name: str, visibility: str = "public", full_name: str = "") -> User:
    """A new organisation; ``doer`` joins its Owners. 422 for a bad or taken name."""
    with store.tx():
        users.check_name(store, name)
        org_id = store.insert(
            "users",
            login=name,
            email=f"{name.lower()}@orgs.localhost.invalid",
            full_name=full_name,
            is_org=1,
            visibility=visibility,
            created=store.now(),
        )
        team_id = store.insert("teams", org_id=org_id, name=OWNERS, permission="owner", all_repos=1)
        store.insert("team_members", team_id=team_id, user_id=doer.id)
        return by_id(store, org_id)


def get(store: Store, name: str) -> User:
    found = users.find(store, name)
    if found is None or not found.is_org:
        raise not_found(f"org does not exist [id: 0, name: {name}]")
    return found


def _team(row: Mapping[str, object]) -> Team:
    return Team(
        id=int(str(row["id"])),
        org_id=int(str(row["org_id"])),
        name=str(row["name"]),
        description=str(row["description"]),
        permission=str(row["permission"]),
        units=json.loads(str(row["units"])),
        all_repos=bool(row["all_repos"]),
    )


def teams(store: Store, org: User) -> list[Team]:
    return [_team(dict(row)) for row in store.all("SELECT * FROM teams WHERE org_id = ? ORDER BY id", org.id)]


def team(store: Store, team_id: int) -> Team:
    row = store.one("SELECT * FROM teams WHERE id = ?", team_id)
    if row is None:
        raise not_found(f"team does not exist [team_id: {team_id}]")
    return _team(dict(row))


def find_team(store: Store, org_id: int, name: str) -> Team | None:
    row = store.one("SELECT * FROM teams WHERE org_id = ? AND name = ?", org_id, name)
    return None if row is None else _team(dict(row))


def create_team(
    store: Store,
    org: User,
    *,
    name: str,
    permission: str,
    units: Mapping[str, str],
    description: str = "",
    all_repos: bool = False,
) -> Team:
    """A team of an organisation. 422 name used; 500 when neither admin nor given any unit, as Forgejo answers."""
    if permission not in ("read", "write", "admin"):
        permission = "read"
    if permission != "admin" and not units:
        raise Refusal(500, "units permission should not be empty")
    with store.tx():
        if find_team(store, org.id, name) is not None:
            raise invalid(f"team already exists [org_id: {org.id}, name: {name}]")
        team_id = store.insert(
            "teams",
            org_id=org.id,
            name=name,
            description=description,
            permission=permission,
            units=json.dumps({unit: level for unit, level in units.items() if unit in UNITS}),
            all_repos=int(all_repos),
        )
        return team(store, team_id)


def is_owner(store: Store, org_id: int, user_id: int) -> bool:
    sql = (
        "SELECT 1 FROM teams t JOIN team_members m ON m.team_id = t.id"
        " WHERE t.org_id = ? AND m.user_id = ? AND t.permission = 'owner'"
    )
    return store.one(sql, org_id, user_id) is not None


def is_member(store: Store, org_id: int, user_id: int) -> bool:
    sql = "SELECT 1 FROM teams t JOIN team_members m ON m.team_id = t.id WHERE t.org_id = ? AND m.user_id = ?"
    return store.one(sql, org_id, user_id) is not None


def of_user(store: Store, user_id: int) -> list[User]:
    sql = (
        "SELECT DISTINCT t.org_id FROM teams t JOIN team_members m ON m.team_id = t.id"
        " WHERE m.user_id = ? ORDER BY t.org_id"
    )
    return [by_id(store, row[0]) for row in store.all(sql, user_id)]


def members(store: Store, team_id: int) -> list[User]:
    sql = "SELECT user_id FROM team_members WHERE team_id = ? ORDER BY user_id"
    return [by_id(store, row[0]) for row in store.all(sql, team_id)]


def level(word: str) -> int:
    """none 0, read 1, write 2, admin 3, owner 4; unknown words are none."""
    return _LEVELS.index(word) if word in _LEVELS else 0


def teams_of_user_on_repo(store: Store, user_id: int, repo_id: int, owner_id: int) -> list[Team]:
    """Teams through which ``user_id`` has rights on the repo."""
    sql = (
        "SELECT t.* FROM teams t JOIN team_members m ON m.team_id = t.id WHERE t.org_id = ? AND m.user_id = ?"
        " AND (t.all_repos OR t.permission = 'owner'"
        " OR EXISTS (SELECT 1 FROM team_repos r WHERE r.team_id = t.id AND r.repo_id = ?))"
    )
    return [_team(dict(row)) for row in store.all(sql, owner_id, user_id, repo_id)]
