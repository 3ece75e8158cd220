"""Trees and blobs, by id."""

from __future__ import annotations

import base64
from typing import Any

from factory.devforge.api.call import Answer, Call
from factory.devforge.api.repos import R
from factory.devforge.api.revisions import SHA, resolve
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal
from factory.devforge.render import git as render
from factory.devforge.store.repos import Repo
from factory.errors import GitFailed
from factory.git import objects

MAX_BLOB = 10_485_760
"""Bytes that an answer carries of a blob, or of a commit's diff."""


@ROUTER.add("GET", R + "/git/trees/{sha}", "repository")
def tree(call: Call) -> Answer:
    """All errors are 400, as on Forgejo."""
    repo = call.repo(unit="code")
    wanted = call.params["sha"]
    found = objects.object_kind(repo.path, wanted) if SHA.fullmatch(wanted) else None
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
    found = objects.object_kind(repo.path, sha) if SHA.fullmatch(sha) else None
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
