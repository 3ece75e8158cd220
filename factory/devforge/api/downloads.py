"""Files of releases by their own addresses, outside of the API: for programs with a token, and for pages."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from factory.devforge.api import dispatch
from factory.devforge.errors import Refusal, Unauthorized, not_found
from factory.devforge.store import access, releases, repos
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store, build
from factory.devforge.store.releases import Asset

_BY_NAME = re.compile(r"/([^/]+)/([^/]+)/releases/download/([^/]+)/([^/]+)")
_BY_KEY = re.compile(r"/attachments/([0-9a-f-]{36})")
HEADERS = {
    "Content-Type": "application/octet-stream",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, max-age=60",
}
"""Of every file: something to save, never something to run or to show."""


def asked(path: str) -> bool:
    """Whether this (still encoded) path is that of a file."""
    return _BY_NAME.fullmatch(path) is not None or _BY_KEY.fullmatch(path) is not None


def perform(store: Store, actor: Actor, path: str) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of one download."""
    try:
        if actor.user is not None:
            actor.need_scope("repository", write=False)
        asset, data = fetch(store, actor, path)
    except Refusal as refusal:
        return dispatch.refusal(store, actor, refusal)
    return 200, HEADERS | {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(asset.name, safe='')}"}, data


def fetch(store: Store, actor: Actor, path: str) -> tuple[Asset, bytes]:
    """The asset and its bytes; 404 for what there is not and for what the actor may not see."""
    asset = _named(store, path)
    row = None if asset is None else store.one("SELECT repo_id, draft FROM releases WHERE id = ?", asset.release_id)
    if asset is None or row is None or asset.external:
        raise not_found()
    level = access.mode(store, actor, repos.by_id(store, row["repo_id"]), "releases")
    if level < (Mode.WRITE if row["draft"] else Mode.READ):
        raise not_found() if actor.user is not None else Unauthorized
    try:
        data = releases.file(store, asset).read_bytes()
    except FileNotFoundError:
        raise not_found() from None
    return asset, data


def _named(store: Store, path: str) -> Asset | None:
    key = _BY_KEY.fullmatch(path)
    if key is not None:
        row = store.one("SELECT * FROM assets WHERE uuid = ?", key[1])
        return None if row is None else build(Asset, row)
    match = _BY_NAME.fullmatch(path)
    owner, name, tag, file = (unquote(part) for part in match.groups()) if match else ("", "", "", "")
    repo = repos.find(store, owner, name) if owner else None
    release = releases.of_tag(store, repo, tag) if repo is not None else None
    found = [one for one in releases.assets(store, release) if one.name == file] if release is not None else []
    return found[0] if found else None
