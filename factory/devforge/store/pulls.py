"""Pull requests: the row beside the issue row, and what follows from its two tips."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import access, comparing, issues, repos, timeline
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.comparing import Comparison
from factory.devforge.store.database import Row, Store
from factory.devforge.store.events import Event
from factory.devforge.store.issues import Issue
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import EMPTY_TREE, PathChange

MAX_COMMITS = 100
"""Of a new pull request, in the event that lists them."""
_WIP = re.compile(r"\s*(?:WIP:|\[WIP\])", re.IGNORECASE)


@dataclass(frozen=True)
class Pull:
    """``head_sha`` is the tip last seen; ``merge_base`` and ``base_sha`` (the base tip before) count once merged."""

    issue: Issue
    head_repo_id: int | None
    head_branch: str
    base_branch: str
    head_sha: str
    merge_base: str
    merged: bool
    merged_at: int | None
    merged_by: int | None
    merge_commit: str | None
    base_sha: str
    maintainer_edit: bool

    @property
    def number(self) -> int:
        return self.issue.number

    @property
    def draft(self) -> bool:
        return is_wip(self.issue.title)

    @property
    def head_ref(self) -> str:
        return pull_ref(self.number)


def is_wip(title: str) -> bool:
    return _WIP.match(title) is not None


def pull_ref(number: int) -> str:
    return f"refs/pull/{number}/head"


def branch_ref(branch: str) -> str:
    return f"refs/heads/{branch}"


def _pull(store: Store, row: Row, issue: Issue | None = None) -> Pull:
    return Pull(
        issue=issue or issues.by_id(store, row["issue_id"]),
        head_repo_id=row["head_repo_id"],
        head_branch=row["head_branch"],
        base_branch=row["base_branch"],
        head_sha=row["head_sha"],
        merge_base=row["merge_base"],
        merged=bool(row["merged"]),
        merged_at=row["merged_at"],
        merged_by=row["merged_by"],
        merge_commit=row["merge_commit"],
        base_sha=row["base_sha"],
        maintainer_edit=bool(row["maintainer_edit"]),
    )


def of_issue(store: Store, issue: Issue) -> Pull:
    row = store.one("SELECT * FROM pulls WHERE issue_id = ?", issue.id)
    if row is None:
        raise not_found(f"pull request does not exist [id: 0, issue_id: {issue.id}]")
    return _pull(store, row, issue)


def get(store: Store, repo: Repo, number: int) -> Pull:
    """404 also for the number of an issue."""
    return of_issue(store, issues.get(store, repo, number))


def open_with_head(store: Store, repo: Repo, branch: str) -> list[Pull]:
    sql = (
        "SELECT p.* FROM pulls p JOIN issues i ON i.id = p.issue_id"
        " WHERE p.head_repo_id = ? AND p.head_branch = ? AND i.state = 'open' ORDER BY i.number"
    )
    return [_pull(store, row) for row in store.all(sql, repo.id, branch)]


def open_with_base(store: Store, repo: Repo, branch: str) -> list[Pull]:
    sql = (
        "SELECT p.* FROM pulls p JOIN issues i ON i.id = p.issue_id"
        " WHERE p.base_repo_id = ? AND p.base_branch = ? AND i.state = 'open' ORDER BY i.number"
    )
    return [_pull(store, row) for row in store.all(sql, repo.id, branch)]


def base_tip(repo: Repo, pull: Pull) -> str:
    """The base branch's tip now, '' when the branch is gone."""
    return objects.read_ref(repo.path, branch_ref(pull.base_branch)) or ""


def live_head(store: Store, repo: Repo, pull: Pull) -> tuple[str, str]:
    """(ref, sha) of the head as the API shows it: the live branch, or ``refs/pull/N/head`` when the branch is gone."""
    if pull.head_repo_id is not None:
        path = repo.path if pull.head_repo_id == repo.id else repos.by_id(store, pull.head_repo_id).path
        tip = objects.read_ref(path, branch_ref(pull.head_branch))
        if tip is not None:
            return pull.head_branch, tip
    return pull.head_ref, pull.head_sha


def compare(repo: Repo, base: str, head: str) -> Comparison:
    """Depends on nothing but the two commits, so it is never out of date."""
    return comparing.compare(repo.path, base, head)


def span(repo: Repo, pull: Pull) -> tuple[str, str]:
    """(merge base, head) whose difference is the pull request's change; the merge base of a merged one is frozen."""
    if pull.merged:
        return pull.merge_base or EMPTY_TREE, pull.head_sha
    tip = base_tip(repo, pull)
    if not tip:
        return pull.merge_base or EMPTY_TREE, pull.head_sha
    return compare(repo, tip, pull.head_sha).merge_base or EMPTY_TREE, pull.head_sha


def changes(repo: Repo, pull: Pull) -> tuple[PathChange, ...]:
    """Files changed, from merge base to head."""
    base, head = span(repo, pull)
    return _changes(repo.path, base, head)


@lru_cache(maxsize=128)
def _changes(path: Path, base: str, head: str) -> tuple[PathChange, ...]:
    return tuple(objects.diff_paths(path, base, head))


def digest(repo: Repo, base: str, head: str) -> str:
    """What reviews are bound to: see ``patch_digest``."""
    return _digest(repo.path, base, head)


@lru_cache(maxsize=256)
def _digest(path: Path, base: str, head: str) -> str:
    return objects.patch_digest(path, base, head) if base else ""


def create(
    store: Store,
    actor: Actor,
    repo: Repo,
    *,
    head: str,
    base: str,
    title: str,
    body: str = "",
    label_ids: Sequence[int] = (),
    assignees: Sequence[str] = (),
    milestone_id: int = 0,
) -> Pull:
    """Open a pull request from a branch the actor can read (``branch`` or ``user:branch``).

    404 unknown branch, empty repo or no access; 409 when one is open for these branches; 422 for head = base.
    """
    poster = actor.who
    access.need(store, actor, repo, Mode.READ, "pulls")
    access.need_unarchived(repo)
    if repo.empty:
        raise not_found("Git Repository is empty.")
    head_repo, branch = _head(store, actor, repo, head)
    if not title.strip():
        raise invalid("[Title]: Required")
    base_sha = objects.read_ref(repo.path, branch_ref(base))
    if base_sha is None:
        raise not_found(f"branch does not exist [repo_id: {repo.id} name: {base}]")
    head_sha = objects.read_ref(head_repo.path, branch_ref(branch))
    if head_sha is None:
        raise not_found(f"branch does not exist [repo_id: {head_repo.id} name: {branch}]")
    if head_repo.id == repo.id and branch == base:
        raise invalid("Invalid PullRequest: There are no changes between the head and the base")
    with store.tx():
        for other in open_with_base(store, repo, base):
            if (other.head_repo_id, other.head_branch) == (head_repo.id, branch):
                raise Refusal(
                    409,
                    f"pull request already exists for these targets [id: {other.issue.id}, issue_id: {other.number}, "
                    f"head_repo_id: {head_repo.id}, base_repo_id: {repo.id}, head_branch: {branch}, "
                    f"base_branch: {base}]",
                )
        if head_repo.id != repo.id:
            objects.copy_commits(head_repo.path, repo.path, head_sha)
        issue = issues.insert(store, repo, poster, title=title, body=body, is_pull=True)
        store.insert(
            "pulls",
            issue_id=issue.id,
            base_repo_id=repo.id,
            head_repo_id=head_repo.id,
            head_branch=branch,
            base_branch=base,
            head_sha=head_sha,
            merge_base=compare(repo, base_sha, head_sha).merge_base,
            base_sha=base_sha,
        )
        # Inside the transaction: after a kill in between, the number is used again and the ref is set anew.
        objects.update_ref(repo.path, pull_ref(issue.number), head_sha)
        commits = [one.oid for one in objects.log(repo.path, head_sha, exclude=[base_sha], limit=MAX_COMMITS)][::-1]
        if commits:
            pushed = json.dumps({"is_force_push": False, "commit_ids": commits}, separators=(",", ":"))
            timeline.add(store, issue.id, "pull_push", poster.id, pushed)
        if access.mode(store, actor, repo, "pulls") >= Mode.WRITE:
            issues.dress(store, repo, issue, poster, label_ids, assignees, milestone_id)
        store.notify(Event("pull_request", "opened", repo.id, poster.id, issue.id))
        return get(store, repo, issue.number)


def _head(store: Store, actor: Actor, repo: Repo, head: str) -> tuple[Repo, str]:
    owner, colon, branch = head.partition(":")
    if not colon:
        return repo, head
    owner, slash, name = owner.partition("/")
    if owner.lower() == repo.owner.lower() and (not slash or name.lower() == repo.name.lower()):
        return repo, branch
    candidates = [r for r in repos.every(store) if r.owner.lower() == owner.lower() and r.fork_of == repo.id]
    for found in candidates:
        if access.mode(store, actor, found) >= Mode.READ:
            return found, branch
    raise not_found(f"can't find a fork of {repo.full_name} of {owner}")


def retarget(store: Store, repo: Repo, pull: Pull, doer_id: int, base: str) -> None:
    """Another base branch. 409 a pull request exists for it, 422 closed, 404 no such branch, 500 already contained."""
    from factory.devforge.store import timeline

    if base == pull.base_branch:
        return
    if not pull.issue.open or pull.merged:
        raise invalid("pull request is closed")
    tip = objects.read_ref(repo.path, branch_ref(base))
    if tip is None:
        raise not_found(f"branch does not exist [repo_id: {repo.id} name: {base}]")
    for other in open_with_base(store, repo, base):
        if (other.head_repo_id, other.head_branch) == (pull.head_repo_id, pull.head_branch):
            raise Refusal(409, f"pull request already exists for these targets [issue_id: {other.number}]")
    if compare(repo, tip, pull.head_sha).status == "ancestor":
        raise Refusal(500, f"pull request head is already contained in {base}")
    with store.tx():
        store.update("pulls", pull.issue.id, key="issue_id", base_branch=base)
        timeline.add(store, pull.issue.id, "change_target_branch", doer_id, old_ref=pull.base_branch, new_ref=base)
