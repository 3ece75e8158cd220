"""Files and commits: contents, raw files, trees, blobs, commits, comparison, statuses, notes."""

from __future__ import annotations

import base64
import re
from email.utils import formatdate
from typing import Any

from factory.devforge import contents, merge, patches
from factory.devforge.api.call import Answer, Call, created
from factory.devforge.api.repos import R, decode_base64
from factory.devforge.api.router import ROUTER
from factory.devforge.contents import Committing, FileChange
from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.render import git as render
from factory.devforge.store import statuses
from factory.devforge.store.access import Mode
from factory.devforge.store.repos import Repo
from factory.errors import GitFailed
from factory.git import objects
from factory.git.values import CommitInfo

MAX_BLOB = 10_485_760
_SHA = re.compile(r"[0-9a-f]{4,40}")


def resolve(repo: Repo, ref: str) -> str | None:
    """The commit a branch, a tag or an id names, in that order; '' is the default branch."""
    if not ref:
        return objects.resolve_commit(repo.path, f"refs/heads/{repo.default_branch}")
    names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    for name in names:
        found = objects.read_ref(repo.path, name)
        if found is not None:
            return objects.resolve_commit(repo.path, found)
    return objects.resolve_commit(repo.path, ref) if _SHA.fullmatch(ref) else None


def _commit(call: Call, repo: Repo, ref: str) -> str:
    found = resolve(repo, ref)
    if found is None:
        raise not_found(f"object does not exist [id: {ref}, rel_path: ]")
    return found


# ---------------------------------------------------------------- reading


@ROUTER.add("GET", R + "/contents", "repository")
def contents_root(call: Call) -> Answer:
    return _contents(call, "")


@ROUTER.add("GET", R + "/contents/{path...}", "repository")
def contents_of(call: Call) -> Answer:
    return _contents(call, call.params["path"].strip("/"))


def _contents(call: Call, path: str) -> Answer:
    repo = call.repo(unit="code")
    if repo.empty:
        return Answer(200, [])
    ref = call.query("ref") or repo.default_branch
    tip = _commit(call, repo, call.query("ref"))
    if path:
        entry = objects.find_entry(repo.path, tip, path)
        if entry is None:
            raise not_found(f"object does not exist [id: , rel_path: {path}]")
        if entry.kind != "tree":
            return Answer(200, _file_json(call, repo, tip, path, ref))
    found = objects.list_tree(repo.path, tip, path)
    return Answer(200, [render.contents(call.store, repo, e, ref, data=None, last_commit=tip) for e in found])


def _file_json(call: Call, repo: Repo, tip: str, path: str, ref: str) -> dict[str, Any] | None:
    entry = objects.find_entry(repo.path, tip, path)
    if entry is None:
        return None
    data = b""
    if entry.kind == "blob" and entry.size <= MAX_BLOB:
        data = objects.read_blob(repo.path, entry.oid) or b""
    return render.contents(call.store, repo, entry, ref, data=data, last_commit=last_commit(repo, tip, path))


def last_commit(repo: Repo, tip: str, path: str, limit: int = 200) -> str:
    """The newest commit on the first-parent line, among the last ``limit``, that changed the path."""
    current = objects.find_entry(repo.path, tip, path)
    newest = tip
    for info in objects.log(repo.path, tip, first_parent=True, limit=limit):
        newest = info.oid
        if not info.parents or objects.find_entry(repo.path, info.parents[0], path) != current:
            break
    return newest


@ROUTER.add("GET", R + "/raw/{path...}", "repository")
def raw(call: Call) -> Answer:
    return _raw(call)


@ROUTER.add("GET", R + "/media/{path...}", "repository")
def media(call: Call) -> Answer:
    return _raw(call)


def _raw(call: Call) -> Answer:
    """The only cacheable answers: ETag is the blob's quoted id."""
    repo, path = call.repo(unit="code"), call.params["path"]
    if repo.empty:
        raise not_found("Git Repository is empty.")
    tip = _commit(call, repo, call.query("ref"))
    entry = objects.find_entry(repo.path, tip, path)
    if entry is None or entry.kind != "blob":
        raise not_found(f"object does not exist [id: , rel_path: {path}]")
    when = objects.commit_info(repo.path, last_commit(repo, tip, path)).committer.when
    headers = {
        "ETag": f'"{entry.oid}"',
        "Last-Modified": formatdate(when, usegmt=True),
        "Cache-Control": "private, max-age=300",
        "Content-Type": "text/plain; charset=utf-8",
        # Anything may be in a repo: it is never rendered, whatever it claims to be.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    if call.headers.get("if-none-match") == headers["ETag"]:
        return Answer(304, None, headers)
    data = objects.read_blob(repo.path, entry.oid) or b""
    if b"\0" in data[:8000]:
        headers["Content-Type"] = "application/octet-stream"
    return Answer(200, data, headers, raw=True)


@ROUTER.add("GET", R + "/git/trees/{sha}", "repository")
def tree(call: Call) -> Answer:
    """All errors are 400, as on Forgejo."""
    repo = call.repo(unit="code")
    wanted = call.params["sha"]
    found = objects.object_kind(repo.path, wanted) if _SHA.fullmatch(wanted) else None
    tip = found[1] if found else resolve(repo, wanted)
    if tip is None:
        raise Refusal(400, f"object does not exist [id: {wanted}, rel_path: ]")
    try:
        recursive = call.flag("recursive")
        entries = objects.list_tree(repo.path, tip, recursive=recursive)
    except GitFailed as error:
        raise Refusal(400, str(error)) from error
    page, per_page = max(1, call._count("page", 1)), call._count("per_page", 1000)
    per_page = 1000 if per_page <= 0 else min(per_page, 1000)
    part = entries[(page - 1) * per_page : page * per_page]
    shown = [
        {
            "path": e.path,
            "mode": f"{e.mode:06o}",
            "type": e.kind,
            "size": e.size,
            "sha": e.oid,
            "url": render.api(call.store, repo, f"git/{'trees' if e.kind == 'tree' else 'blobs'}/{e.oid}"),
        }
        for e in part
    ]
    body = {
        "sha": tip,
        "url": render.api(call.store, repo, f"git/trees/{tip}"),
        "tree": shown,
        "truncated": page * per_page < len(entries),
        "page": page,
        "total_count": len(entries),
    }
    return Answer(200, body, call.total(len(entries)))


def _blob(call: Call, repo: Repo, sha: str) -> dict[str, Any] | None:
    found = objects.object_kind(repo.path, sha) if _SHA.fullmatch(sha) else None
    if found is None or found[0] != "blob":
        return None
    data = objects.read_blob(repo.path, found[1]) or b""
    return {
        "content": base64.b64encode(data).decode() if len(data) <= MAX_BLOB else "",
        "encoding": "base64",
        "url": render.api(call.store, repo, f"git/blobs/{found[1]}"),
        "sha": found[1],
        "size": len(data),
    }


@ROUTER.add("GET", R + "/git/blobs/{sha}", "repository")
def blob(call: Call) -> Answer:
    found = _blob(call, call.repo(unit="code"), call.params["sha"])
    if found is None:
        raise Refusal(400, f"object does not exist [id: {call.params['sha']}, rel_path: ]")
    return Answer(200, found)


@ROUTER.add("GET", R + "/git/blobs", "repository")
def blobs(call: Call) -> Answer:
    repo = call.repo(unit="code")
    wanted = [sha for sha in call.query("shas").split(",") if sha]
    if len(wanted) > 50:
        raise Refusal(400, "too many blobs requested")
    return Answer(200, [found for found in (_blob(call, repo, sha) for sha in wanted) if found])


@ROUTER.add("GET", R + "/git/commits/{sha}", "repository")
def git_commit(call: Call) -> Answer:
    repo = call.repo(unit="code")
    wanted, _, kind = call.params["sha"].partition(".")
    if kind in ("diff", "patch"):
        info = objects.commit_info(repo.path, _commit(call, repo, wanted))
        base = info.parents[0] if info.parents else objects.EMPTY_TREE
        text = objects.diff_text(repo.path, base, info.oid, MAX_BLOB)
        if kind == "patch":
            text = patches.mailbox(repo.path, [info], MAX_BLOB)
        return Answer(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"}, raw=True)
    info = objects.commit_info(repo.path, _commit(call, repo, call.params["sha"]))
    return Answer(
        200, render.commit(call.store, repo, info, files=call.flag("files", True), stat=call.flag("stat", True))
    )


@ROUTER.add("GET", R + "/commits", "repository")
def commits(call: Call) -> Answer:
    repo = call.repo(unit="code")
    if repo.empty:
        raise Refusal(409, "Git Repository is empty.")
    tip, path = _commit(call, repo, call.query("sha")), call.query("path").strip("/")
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
    base = _commit(call, repo, left or repo.default_branch)
    head = _commit(call, repo, (right or repo.default_branch).rpartition(":")[2])
    found = objects.log(repo.path, head, exclude=[base])
    shown = [render.commit(call.store, repo, info) for info in found]
    files = [file for one in shown for file in one["files"] or []]
    return Answer(200, {"total_commits": len(found), "commits": shown, "files": files})


# ---------------------------------------------------------------- writing


def _how(call: Call, *, single: bool) -> Committing:
    me = merge.signature(call.store, call.who)
    dates = call.object("dates")
    return Committing(
        branch=call.text("branch"),
        new_branch=call.text("new_branch"),
        message=call.text("message"),
        author=contents.signature(call.object("author"), str(dates.get("author") or ""), me),
        committer=contents.signature(call.object("committer"), str(dates.get("committer") or ""), me),
        signoff=call.switch("signoff"),
        single=single,
    )


def _made(call: Call, repo: Repo, info: CommitInfo) -> dict[str, Any]:
    whole = render.commit(call.store, repo, info, files=False, stat=False)
    return {
        "sha": info.oid,
        "url": whole["url"],
        "html_url": whole["html_url"],
        "created": whole["created"],
        "author": whole["commit"]["author"],
        "committer": whole["commit"]["committer"],
        "parents": whole["parents"],
        "message": info.message,
        "tree": {**whole["commit"]["tree"], "sha": info.tree},
    }


def _write_one(call: Call, operation: str) -> Answer:
    repo, path = call.repo(unit="code"), call.params["path"].strip("/")
    data = b"" if operation == "delete" else decode_base64(call.text("content"))
    if operation == "delete" and not call.text("sha"):
        raise invalid("[SHA]: Required")
    if operation == "update" and repo.empty:
        raise invalid("repo is empty")
    change = FileChange(operation, path, data, call.text("sha"), call.text("from_path"))
    how = _how(call, single=True)
    info = contents.commit_files(call.store, call.actor, repo, [change], how)
    branch = how.new_branch or how.branch or repo.default_branch
    shown = None if operation == "delete" else _file_json(call, repo, info.oid, path, branch)
    body = {"content": shown, "commit": _made(call, repo, info), "verification": render.UNVERIFIED}
    return Answer(201 if operation == "create" else 200, body)


@ROUTER.add("POST", R + "/contents/{path...}", "repository", token=True)
def create_file(call: Call) -> Answer:
    return _write_one(call, "create")


@ROUTER.add("PUT", R + "/contents/{path...}", "repository", token=True)
def update_file(call: Call) -> Answer:
    return _write_one(call, "update")


@ROUTER.add("DELETE", R + "/contents/{path...}", "repository", token=True)
def delete_file(call: Call) -> Answer:
    return _write_one(call, "delete")


@ROUTER.add("POST", R + "/contents", "repository", token=True)
def change_files(call: Call) -> Answer:
    repo = call.repo(unit="code")
    given = call.json().get("files")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise invalid("[Files]: Required")
    changes = [
        FileChange(
            operation=str(one.get("operation") or ""),
            path=str(one.get("path") or "").strip("/"),
            content=decode_base64(str(one.get("content") or "")),
            sha=str(one.get("sha") or ""),
            from_path=str(one.get("from_path") or "").strip("/"),
        )
        for one in given
    ]
    how = _how(call, single=False)
    info = contents.commit_files(call.store, call.actor, repo, changes, how)
    branch = how.new_branch or how.branch or repo.default_branch
    shown = [None if c.operation == "delete" else _file_json(call, repo, info.oid, c.path, branch) for c in changes]
    return created({"files": shown, "commit": _made(call, repo, info), "verification": render.UNVERIFIED})


# ---------------------------------------------------------------- statuses


@ROUTER.add("POST", R + "/statuses/{sha}", "repository", token=True)
def post_status(call: Call) -> Answer:
    repo = call.repo(Mode.WRITE)
    sha = _commit(call, repo, call.params["sha"])
    made = statuses.add(
        call.store,
        repo,
        call.who,
        sha,
        state=call.text("state"),
        context=call.text("context"),
        description=call.text("description"),
        target_url=call.text("target_url"),
    )
    return created(render.status(call.store, repo, made))


def _all_statuses(call: Call, name: str) -> Answer:
    repo = call.repo(unit="code")
    found = statuses.every(call.store, repo, _commit(call, repo, call.params[name]))
    if call.query("state"):
        found = [one for one in found if one.state == call.query("state")]
    page = [render.status(call.store, repo, one) for one in call.cut_if_asked(found)]
    return Answer(200, page, call.linked(len(found)))


@ROUTER.add("GET", R + "/statuses/{sha}", "repository")
def list_statuses(call: Call) -> Answer:
    return _all_statuses(call, "sha")


@ROUTER.add("GET", R + "/commits/{ref}/statuses", "repository")
def list_commit_statuses(call: Call) -> Answer:
    return _all_statuses(call, "ref")


@ROUTER.add("GET", R + "/commits/{ref}/status", "repository")
def combined_status(call: Call) -> Answer:
    repo = call.repo(unit="code")
    sha = _commit(call, repo, call.params["ref"])
    found = statuses.latest(call.store, repo, sha)
    page = list(call.cut(found))
    return Answer(200, render.combined(call.store, repo, sha, page, call.actor), call.total(len(found)))
