"""Files at a commit: contents and raw files read, and written as a commit each."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

from factory.devforge import contents, merge
from factory.devforge.api.call import Answer, Call, created
from factory.devforge.api.repos import R, decode_base64
from factory.devforge.api.revisions import commit_of
from factory.devforge.api.router import ROUTER
from factory.devforge.api.trees import MAX_BLOB
from factory.devforge.contents import Committing, FileChange
from factory.devforge.errors import invalid, not_found
from factory.devforge.render import git as render
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import CommitInfo

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
    tip = commit_of(repo, call.query("ref"))
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
    tip = commit_of(repo, call.query("ref"))
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
