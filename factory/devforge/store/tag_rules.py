"""Tag protections: who may make, move and delete tags whose name a pattern covers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from factory.devforge import globs
from factory.devforge.errors import not_found
from factory.devforge.store import orgs
from factory.devforge.store.database import Row, Store
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User


@dataclass(frozen=True)
class TagRule:
    """``pattern`` is a glob (``*`` crosses slashes), or a regular expression between slashes."""

    id: int
    repo_id: int
    pattern: str
    users: tuple[int, ...]
    teams: tuple[int, ...]
    created: int
    updated: int

    def covers(self, tag: str) -> bool:
        """A pattern that is none covers every tag: it must not open what it was made to close."""
        if len(self.pattern) >= 2 and self.pattern[0] == self.pattern[-1] == "/":
            try:
                return re.search(self.pattern[1:-1], tag) is not None
            except re.error:
                return True
        return globs.matches(self.pattern, tag)


def of_repo(store: Store, repo: Repo) -> list[TagRule]:
    """In the order they were made."""
    return [_rule(row) for row in store.all("SELECT * FROM tag_rules WHERE repo_id = ? ORDER BY id", repo.id)]


def get(store: Store, repo: Repo, number: int) -> TagRule:
    """404 where this repo has no such rule."""
    row = store.one("SELECT * FROM tag_rules WHERE repo_id = ? AND id = ?", repo.id, number)
    if row is None:
        raise not_found()
    return _rule(row)


def create(store: Store, repo: Repo, pattern: str, users: Sequence[int], teams: Sequence[int]) -> TagRule:
    now = store.now()
    made = store.insert(
        "tag_rules", repo_id=repo.id, pattern=pattern, users=json.dumps(list(users)), teams=json.dumps(list(teams)),
        created=now, updated=now,
    )  # fmt: skip
    return get(store, repo, made)


def edit(store: Store, repo: Repo, rule: TagRule, pattern: str, users: Sequence[int], teams: Sequence[int]) -> TagRule:
    """The rule with these values instead."""
    store.update(
        "tag_rules", rule.id, pattern=pattern, users=json.dumps(list(users)), teams=json.dumps(list(teams)),
        updated=store.now(),
    )  # fmt: skip
    return get(store, repo, rule.id)


def delete(store: Store, rule: TagRule) -> None:
    store.run("DELETE FROM tag_rules WHERE id = ?", rule.id)


def may(store: Store, repo: Repo, user: User, tag: str) -> bool:
    """Whether an account may make, move or delete a tag of that name: no rule covers it, or one that does names it."""
    rules = [rule for rule in of_repo(store, repo) if rule.covers(tag)]
    return not rules or any(_named(store, repo, rule, user) for rule in rules)


def _named(store: Store, repo: Repo, rule: TagRule, user: User) -> bool:
    if user.id in rule.users:
        return True
    teams = orgs.teams_of_user_on_repo(store, user.id, repo.id, repo.owner_id) if rule.teams else []
    return any(team.id in rule.teams for team in teams)


def _rule(row: Row) -> TagRule:
    values = dict(row)
    return TagRule(**{**values, "users": tuple(json.loads(row["users"])), "teams": tuple(json.loads(row["teams"]))})
