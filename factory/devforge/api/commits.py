"""Commits: one, its diff, the history of a branch or a file, what is between two, the pull request it came by."""

from __future__ import annotations

from factory.devforge import patches
from factory.devforge.api.call import Answer, Call
from factory.devforge.api.repos import R
from factory.devforge.api.revisions import commit_of
from factory.devforge.api.router import ROUTER
from factory.devforge.api.trees import MAX_BLOB
from factory.devforge.errors import Refusal, not_found
from factory.devforge.render import git as render
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import CommitInfo


@ROUTER.add("GET", R + "/git/commits/{sha}", "repository")
def git_commit(call: Call) -> Answer:
    repo = call.repo(unit="code")
    wanted, _, kind = call.params["sha"].partition(".")
    if kind in ("diff", "patch"):
        info = objects.commit_info(repo.path, commit_of(repo, wanted))
        base = info.parents[0] if info.parents else objects.EMPTY_TREE
        text = objects.diff_text(repo.path, base, info.oid, MAX_BLOB)
        if kind == "patch":
            text = patches.mailbox(repo.path, [info], MAX_BLOB)
        return Answer(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"}, raw=True)
    info = objects.commit_info(repo.path, commit_of(repo, call.params["sha"]))
    return Answer(
        200, render.commit(call.store, repo, info, files=call.flag("files", True), stat=call.flag("stat", True))
    )


@ROUTER.add("GET", R + "/commits", "repository")
def commits(call: Call) -> Answer:
    repo = call.repo(unit="code")
    if repo.empty:
        raise Refusal(409, "Git Repository is empty.")
    tip, path = commit_of(repo, call.query("sha")), call.query("path").strip("/")
    page, limit = call.paging
    if path:
        touching = [info for info in objects.log(repo.path, tip) if _touches(repo, info, path)]
        total, found = len(touching), list(call.cut(touching))
    else:
        total = objects.count_commits(repo.path, tip)
        found = objects.log(repo.path, tip, limit=limit, skip=(page - 1) * limit)
    shown = [
        render.commit(call.store, repo, info, files=call.flag("files", True), stat=call.flag("stat", True))
        for info in found
    ]
    pages = max(1, -(-total // limit))
    more = {"X-Page": page, "X-PerPage": limit, "X-Total": total, "X-PageCount": pages,
            "X-HasMore": str(page < pages).lower()}  # fmt: skip
    return Answer(200, shown, call.linked(total) | {name: str(value) for name, value in more.items()})


def _touches(repo: Repo, info: CommitInfo, path: str) -> bool:
    now = objects.find_entry(repo.path, info.oid, path)
    return all(objects.find_entry(repo.path, parent, path) != now for parent in info.parents) and (
        now is not None or bool(info.parents)
    )


@ROUTER.add("GET", R + "/commits/{ref}/pull", "repository")
def pull_of_commit(call: Call) -> Answer:
    from factory.devforge.render import items
    from factory.devforge.store import pulls

    repo = call.repo()
    sql = (
        "SELECT i.number FROM pulls p JOIN issues i ON i.id = p.issue_id"
        " WHERE p.base_repo_id = ? AND p.merge_commit = ? AND p.merged = 1"
    )
    row = call.store.one(sql, repo.id, call.params["ref"])
    if row is None:
        raise not_found()
    return Answer(200, items.pull(call.store, repo, pulls.get(call.store, repo, row["number"]), call.actor))


@ROUTER.add("GET", R + "/compare/{basehead...}", "repository")
def compare(call: Call) -> Answer:
    repo = call.repo(unit="code")
    text = call.params["basehead"]
    left, dots, right = text.partition("...")
    if not dots:
        left, dots, right = text.partition("..")
    base = commit_of(repo, left or repo.default_branch)
    head = commit_of(repo, (right or repo.default_branch).rpartition(":")[2])
    found = objects.log(repo.path, head, exclude=[base])
    shown = [render.commit(call.store, repo, info) for info in found]
    files = [file for one in shown for file in one["files"] or []]
    return Answer(200, {"total_commits": len(found), "commits": shown, "files": files})
