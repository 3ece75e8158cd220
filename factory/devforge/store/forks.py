"""Forks: a repo of one's own with the same history, from which pull requests can be opened."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from factory.devforge.errors import Refusal
from factory.devforge.store import repos
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.git import objects


def fork(store: Store, source: Repo, owner: User, name: str = "") -> Repo:
    """Fork ``source`` into ``owner``'s repos; 409 when they have a fork of it or a repo of that name."""
    with store.exclusive():
        for known in repos.every(store, owner=owner):
            if known.fork_of == source.id:
                raise Refusal(
                    409, f"repository is already forked by user [uname: {owner.login}, repo path: {known.name}]"
                )
        with store.tx():
            made = repos.create(
                store,
                owner,
                name=name or source.name,
                private=source.private,
                description=source.description,
                default_branch=source.default_branch,
                fork_of=source.id,
            )
            # Objects never change: linking them costs nothing and makes the fork independent of its source.
            _link_tree(source.path / "objects", made.path / "objects")
            for ref, oid in objects.list_refs(source.path).items():
                if ref.startswith(("refs/heads/", "refs/tags/")):
                    objects.update_ref(made.path, ref, oid)
            store.update("repos", made.id, empty=int(source.empty))
            return repos.by_id(store, made.id)


def _link_tree(source: Path, target: Path) -> None:
    for folder, _, files in os.walk(source):
        below = target / Path(folder).relative_to(source)
        below.mkdir(exist_ok=True)
        for name in files:
            if (below / name).exists() or name.startswith("tmp_"):
                continue
            try:
                os.link(Path(folder) / name, below / name)
            except OSError:  # another file system, or no links
                shutil.copy2(Path(folder) / name, below / name)


def of(store: Store, repo: Repo) -> list[Repo]:
    rows = store.all("SELECT id FROM repos WHERE fork_of = ? ORDER BY id", repo.id)
    return [repos.by_id(store, row["id"]) for row in rows]
