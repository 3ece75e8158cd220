"""What a protected branch or tag allows to be pushed or committed, in the order and words of Forgejo's pre-receive."""

from __future__ import annotations

from pathlib import Path

from factory.devforge import globs
from factory.devforge.moves import Change
from factory.devforge.store import protections, tag_rules
from factory.devforge.store.access import Actor, Mode, mode
from factory.devforge.store.database import Store
from factory.devforge.store.protections import Rule
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.git import objects
from factory.git.values import EMPTY_TREE, ZERO

NO_WRITE = "User permission denied for writing."


def refusal(store: Store, actor: Actor, repo: Repo, change: Change, objects_at: Path) -> str | None:
    """Why this push of a ref is refused, None when it is allowed.

    ``objects_at`` is the repo to read from: the quarantine while pushed objects are still in it.
    """
    if mode(store, actor, repo) < Mode.WRITE:
        return NO_WRITE
    branch = change.branch
    if branch is None:
        tag = change.ref.removeprefix("refs/tags/")
        held = tag != change.ref and not tag_rules.may(store, repo, actor.who, tag)
        return f"Tag {tag} is protected" if held else None
    if change.new == ZERO and branch == repo.default_branch:
        return f"branch {branch} is the default branch and cannot be deleted"
    rule = protections.for_branch(store, repo, branch)
    if rule is None:
        return None
    return _absolute(rule, branch, change, objects_at) or _right(
        store, actor.who, repo, rule, branch, change, objects_at
    )


def _absolute(rule: Rule, branch: str, change: Change, at: Path) -> str | None:
    if change.new == ZERO:
        return f"branch {branch} is protected from deletion"
    if change.old != ZERO and not objects.is_ancestor(at, change.old, change.new):
        return f"branch {branch} is protected from force push"
    if rule.require_signed_commits:
        hidden = [change.old] if change.old != ZERO else []
        for commit in objects.log(at, change.new, exclude=hidden, limit=1):
            return (
                f"branch {branch} is protected from unverified commit {commit.oid}"  # no signature is verifiable here
            )
    return None


def _right(store: Store, user: User, repo: Repo, rule: Rule, branch: str, change: Change, at: Path) -> str | None:
    touched = paths_touched(repo, change, at)
    held = protected_paths(rule, touched)
    if not held and protections.may_push(store, rule, repo, user):
        return None
    if held:
        return f"branch {branch} is protected from changing file {held[0]}"
    if rule.unprotected_file_patterns and touched and only_unprotected(rule, touched):
        return None
    return f"Not allowed to push to protected branch {branch}"


def merge_refusal(rule: Rule | None, branch: str, *, admin: bool, touched: list[str]) -> str | None:
    """What the pre-receive hook still says to a merge that passed the checks: a protected file."""
    if rule is None or admin:
        return None
    held = protected_paths(rule, touched)
    return f"branch {branch} is protected from changing file {held[0]}" if held else None


def paths_touched(repo: Repo, change: Change, at: Path) -> list[str]:
    """Every path that differs between the two tips (of a rename both names). A new branch is compared with its merge
    base on the default branch."""
    old = change.old
    if old == ZERO:
        default = objects.read_ref(repo.path, f"refs/heads/{repo.default_branch}")
        old = (objects.merge_base(at, default, change.new) if default else None) or EMPTY_TREE
    return touched_between(at, old, change.new)


def touched_between(at: Path, old: str, new: str) -> list[str]:
    found: list[str] = []
    for entry in objects.diff_names(at, old, new):
        found += [entry.path] if entry.old_path is None else [entry.old_path, entry.path]
    return found


def protected_paths(rule: Rule, touched: list[str]) -> list[str]:
    return [path for path in touched if globs.matches_any(rule.protected_file_patterns, path)]


def only_unprotected(rule: Rule, touched: list[str]) -> bool:
    return all(globs.matches_any(rule.unprotected_file_patterns, path) for path in touched)


def may_commit(store: Store, actor: Actor, repo: Repo, branch: str, paths: list[str]) -> bool:
    """Whether the contents API may write these paths on the branch (before any object is made)."""
    if mode(store, actor, repo) < Mode.WRITE:
        return False
    rule = protections.for_branch(store, repo, branch)
    if rule is None:
        return True
    if protected_paths(rule, paths):
        return False
    return protections.may_push(store, rule, repo, actor.who) or (
        bool(rule.unprotected_file_patterns) and only_unprotected(rule, paths)
    )
