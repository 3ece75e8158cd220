"""Which commit a branch, a tag or an id in a request means."""

from __future__ import annotations

import re

from factory.devforge.errors import not_found
from factory.devforge.store.repos import Repo
from factory.git import objects

SHA = re.compile(r"[0-9a-f]{4,40}")
"""An object's id, or its beginning."""


def resolve(repo: Repo, ref: str) -> str | None:
    """The commit a branch, a tag or an id names, in that order; '' is the default branch."""
    if not ref:
        return objects.resolve_commit(repo.path, f"refs/heads/{repo.default_branch}")
    names = [ref] if ref.startswith("refs/") else [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    for name in names:
        found = objects.read_ref(repo.path, name)
        if found is not None:
            return objects.resolve_commit(repo.path, found)
    return objects.resolve_commit(repo.path, ref) if SHA.fullmatch(ref) else None


def commit_of(repo: Repo, ref: str) -> str:
    """As ``resolve``; raises a refusal (404) where there is none."""
    found = resolve(repo, ref)
    if found is None:
        raise not_found(f"object does not exist [id: {ref}, rel_path: ]")
    return found
