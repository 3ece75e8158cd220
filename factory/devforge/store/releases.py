"""Releases and their assets: rows, and one file per asset below ``assets/``, written before its row."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.devforge.errors import not_found
from factory.devforge.store.database import Store, build
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User


@dataclass(frozen=True)
class Release:
    """``tag`` is compared without case. A draft has no tag yet, and only writers see it."""

    id: int
    repo_id: int
    tag: str
    target: str
    title: str
    note: str
    draft: int
    prerelease: int
    hide_archives: int
    publisher_id: int
    created: int


@dataclass(frozen=True)
class Asset:
    """``external`` is an address for what lies elsewhere; else the bytes are a file named by ``uuid``."""

    id: int
    release_id: int
    uuid: str
    name: str
    size: int
    external: str
    uploader_id: int
    downloads: int
    created: int


def of_repo(store: Store, repo: Repo, *, drafts: bool) -> list[Release]:
    """Newest first."""
    rows = store.all(
        "SELECT * FROM releases WHERE repo_id = ? AND (draft = 0 OR ?) ORDER BY created DESC, id DESC", repo.id, drafts
    )
    return [build(Release, row) for row in rows]


def of_tag(store: Store, repo: Repo, tag: str) -> Release | None:
    """The release of a tag, drafts included; None: there is none."""
    row = store.one("SELECT * FROM releases WHERE repo_id = ? AND tag = ?", repo.id, tag)
    return None if row is None else build(Release, row)


def get(store: Store, repo: Repo, number: int) -> Release:
    """404 where this repo has no such release."""
    row = store.one("SELECT * FROM releases WHERE repo_id = ? AND id = ?", repo.id, number)
    if row is None:
        raise not_found()
    return build(Release, row)


def create(store: Store, repo: Repo, publisher: User, **fields: Any) -> Release:
    made = store.insert("releases", repo_id=repo.id, publisher_id=publisher.id, created=store.now(), **fields)
    return get(store, repo, made)


def delete(store: Store, release: Release) -> None:
    """The row, its assets' rows, and after that their files."""
    kept = assets(store, release)
    store.run("DELETE FROM releases WHERE id = ?", release.id)
    for asset in kept:
        path = file(store, asset)
        store.after_commit(lambda path=path: path.unlink(missing_ok=True))  # type: ignore[misc]


def unpublish(store: Store, repo: Repo, tag: str) -> None:
    """The tag is gone: its release, if there is one, is a draft again."""
    store.run("UPDATE releases SET draft = 1 WHERE repo_id = ? AND tag = ?", repo.id, tag)


def assets(store: Store, release: Release) -> list[Asset]:
    """In the order they came."""
    rows = store.all("SELECT * FROM assets WHERE release_id = ? ORDER BY id", release.id)
    return [build(Asset, row) for row in rows]


def asset(store: Store, release: Release, number: int) -> Asset:
    """404 where this release has no such asset."""
    row = store.one("SELECT * FROM assets WHERE release_id = ? AND id = ?", release.id, number)
    if row is None:
        raise not_found()
    return build(Asset, row)


def add(
    store: Store, release: Release, uploader: User, name: str, data: bytes | None = None, external: str = ""
) -> Asset:
    """One more asset; its name may be taken already, as on Forgejo."""
    key = str(uuid.uuid4())
    if data is not None:
        _write(store.home / "assets" / key, data)
    made = store.insert(
        "assets", release_id=release.id, uuid=key, name=name, size=len(data or b""), external=external,
        uploader_id=uploader.id, created=store.now(),
    )  # fmt: skip
    return asset(store, release, made)


def remove(store: Store, one: Asset) -> None:
    """The row, then the file."""
    store.run("DELETE FROM assets WHERE id = ?", one.id)
    store.after_commit(lambda: file(store, one).unlink(missing_ok=True))


def file(store: Store, one: Asset) -> Path:
    """Where the bytes are."""
    return store.home / "assets" / one.uuid


def sweep(store: Store) -> None:
    """Remove files that no row names: a kill came between the two, or their repo was deleted."""
    known = {row["uuid"] for row in store.all("SELECT uuid FROM assets")}
    for path in (store.home / "assets").iterdir():
        if path.name not in known:
            path.unlink()


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as sink:
        sink.write(data)
        sink.flush()
        os.fsync(sink.fileno())
