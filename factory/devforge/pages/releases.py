"""Releases of a repo: what each says, and its files to save."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from factory.devforge.api import downloads
from factory.devforge.errors import not_found
from factory.devforge.pages import code, markdown, view
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit
from factory.devforge.store import access, releases
from factory.devforge.store.access import Mode
from factory.devforge.store.releases import Release
from factory.devforge.store.repos import Repo
from factory.git import objects

MOST = 50


@page("GET", "/{owner}/{repo}/releases")
def list_of(visit: Visit) -> Response:
    repo = _readable(visit)
    found = releases.of_repo(visit.store, repo, drafts=visit.may(repo, Mode.WRITE, "releases"))
    return _page(visit, repo, found[:MOST], len(found))


@page("GET", "/{owner}/{repo}/releases/tag/{tag...}")
def one(visit: Visit) -> Response:
    repo = _readable(visit)
    found = releases.of_tag(visit.store, repo, visit.params["tag"])
    if found is None or (found.draft and not visit.may(repo, Mode.WRITE, "releases")):
        raise not_found()
    return _page(visit, repo, [found], 1)


@page("GET", "/{owner}/{repo}/releases/download/{tag}/{file}")
def file_by_name(visit: Visit) -> Response:
    return _file(visit)


@page("GET", "/attachments/{key}")
def file_by_key(visit: Visit) -> Response:
    return _file(visit)


def _file(visit: Visit) -> Response:
    """Something to save: never shown, never run."""
    asset, data = downloads.fetch(visit.store, visit.actor, visit.path)
    shown = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(asset.name, safe='')}"}
    headers = {**downloads.HEADERS, **shown}
    return Response(data, content_type=headers.pop("Content-Type"), headers=headers)


def _readable(visit: Visit) -> Repo:
    repo = visit.repo()
    access.need(visit.store, visit.actor, repo, Mode.READ, "releases")
    return repo


def _page(visit: Visit, repo: Repo, found: list[Release], total: int) -> Response:
    rows = [_row(visit, repo, release) for release in found]
    return view.render(
        visit, "releases.html", **view.repo_facts(visit, repo, "releases"), rows=rows, total=total
    )  # fmt: skip


def _row(visit: Visit, repo: Repo, release: Release) -> dict[str, Any]:
    return {
        "release": release,
        "commit": objects.resolve_commit(repo.path, f"refs/tags/{release.tag}"),
        "html": markdown.render(release.note, code.text_place(visit, repo)),
        "assets": releases.assets(visit.store, release),
    }
