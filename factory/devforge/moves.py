"""Every change of a ref, and all that follows from it, as one step that survives a kill.

Refs are the truth about branches, rows about everything else. A change is written in three parts: its plan (a row of
``moves``, committed), the refs (compare-and-swap), and what follows (one transaction that also removes the plan). At
the start :func:`recover` looks at each plan left over: refs that did move get what follows, refs that did not are
forgotten. So a push or merge has happened entirely or not at all, whenever the process dies.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from factory.devforge.errors import Refusal, invalid
from factory.devforge.store import dependencies, issues, pulls, references, releases, repos, reviews, timeline, users
from factory.devforge.store.access import Mode, user_mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.events import Event
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.errors import FactoryError, GitFailed, RefMoved
from factory.git import objects
from factory.git.values import ZERO

_log = logging.getLogger("factory.devforge")

MAX_COMMITS_READ = 100
"""How many pushed commits are looked at for closing words and named in events."""


@dataclass(frozen=True)
class Change:
    """``ref`` from ``old`` to ``new``; forty zeros stand for "not there"."""

    ref: str
    old: str
    new: str

    @property
    def branch(self) -> str | None:
        return self.ref.removeprefix("refs/heads/") if self.ref.startswith("refs/heads/") else None


@dataclass(frozen=True)
class Merge:
    """That the change of the base branch merges this pull request; ``head`` and ``merge_base`` as merged."""

    issue_id: int
    head: str
    merge_base: str


def apply(
    store: Store,
    repo: Repo,
    doer: User,
    changes: Sequence[Change],
    *,
    merge: Merge | None = None,
    rename: tuple[str, str] | None = None,
    atomic: bool = True,
) -> dict[str, str]:
    """Move the refs and do what follows; returns ref -> reason for those that did not move.

    With ``atomic`` none moves unless all can. ``rename`` (old, new branch) makes a creation and a deletion one rename:
    rows that name the branch follow it. Rights are the caller's affair. Call it under ``store.exclusive()``
    when rights were judged on what the refs are now.
    """
    with store.exclusive():
        _finish_leftovers(store)
        failed = _stale(repo, changes)
        if failed and atomic:
            return {change.ref: failed.get(change.ref, "atomic push failed") for change in changes}
        todo = [change for change in changes if change.ref not in failed]
        if not todo:
            return failed
        plan = {
            "changes": [asdict(change) for change in todo],
            "merge": None if merge is None else asdict(merge),
            "rename": rename,
        }
        plan_id = store.insert("moves", repo_id=repo.id, user_id=doer.id, created=store.now(), plan=json.dumps(plan))
        moved: list[Change] = []
        for change in todo:
            try:
                _set(repo, change)
            except RefMoved:
                failed[change.ref] = "fetch first"
            except GitFailed as error:
                failed[change.ref] = _reason(error)
            else:
                moved.append(change)
        _settle(store, repo, doer, moved, plan_id, merge=merge, rename=rename)
        return failed


def _stale(repo: Repo, changes: Sequence[Change]) -> dict[str, str]:
    failed: dict[str, str] = {}
    for change in changes:
        now = objects.read_ref(repo.path, change.ref) or ZERO
        if now != change.old:
            failed[change.ref] = "fetch first" if change.new != ZERO else "reference does not exist"
        elif change.new != ZERO and change.old == ZERO and _clashes(repo, change.ref):
            failed[change.ref] = "a reference of that name is a folder of references, or the reverse"
    return failed


def _clashes(repo: Repo, ref: str) -> bool:
    parts = ref.split("/")
    above = {"/".join(parts[:n]) for n in range(3, len(parts))}
    return any(
        name.startswith(ref + "/") or name in above for name in objects.list_refs(repo.path, "/".join(parts[:2]))
    )


def _set(repo: Repo, change: Change) -> None:
    if change.new == ZERO:
        objects.delete_ref(repo.path, change.ref, change.old)
    else:
        objects.update_ref(repo.path, change.ref, change.new, change.old)


def _reason(error: FactoryError) -> str:
    return str(error).splitlines()[0][:200]


def _finish_leftovers(store: Store) -> None:
    """Finish plans whose end failed in this process (a full disk, say), before refs move on.

    One that cannot be finished is a bug: it goes to the log and is forgotten, for it must not stop every later push.
    """
    for row in store.all("SELECT * FROM moves ORDER BY id"):
        try:
            _finish(store, row)
        except (FactoryError, Refusal, sqlite3.Error, KeyError, ValueError):
            _log.exception("finishing the plan %s", row["plan"])
            store.run("DELETE FROM moves WHERE id = ?", row["id"])


def recover(store: Store) -> int:
    """Finish or forget what a killed process left; returns how many plans there were. Before the first request."""
    rows = store.all("SELECT * FROM moves ORDER BY id")
    for row in rows:
        _finish(store, row)
    return len(rows)


def _finish(store: Store, row: Row) -> None:
    repo, doer = repos.by_id(store, row["repo_id"]), users.by_id(store, row["user_id"])
    plan = json.loads(row["plan"])
    changes = [Change(**change) for change in plan["changes"]]
    moved = [c for c in changes if (objects.read_ref(repo.path, c.ref) or ZERO) == c.new]
    merge = Merge(**plan["merge"]) if plan["merge"] and moved else None
    rename = (plan["rename"][0], plan["rename"][1]) if plan["rename"] and moved else None
    with store.exclusive():
        if rename and len(moved) == 1:  # killed between the two refs: finish the second one
            rest = next(change for change in changes if change not in moved)
            _set(repo, rest)
            moved = changes
        _settle(store, repo, doer, moved, row["id"], merge=merge, rename=rename)


# ---------------------------------------------------------------- what follows


def _settle(
    store: Store,
    repo: Repo,
    doer: User,
    moved: Sequence[Change],
    plan_id: int,
    *,
    merge: Merge | None,
    rename: tuple[str, str] | None,
) -> None:
    with store.tx():
        store.run("DELETE FROM moves WHERE id = ?", plan_id)
        if rename and moved:
            _renamed(store, repo, *rename)
        for change in moved:
            branch = change.branch
            if branch is not None:
                _branch_moved(store, repos.by_id(store, repo.id), doer, branch, change, merge)
            elif change.ref.startswith("refs/tags/"):
                if change.new == ZERO:
                    releases.unpublish(store, repo, change.ref.removeprefix("refs/tags/"))
                _tell_push(store, repo, doer, change)
        if moved:
            repos.touch(store, repo)


def _branch_moved(store: Store, repo: Repo, doer: User, branch: str, change: Change, merge: Merge | None) -> None:
    if change.new == ZERO:
        for pull in pulls.open_with_head(store, repo, branch) + pulls.open_with_base(store, repo, branch):
            if pull.head_branch == branch and pull.head_repo_id == repo.id:
                timeline.add(store, pull.issue.id, "delete_branch", doer.id, old_ref=branch)
            issues.set_state(store, _base_repo(store, pull), pull.issue, doer, "closed", force=True)
        _tell_push(store, repo, doer, change)
        return
    if repo.empty:
        _first_push(store, repo, branch)
    if merge is not None:
        _merged(store, repo, doer, change, merge)
    for pull in pulls.open_with_head(store, repo, branch):
        _head_moved(store, repo, doer, pull, change.new)
    if branch == repos.by_id(store, repo.id).default_branch:
        _close_named(store, repo, doer, change)
    _tell_push(store, repo, doer, change)


def _renamed(store: Store, repo: Repo, old: str, new: str) -> None:
    """Pull requests, the default branch and a plain-name rule follow the branch; a glob rule never does."""
    for side in ("head", "base"):
        sql = f"UPDATE pulls SET {side}_branch = ? WHERE {side}_repo_id = ? AND {side}_branch = ?"  # noqa: S608
        store.run(sql, new, repo.id, old)
    store.run(
        "UPDATE protections SET rule_name = ? WHERE repo_id = ? AND lower(rule_name) = lower(?)", new, repo.id, old
    )
    if repo.default_branch == old:
        store.update("repos", repo.id, default_branch=new)
        objects.set_head(repo.path, pulls.branch_ref(new))


def _first_push(store: Store, repo: Repo, branch: str) -> None:
    default = repo.default_branch
    if objects.read_ref(repo.path, pulls.branch_ref(default)) is None:
        default = branch
        objects.set_head(repo.path, pulls.branch_ref(branch))
    store.update("repos", repo.id, empty=0, default_branch=default)


def _base_repo(store: Store, pull: Pull) -> Repo:
    return repos.by_id(store, pull.issue.repo_id)


def _head_moved(store: Store, head_repo: Repo, doer: User, pull: Pull, new: str, *, pushed: bool = True) -> None:
    """``pushed``: ``doer`` did push it, and the timeline names them."""
    repo = _base_repo(store, pull)
    if repo.id != head_repo.id:
        objects.copy_commits(head_repo.path, repo.path, new)
    old = pull.head_sha
    objects.update_ref(repo.path, pull.head_ref, new)
    if old == new:
        return
    store.update("pulls", pull.issue.id, key="issue_id", head_sha=new)
    if pushed:
        _name_push(store, repo, doer, pull, old, new)
    reviews.head_moved(store, repo, pull, doer, new)
    store.notify(Event("pull_request_sync", "synchronized", repo.id, doer.id, pull.issue.id, {"before": old}))


def _name_push(store: Store, repo: Repo, doer: User, pull: Pull, old: str, new: str) -> None:
    forced = not objects.is_ancestor(repo.path, old, new) if objects.exists(repo.path, old) else True
    base = pulls.base_tip(repo, pull)
    if forced:
        commits = [old, new]
    else:
        hidden = [old, base] if base else [old]
        commits = [c.oid for c in objects.log(repo.path, new, exclude=hidden, limit=MAX_COMMITS_READ)][::-1]
    body = json.dumps({"is_force_push": forced, "commit_ids": commits}, separators=(",", ":"))
    timeline.add(store, pull.issue.id, "pull_push", doer.id, body)


def refresh_head(store: Store, repo: Repo, doer: User, pull: Pull) -> None:
    """Bring a pull request that is reopened up to its branch; 422 when the branch is gone. As in Forgejo, nobody is
    named for what was pushed while it was closed."""
    if pull.head_repo_id is None:
        raise invalid("cannot reopen: the head repository is gone")
    head_repo = repos.by_id(store, pull.head_repo_id)
    tip = objects.read_ref(head_repo.path, pulls.branch_ref(pull.head_branch))
    if tip is None or not pulls.base_tip(repo, pull):
        raise invalid("cannot reopen: the head or base branch is gone")
    _head_moved(store, head_repo, doer, pull, tip, pushed=False)


def _merged(store: Store, repo: Repo, doer: User, change: Change, merge: Merge) -> None:
    issue = issues.by_id(store, merge.issue_id)
    if pulls.of_issue(store, issue).merged:
        return
    now = store.now()
    store.update(
        "pulls",
        issue.id,
        key="issue_id",
        merged=1,
        merged_at=now,
        merged_by=doer.id,
        merge_commit=change.new,
        merge_base=merge.merge_base,
        head_sha=merge.head,
        base_sha=change.old,
    )
    objects.update_ref(repo.path, pulls.pull_ref(issue.number), merge.head)
    store.update("issues", issue.id, state="closed", closed=now, updated=now)
    timeline.add(store, issue.id, "merge_pull", doer.id, change.new)
    _close(store, repo, doer, f"{issue.title}\n{issue.body}")
    store.notify(Event("pull_request", "closed", repo.id, doer.id, issue.id, {"merged": True}))


def _close_named(store: Store, repo: Repo, doer: User, change: Change) -> None:
    """Close what pushed commits name with a closing word; note the other references as events."""
    hidden = [change.old] if change.old != ZERO and objects.exists(repo.path, change.old) else []
    if not hidden and change.old != ZERO:
        return
    for commit in reversed(objects.log(repo.path, change.new, exclude=hidden, limit=MAX_COMMITS_READ)):
        for target_id, _ in references.targets(store, repo, commit.message):
            if store.value("SELECT repo_id FROM issues WHERE id = ?", target_id) == repo.id:
                known = timeline.of_issue(store, target_id, kinds=("commit_ref",))
                if not any(entry.data.get("ref_commit_sha") == commit.oid for entry in known):
                    subject = commit.message.partition("\n")[0]
                    timeline.add(store, target_id, "commit_ref", doer.id, subject, ref_commit_sha=commit.oid)
        _close(store, repo, doer, commit.message)


def _close(store: Store, repo: Repo, doer: User, text: str) -> None:
    """Close the issues that ``text`` closes, as far as the doer may, and not past open dependencies."""
    for target_id, closes in references.targets(store, repo, text):
        target = issues.by_id(store, target_id)
        home = repos.by_id(store, target.repo_id)
        may = target.poster_id == doer.id or user_mode(store, doer, home, target.unit) >= Mode.WRITE
        if closes and may and target.open and not target.is_pull and not dependencies.open_blockers(store, target_id):
            issues.set_state(store, home, target, doer, "closed")


def _tell_push(store: Store, repo: Repo, doer: User, change: Change) -> None:
    more = {"ref": change.ref, "before": change.old, "after": change.new}
    if change.old == ZERO and change.new != ZERO:
        store.notify(Event("create", "", repo.id, doer.id, None, more))
    if change.new == ZERO:
        store.notify(Event("delete", "", repo.id, doer.id, None, more))
    store.notify(Event("push", "", repo.id, doer.id, None, more))
