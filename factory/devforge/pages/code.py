"""A repo's files at a ref: the front page with its README, folders, files, raw content."""

from __future__ import annotations

import mimetypes
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from factory.devforge.errors import not_found
from factory.devforge.pages import hidden, markdown, view
from factory.devforge.pages.links import Place
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit, address, redirect
from factory.devforge.store import access, repos
from factory.devforge.store.access import Mode
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import TreeEntry

MAX_SHOWN = 1024 * 1024
"""Bytes of a file that its page shows; larger ones are offered raw."""
MAX_RAW = 64 * 1024 * 1024
_README = ("readme.md", "readme.markdown", "readme.txt", "readme.rst", "readme")
_MARKDOWN = (".md", ".markdown")
_PICTURES = {
    "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/bmp", "image/x-icon", "image/svg+xml",
}  # fmt: skip
RAW_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""What a file from a repo may do when a browser shows it as a page: be looked at. Styles make SVG charts readable."""


@dataclass(frozen=True)
class Spot:
    """Where in a repo: ``kind`` branch, tag or commit; ``ref`` its name; ``path`` inside, '' for the root."""

    repo: Repo
    kind: str
    ref: str
    sha: str
    path: str = ""

    def files(self) -> tuple[str, ...]:
        return (self.repo.owner, self.repo.name, "src", self.kind, self.ref)

    def raw(self) -> tuple[str, ...]:
        return (self.repo.owner, self.repo.name, "raw", self.kind, self.ref)

    def link(self, path: str = "") -> str:
        """The page of a path at this ref."""
        return address(*self.files(), path)

    def raw_link(self) -> str:
        return address(*self.raw(), self.path)

    @property
    def crumbs(self) -> list[tuple[str, str]]:
        """(name, address) of each folder on the way and of the thing itself."""
        parts = [part for part in self.path.split("/") if part]
        return [(part, address(*self.files(), "/".join(parts[: n + 1]))) for n, part in enumerate(parts)]


def readable(visit: Visit) -> Repo:
    """The repo when the visitor may read its code."""
    repo = visit.repo()
    access.need(visit.store, visit.actor, repo, Mode.READ)
    return repo


def spot(repo: Repo, kind: str, rest: str) -> Spot:
    """Branch names hold slashes: the longest branch (or tag) that the rest begins with is meant. 404 when none is."""
    rest = rest.strip("/")
    if kind == "commit":
        sha, _, path = rest.partition("/")
        whole = objects.resolve_commit(repo.path, sha) if 4 <= len(sha) <= 40 and is_hex(sha) else None
        if whole is None:
            raise not_found()
        return Spot(repo, kind, sha, whole, path)
    if kind not in ("branch", "tag"):
        raise not_found()
    prefix = "refs/heads/" if kind == "branch" else "refs/tags/"
    parts = rest.split("/")
    for count in range(len(parts), 0, -1):
        name = "/".join(parts[:count])
        found = objects.resolve_commit(repo.path, prefix + name) if _ref_name(name) else None
        if found is not None:
            return Spot(repo, kind, name, found, "/".join(parts[count:]))
    if kind == "branch" and len(parts[0]) == 40 and is_hex(parts[0]):
        return spot(repo, "commit", rest)  # the API writes such addresses for contents read at a commit
    raise not_found()


def is_hex(text: str) -> bool:
    return all(letter in "0123456789abcdef" for letter in text)


def _ref_name(name: str) -> bool:
    """Not a revision expression (``main~1``, ``@{...}``): those characters cannot be in a branch's name."""
    return bool(name) and not any(letter in name for letter in "~^:?*[\\ ") and "@{" not in name and ".." not in name


def place(visit: Visit, where: Spot, folder: str = "") -> Place:
    return Place(where.files(), where.raw(), folder, issue_address(visit, where.repo))


def issue_address(visit: Visit, repo: Repo) -> Any:
    """For references in texts: the page of an issue, '' where there is none that the visitor may see."""

    def find(owner: str, name: str, number: int) -> str:
        home: Repo | None = repos.find(visit.store, owner, name) if owner else repo
        if home is None:
            return ""
        row = visit.store.one("SELECT is_pull FROM issues WHERE repo_id = ? AND number = ?", home.id, number)
        if row is None:
            return ""
        unit = "pulls" if row["is_pull"] else "issues"
        if access.mode(visit.store, visit.actor, home, unit) < Mode.READ:
            return ""
        return address(home.owner, home.name, unit, number)

    return find


def text_place(visit: Visit, repo: Repo) -> Place:
    """For texts of issues and pull requests: relative links lead into the default branch."""
    before = (repo.owner, repo.name)
    return Place(
        (*before, "src", "branch", repo.default_branch), (*before, "raw", "branch", repo.default_branch), "",
        issue_address(visit, repo),
    )  # fmt: skip


def branches(repo: Repo) -> dict[str, str]:
    """Name to tip, the default branch first."""
    found = {ref.removeprefix("refs/heads/"): sha for ref, sha in objects.list_refs(repo.path, "refs/heads/").items()}
    return {name: found[name] for name in sorted(found, key=lambda name: (name != repo.default_branch, name))}


# ---------------------------------------------------------------- pages


@page("GET", "/{owner}/{repo}")
def front(visit: Visit) -> Response:
    repo = readable(visit)
    tip = objects.resolve_commit(repo.path, f"refs/heads/{repo.default_branch}")
    if tip is None:
        return view.render(visit, "empty.html", **view.repo_facts(visit, repo, "code"))
    return _folder(visit, Spot(repo, "branch", repo.default_branch, tip), front=True)


@page("GET", "/{owner}/{repo}/src/{kind}/{rest...}")
def source(visit: Visit) -> Response:
    where = spot(readable(visit), visit.params["kind"], visit.params["rest"])
    if not where.path:
        return _folder(visit, where)
    entry = objects.find_entry(where.repo.path, where.sha, where.path)
    if entry is None:
        raise not_found()
    return _folder(visit, where) if entry.kind == "tree" else _file(visit, where, entry)


@page("GET", "/{owner}/{repo}/src/{kind}")
def source_root(visit: Visit) -> Response:
    repo = readable(visit)
    return redirect(address(repo.owner, repo.name))


def _folder(visit: Visit, where: Spot, front: bool = False) -> Response:
    repo = where.repo
    entries = objects.list_tree(repo.path, where.sha, where.path)
    entries.sort(key=lambda entry: (entry.kind != "tree", entry.path))
    return view.render(
        visit, "folder.html", **view.repo_facts(visit, repo, "code"), spot=where, entries=entries, front=front,
        latest=objects.commit_info(repo.path, where.sha), branches=branches(repo),
        readme=_readme(visit, where, entries),
    )  # fmt: skip


def _readme(visit: Visit, where: Spot, entries: list[TreeEntry]) -> dict[str, Any] | None:
    files = {entry.path.rpartition("/")[2].lower(): entry for entry in entries if entry.kind == "blob"}
    entry = next((files[name] for name in _README if name in files), None)
    if entry is None:
        return None
    data = objects.read_blob(where.repo.path, entry.oid, MAX_SHOWN) or b""
    return {"entry": entry, "html": _rendered(visit, where, entry, data), "text": data.decode("utf-8", "replace")}


def _rendered(visit: Visit, where: Spot, entry: TreeEntry, data: bytes) -> Any:
    if not entry.path.lower().endswith(_MARKDOWN):
        return None
    folder = entry.path.rpartition("/")[0]
    return markdown.render(data.decode("utf-8", "replace"), place(visit, where, folder))


def _file(visit: Visit, where: Spot, entry: TreeEntry) -> Response:
    repo = where.repo
    data = objects.read_blob(repo.path, entry.oid, MAX_SHOWN) or b"" if entry.kind == "blob" else b""
    binary = b"\0" in data[:8000]
    picture = _content_type(entry.path) in _PICTURES
    large = entry.size > MAX_SHOWN
    html = None if binary or large or "source" in visit.query else _rendered(visit, where, entry, data)
    return view.render(
        visit, "file.html", **view.repo_facts(visit, repo, "code"), spot=where, entry=entry, branches=branches(repo),
        html=html, is_markdown=entry.path.lower().endswith(_MARKDOWN), binary=binary, picture=picture, large=large,
        lines=[] if binary or large else [hidden.marked(line) for line in _lines(data.decode("utf-8", "replace"))],
    )  # fmt: skip


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


@page("GET", "/{owner}/{repo}/raw/{kind}/{rest...}")
def raw(visit: Visit) -> Response:
    """A file as it is, as something to look at only: text and pictures inside a sandbox, the rest to save."""
    where = spot(readable(visit), visit.params["kind"], visit.params["rest"])
    entry = objects.find_entry(where.repo.path, where.sha, where.path) if where.path else None
    if entry is None or entry.kind != "blob" or entry.size > MAX_RAW:
        raise not_found()
    data = objects.read_blob(where.repo.path, entry.oid) or b""
    known = _content_type(entry.path)
    headers = {"Content-Security-Policy": RAW_POLICY, "Cache-Control": "private, max-age=60"}
    if known in _PICTURES:
        return Response(data, content_type=known, headers=headers)
    if b"\0" in data[:8000]:
        name = entry.path.rpartition("/")[2]
        shown = f"attachment; filename*=UTF-8''{quote(name, safe='', errors='surrogateescape')}"
        return Response(data, content_type="application/octet-stream", headers=headers | {"Content-Disposition": shown})
    return Response(data, content_type="text/plain; charset=utf-8", headers=headers)


def _content_type(path: str) -> str:
    return mimetypes.guess_type(path.rpartition("/")[2])[0] or ""
