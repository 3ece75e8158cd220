"""The forge's settings around the ops repo as facts: their digest, what is wrong with them, what changed. Pure.

A rule that was taken off and put back leaves the time of its change, which is part of the facts; so is every field of a
rule, known to us or not. What a forge never shows (marking pull requests as merged by hand) cannot be watched: nothing
of the vault believes that a pull request was merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from factory.forge import decode
from factory.forge.globs import first_match
from factory.forge.settings import ONLY_MERGE, differences
from factory.forge.values import Repo, RepoName, User
from factory.forge.wanted import RepoWanted, wanted_setup
from factory.vault.canonical import json_bytes, sha256

Facts = Mapping[str, Any]
"""``repo``, ``rules`` (as the forge tells them) and ``people`` (login -> id and permission); plain JSON."""
WRITES = frozenset({"write", "admin", "owner"})
SECOND = timedelta(seconds=1)
"""The forge tells whole seconds: what happened in the rest of one came before what it tells of it, or after."""
_LISTS = ("push_whitelist_teams", "merge_whitelist_teams", "approvals_whitelist_teams")


@dataclass(frozen=True)
class Expected:
    """What set-up made: the repo's id, who acts for which duty, the paths that may be pushed directly."""

    ops: RepoName
    ops_id: int
    accounts: Mapping[str, str]
    direct_patterns: str


def facts_of(repo: Repo, rules: Iterable[Mapping[str, Any]], permissions: Mapping[str, tuple[User, str]]) -> Facts:
    """The facts from the forge's answers; ``permissions``: login -> account and its right."""
    return {
        "repo": {
            "id": repo.id, "name": str(repo.name), "default_branch": repo.default_branch, "private": repo.private,
            "archived": repo.archived, "has_actions": repo.has_actions, "styles": sorted(repo.styles),
        },
        "rules": [_sorted(rule) for rule in rules],
        "people": {login: {"id": user.id, "permission": right} for login, (user, right) in sorted(permissions.items())},
    }  # fmt: skip


def _sorted(rule: Mapping[str, Any]) -> dict[str, Any]:
    """A rule whose lists compare equal in whatever order the forge tells them."""
    return {key: sorted(value, key=repr) if isinstance(value, list) else value for key, value in sorted(rule.items())}


def digest(facts: Facts) -> str:
    """SHA-256 of the facts."""
    return sha256(json_bytes(facts))


def writers(facts: Facts) -> frozenset[int]:
    """Ids of the accounts that may write."""
    return frozenset(one["id"] for one in facts["people"].values() if one["permission"] in WRITES and one["id"] > 0)


def admins(facts: Facts) -> tuple[str, ...]:
    """Logins that may change the settings."""
    return tuple(login for login, one in facts["people"].items() if one["permission"] in ("admin", "owner"))


def wrong(facts: Facts, expected: Expected) -> tuple[str, ...]:
    """Everything that is not as it must be, in words; empty: all is."""
    repo, found = facts["repo"], list[str]()
    if (repo["id"], repo["name"]) != (expected.ops_id, str(expected.ops)):
        found.append(f"the repo is {repo['name']} (id {repo['id']}), not {expected.ops} (id {expected.ops_id})")
    if repo["archived"]:
        found.append("the repo is archived")
    if repo["has_actions"]:
        found.append("actions are switched on")
    if frozenset(repo["styles"]) != ONLY_MERGE:
        others = sorted(frozenset(repo["styles"]) - ONLY_MERGE)
        found.append(f"other ways of merging are allowed: {', '.join(others)}" if others else "merging is not allowed")
    bots = frozenset(expected.accounts.values())
    want = _wanted(expected, facts, bots)
    found += _rules(facts, want)
    for login, right in sorted(want.collaborators.items()):
        have = facts["people"].get(login, {}).get("permission", "none")
        if have != right:
            found.append(f"{login} has {have} on it, not {right}")
    return tuple(found)


def _wanted(expected: Expected, facts: Facts, bots: frozenset[str]) -> RepoWanted:
    """Whose approval a rule counts is the policy's question; here only that none of ours is among them."""
    named = {
        login
        for rule in map(decode.protection, facts["rules"])
        if rule.rule_name == "mai[n]"
        for login in rule.approvals_whitelist_usernames
    }
    ours = {login.casefold() for login in bots}
    people = sorted(login for login in named if login.casefold() not in ours)
    wanted = wanted_setup(
        RepoName(expected.ops.owner, expected.ops.name.removesuffix("-ops")), expected.ops,
        accounts=expected.accounts, approvers=people or ["somebody who may approve"],
        direct_patterns=expected.direct_patterns,
    )  # fmt: skip
    return wanted.repos[1]


def _rules(facts: Facts, want: RepoWanted) -> Iterable[str]:
    there = {decode.text(rule, "rule_name"): rule for rule in facts["rules"]}
    for rule, branch in zip(want.protections, want.branches, strict=True):
        have = there.get(rule.rule_name)
        if have is None:
            yield f"{branch} is not protected: the rule {rule.rule_name} is gone"
            continue
        winner = first_match(there, branch)
        if winner != rule.rule_name:
            yield f"the rule {winner} wins over {rule.rule_name}, so {branch} is not protected by ours"
        lines = differences(rule, decode.protection(have))
        lines += [f"{key}: {', '.join(map(str, have[key]))}" for key in _LISTS if have.get(key)]
        lines += ["deploy keys may push"] if have.get("push_whitelist_deploy_keys") is True else []
        if lines:
            yield f"the rule {rule.rule_name}: {'; '.join(lines)}"


def changes(before: Facts, after: Facts) -> tuple[str, ...]:
    """What differs between two looks, in words."""
    found = [
        f"{key} of the repo: {_words(before['repo'].get(key))}, now {_words(value)}"
        for key, value in after["repo"].items()
        if before["repo"].get(key) != value
    ]
    old, new = ({rule.get("rule_name", ""): rule for rule in facts["rules"]} for facts in (before, after))
    found += [f"the rule {name} was removed" for name in sorted(old.keys() - new.keys())]
    found += [f"the rule {name} was added" for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        keys = sorted(old[name].keys() | new[name].keys())
        differ = [key for key in keys if old[name].get(key) != new[name].get(key)]
        real = [key for key in differ if key not in ("updated_at", "created_at")]
        if real:
            said = "; ".join(f"{key}: {_words(old[name].get(key))}, now {_words(new[name].get(key))}" for key in real)
            found.append(f"the rule {name}: {said}")
        elif differ:
            found.append(f"the rule {name} was changed and put back, or made anew")
    if not found and [*old] != [*new]:
        found.append("the order of the rules changed")
    for login in sorted(before["people"].keys() | after["people"].keys()):
        was, now = before["people"].get(login), after["people"].get(login)
        if was != now:
            found.append(f"{login}: {_right(was)}, now {_right(now)}")
    return tuple(found)


def settled(before: Facts, after: Facts, seen: datetime, at: datetime) -> datetime:
    """From when on nothing changed any more, of what differs between a look at ``seen`` and one at ``at``: until the
    later one, for all that anybody knows. Only of a branch rule the forge tells when it changed last; so where nothing
    differs but rules that are still there, it is from the second after that."""
    latest = at
    old, new = ({str(rule.get("rule_name", "")): rule for rule in facts["rules"]} for facts in (before, after))
    kept = [name for name in new if name in old]
    if [*old] == kept and all(before[key] == after[key] for key in before.keys() | after.keys() if key != "rules"):
        moments = [_moment(rule.get("updated_at")) for name, rule in new.items() if old.get(name) != rule]
        told = [moment for moment in moments if moment is not None and seen - SECOND <= moment <= at]
        if moments and len(told) == len(moments):
            latest = max(told)
    return latest + SECOND


def _moment(text: object) -> datetime | None:
    try:
        told = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return told if told.tzinfo is not None else None


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "nothing" if value in (None, "") else str(value)


def _right(person: Mapping[str, Any] | None) -> str:
    return "no collaborator" if person is None else f"{person['permission']} (account {person['id']})"
