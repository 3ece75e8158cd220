"""Commits made through the contents API: the conflict matrix of the reference (section 3.6), then one ref change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from factory.devforge import guard, merge, moves
from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.moves import Change
from factory.devforge.store import access
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo
from factory.errors import GitFailed
from factory.git import objects
from factory.git.values import ZERO, CommitInfo, Signature


@dataclass(frozen=True)
class FileChange:
    """``operation`` create, update or delete; ``sha`` the blob it replaces."""

    operation: str
    path: str
    content: bytes = b""
    sha: str = ""
    from_path: str = ""


@dataclass(frozen=True)
class Committing:
    """The rest of a request. ``single`` is the route for one file, whose codes differ a little."""

    branch: str = ""
    new_branch: str = ""
    message: str = ""
    author: Signature | None = None
    committer: Signature | None = None
    signoff: bool = False
    single: bool = True


def commit_files(store: Store, actor: Actor, repo: Repo, files: Sequence[FileChange], how: Committing) -> CommitInfo:
    """Write, change and delete files as one commit on a branch, or on a new one made from it."""
    access.need_unarchived(repo)
    with store.exclusive():
        if access.mode(store, actor, repo) < Mode.WRITE:
            raise forbidden("user should have a permission to write to a repo")
        base_branch = how.branch or repo.default_branch
        target = how.new_branch or base_branch
        tip = objects.read_ref(repo.path, f"refs/heads/{base_branch}")
        if tip is None and not repo.empty:
            raise not_found(f"branch does not exist [repo_id: {repo.id} name: {base_branch}]")
        if tip is None and any(change.operation != "create" for change in files):
            raise invalid("repo is empty")
        on_new = target != base_branch
        if on_new and objects.read_ref(repo.path, f"refs/heads/{target}") is not None:
            raise invalid(f"branch already exists [name: {target}]")
        paths = [p for change in files for p in (change.path, change.from_path) if p]
        if not on_new and not guard.may_commit(store, actor, repo, target, paths):
            raise forbidden(f"user cannot commit to repo [user: {actor.who.login}]")
        written: dict[str, bytes | None] = {}
        for one in files:
            written |= _file(repo, tip, one, single=how.single)
        me = merge.signature(store, actor.who)
        message = (how.message.strip() or _message(files)) + "\n"
        if how.signoff:
            message += f"\nSigned-off-by: {me.name} <{me.email}>\n"
        try:
            made = objects.build_commit(
                repo.path,
                parent=tip,
                changes=written,
                message=message,
                author=how.author or me,
                committer=how.committer or me,
            )
        except GitFailed as error:
            raise invalid(f"path contains a malformed path component: {error}") from error
        change = Change(f"refs/heads/{target}", ZERO if on_new or tip is None else tip, made)
        if on_new:
            refused = guard.refusal(store, actor, repo, change, repo.path)
            if refused:
                raise Refusal(500, f"PushRejected with remote message: {refused}")
        failed = moves.apply(store, repo, actor.who, [change])
        if failed:
            raise Refusal(500, f"push rejected: {next(iter(failed.values()))}")
        return objects.commit_info(repo.path, made)


def _message(files: Sequence[FileChange]) -> str:
    verbs = {"create": "Add", "update": "Update", "delete": "Delete"}
    return "\n".join(f"{verbs[change.operation]} {change.path}" for change in files)


def _file(repo: Repo, tip: str | None, change: FileChange, *, single: bool) -> dict[str, bytes | None]:
    """What one change writes; raises the code of the matrix."""
    if change.operation not in ("create", "update", "delete"):
        raise invalid(f"invalid operation: {change.operation}")
    source = change.from_path or change.path
    old = None if tip is None else objects.find_entry(repo.path, tip, source)
    if change.operation == "create":
        if old is not None:
            raise invalid(f"repository file already exists [path: {change.path}]")
        return {change.path: change.content}
    if old is None or old.kind == "tree":
        if change.operation == "delete":
            raise not_found(f"repository file does not exist [path: {source}]")
        raise Refusal(500, f"repository file does not exist [path: {source}]")
    if not change.sha:
        raise invalid(
            "a SHA must be provided when updating a file" if change.operation == "update" else "[SHA]: Required"
        )
    if change.sha != old.oid:
        status = 400 if change.operation == "delete" and single else 409
        raise Refusal(status, f"sha does not match [given: {change.sha}, expected: {old.oid}]")
    if change.operation == "delete":
        return {change.path: None}
    moved: dict[str, bytes | None] = {source: None} if source != change.path else {}
    return {**moved, change.path: change.content}


def signature(given: object, when: str, fallback: Signature) -> Signature | None:
    """An identity of the request's body over the acting account; None when it names nothing."""
    from datetime import datetime

    found = fallback
    if isinstance(given, dict) and (given.get("name") or given.get("email")):
        found = replace(found, name=str(given.get("name") or found.name), email=str(given.get("email") or found.email))
    if when:
        try:
            moment = datetime.fromisoformat(when)
        except ValueError:
            raise invalid(f'parsing time "{when}"') from None
        found = replace(found, when=int(moment.timestamp()))
    return None if found is fallback else found
