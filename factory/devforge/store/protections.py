"""Branch protection rules: which one applies to a branch, and what it allows whom (reference, section 3.2)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from factory.devforge import globs
from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import access, orgs, users
from factory.devforge.store.access import Mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User


@dataclass(frozen=True)
class Rule:
    """One rule. Lists hold ids of accounts and teams; names appear only on the wire."""

    id: int
    repo_id: int
    rule_name: str
    created: int
    updated: int
    enable_push: bool = False
    enable_push_whitelist: bool = False
    push_users: tuple[int, ...] = ()
    push_teams: tuple[int, ...] = ()
    push_whitelist_deploy_keys: bool = False
    enable_merge_whitelist: bool = False
    merge_users: tuple[int, ...] = ()
    merge_teams: tuple[int, ...] = ()
    required_approvals: int = 0
    enable_approvals_whitelist: bool = False
    approval_users: tuple[int, ...] = ()
    approval_teams: tuple[int, ...] = ()
    block_on_rejected_reviews: bool = False
    block_on_official_review_requests: bool = False
    block_on_outdated_branch: bool = False
    dismiss_stale_approvals: bool = False
    ignore_stale_approvals: bool = False
    require_signed_commits: bool = False
    protected_file_patterns: str = ""
    unprotected_file_patterns: str = ""
    enable_status_check: bool = False
    status_check_contexts: tuple[str, ...] = ()
    apply_to_admins: bool = False

    def covers(self, branch: str) -> bool:
        """Plain names in any case; patterns with ``/`` as separator."""
        if globs.is_glob(self.rule_name):
            return globs.matches(self.rule_name, branch, "/")
        return self.rule_name.lower() == branch.lower()


_ROW = ("id", "repo_id", "rule_name", "created", "updated")


def _rule(row: Row) -> Rule:
    stored: dict[str, Any] = json.loads(row["fields"])
    values: dict[str, Any] = {name: row[name] for name in _ROW}
    values |= {key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()}
    return Rule(**values)


def of_repo(store: Store, repo: Repo) -> list[Rule]:
    """In the order in which they are tried: plain names first, then creation."""
    rules = [_rule(row) for row in store.all("SELECT * FROM protections WHERE repo_id = ? ORDER BY id", repo.id)]
    return sorted(rules, key=lambda rule: globs.is_glob(rule.rule_name))


def for_branch(store: Store, repo: Repo, branch: str) -> Rule | None:
    """The first rule that covers the branch; only this one applies."""
    return next((rule for rule in of_repo(store, repo) if rule.covers(branch)), None)


def get(store: Store, repo: Repo, name: str) -> Rule:
    row = store.one("SELECT * FROM protections WHERE repo_id = ? AND rule_name = ?", repo.id, name)
    if row is None:
        raise not_found(f"branch protection does not exist [repo_id: {repo.id}, name: {name}]")
    return _rule(row)


def save(store: Store, rule: Rule) -> Rule:
    """Insert (id 0) or replace. 403 for a rule name that is taken, as Forgejo answers."""
    content = {key: value for key, value in asdict(rule).items() if key not in _ROW}
    now = store.now()
    with store.tx():
        row = store.one("SELECT id FROM protections WHERE repo_id = ? AND rule_name = ?", rule.repo_id, rule.rule_name)
        if row is not None and row["id"] != rule.id:
            raise Refusal(403, "Branch protection already exist")
        if rule.id:
            store.update("protections", rule.id, rule_name=rule.rule_name, fields=json.dumps(content), updated=now)
            return replace(rule, updated=now)
        made = store.insert(
            "protections",
            repo_id=rule.repo_id,
            rule_name=rule.rule_name,
            fields=json.dumps(content),
            created=now,
            updated=now,
        )
        return replace(rule, id=made, created=now, updated=now)


def delete(store: Store, rule: Rule) -> None:
    store.run("DELETE FROM protections WHERE id = ?", rule.id)


def with_fields(rule: Rule, values: Mapping[str, Any]) -> Rule:
    """The rule with those of ``values`` that are its fields."""
    known = {field.name for field in fields(Rule)} - set(_ROW)
    return replace(rule, **{key: value for key, value in values.items() if key in known})


def writers(store: Store, repo: Repo, logins: Iterable[str]) -> tuple[int, ...]:
    """Ids for a push or merge list: 422 for an unknown name; those without code write are dropped silently."""
    people = [_known(store, login) for login in logins]
    return tuple(sorted({u.id for u in people if access.user_mode(store, u, repo) >= Mode.WRITE}))


def reviewers(store: Store, repo: Repo, logins: Iterable[str]) -> tuple[int, ...]:
    """Ids for the approvals list: those without explicit access are dropped silently."""
    people = [_known(store, login) for login in logins]
    return tuple(sorted({u.id for u in people if access.explicit(store, u, repo)}))


def _known(store: Store, login: str) -> User:
    user = users.find(store, login)
    if user is None or user.is_org:
        raise invalid(f"user does not exist [uid: 0, name: {login}, keyid: 0]")
    return user


def team_ids(store: Store, repo: Repo, names: Iterable[str]) -> tuple[int, ...]:
    """Ids of teams of the repo's organisation; 422 for an unknown one."""
    found: set[int] = set()
    for name in names:
        team = orgs.find_team(store, repo.owner_id, name)
        if team is None:
            raise invalid(f"team does not exist [org_id {repo.owner_id}, team_id 0, name: {name}]")
        found.add(team.id)
    return tuple(sorted(found))


# ---------------------------------------------------------------- what a rule allows


def _listed(store: Store, user: User, people: tuple[int, ...], teams: tuple[int, ...]) -> bool:
    if user.id in people:
        return True
    return any(
        store.one("SELECT 1 FROM team_members WHERE team_id = ? AND user_id = ?", team_id, user.id) is not None
        for team_id in teams
    )


def may_push(store: Store, rule: Rule, repo: Repo, user: User) -> bool:
    """Direct pushes: nobody at all unless enabled, site admins included."""
    if not rule.enable_push:
        return False
    if not rule.enable_push_whitelist:
        return access.user_mode(store, user, repo) >= Mode.WRITE
    return _listed(store, user, rule.push_users, rule.push_teams)


def may_merge(store: Store, rule: Rule | None, repo: Repo, user: User) -> bool:
    """Merging a pull request into a branch under ``rule``: code writers, and the list binds admins too. Somebody on the
    list who lost the right to write is refused here already, by Forgejo only in its hook."""
    if access.user_mode(store, user, repo) < Mode.WRITE:
        return False
    return rule is None or not rule.enable_merge_whitelist or _listed(store, user, rule.merge_users, rule.merge_teams)


def is_official(store: Store, rule: Rule | None, repo: Repo, user: User) -> bool:
    """Whether the user's review counts: code writers, or only those listed when there is a list."""
    if rule is None or not rule.enable_approvals_whitelist:
        return access.user_mode(store, user, repo) >= Mode.WRITE
    return _listed(store, user, rule.approval_users, rule.approval_teams)
