"""Refs: read, listed, created, moved by compare-and-swap."""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pygit2
from pygit2.enums import RepositoryInitFlag

from factory.errors import GitFailed, RefMoved
from factory.git.objects.opening import opened
from factory.git.values import ZERO, RefRow

_LOCK_PATIENCE = 2.0
"""Seconds that a ref's lock may be held by others: a millisecond each, more where they wait for a processor."""
_RACED = (os.strerror(errno.EEXIST), os.strerror(errno.ENOENT))
"""Another writer made the lock, or pruned its empty folder, between libgit2's look and its ``open``."""


def init_bare(path: Path, default_branch: str = "main") -> None:
    """Create an empty bare repo (parents too). An existing repo is left as it is."""
    try:
        pygit2.init_repository(
            str(path),
            bare=True,
            flags=RepositoryInitFlag.MKPATH | RepositoryInitFlag.BARE,
            initial_head=default_branch,
        ).free()
    except (pygit2.GitError, OSError, ValueError) as error:
        raise GitFailed(f"creating the repository {path}: {error}") from error


def is_repo(path: Path) -> bool:
    """Whether a whole bare repo stands there; what a deletion left of one, because somebody wrote to it, is none."""
    # Without its config git takes a bare repo for one with a working copy.
    return all((path / file).is_file() for file in ("HEAD", "config")) and all(
        (path / folder).is_dir() for folder in ("objects", "refs")
    )


def read_ref(repo: Path, ref: str) -> str | None:
    """Object id a ref points to (symbolic refs resolved), None when there is no such ref."""
    if "\0" in ref:
        return None  # libgit2 would read the name up to there
    with opened(repo, f"reading {ref}") as git:
        try:
            return str(git.lookup_reference(ref).resolve().target)
        except (KeyError, pygit2.InvalidSpecError):  # what no ref can be called is not there
            return None
        except ValueError as error:
            if isinstance(error, pygit2.GitError):  # which is a ValueError too
                raise
            return None  # longer than any name of a ref


def list_refs(repo: Path, prefix: str = "refs/") -> dict[str, str]:
    """Ref name to object id for every ref below ``prefix``, sorted by name."""
    return {row.name: row.oid for row in ref_rows(repo, (prefix,))}


def ref_rows(
    repo: Path, prefixes: Sequence[str] = ("refs/",), *, peel: bool = False, head: bool = False
) -> list[RefRow]:
    """Refs that begin with any of ``prefixes``, sorted; with ``head`` HEAD first when it is born and asked for."""
    with opened(repo, "listing refs") as git:
        rows: list[RefRow] = []
        if head and any("HEAD".startswith(p) for p in prefixes):
            symbolic = git.lookup_reference("HEAD")
            try:
                target = symbolic.target if isinstance(symbolic.target, str) else None
                rows.append(RefRow("HEAD", str(symbolic.resolve().target), target))
            except KeyError:
                pass  # unborn
        wanted = tuple(prefix.encode("utf-8", "surrogateescape") for prefix in prefixes)
        names = [raw for raw in git.raw_listall_references() if raw.startswith(wanted)]
        for name in sorted(raw.decode("utf-8", "surrogateescape") for raw in names):
            try:
                resolved = git.lookup_reference(name).resolve()
            except KeyError:
                continue  # deleted since it was listed
            oid = str(resolved.target)
            peeled = None
            if peel and name.startswith("refs/tags/"):
                found = git.get(oid)
                if isinstance(found, pygit2.Tag):
                    peeled = str(resolved.peel().id)
            rows.append(RefRow(name, oid, None, peeled))
        return rows


def read_head(repo: Path) -> str:
    """Name of the ref that HEAD points to, born or not."""
    with opened(repo, "reading HEAD") as git:
        return str(git.lookup_reference("HEAD").target)


def set_head(repo: Path, ref: str) -> None:
    """Point HEAD at a ref, which need not exist yet."""
    with opened(repo, f"pointing HEAD at {ref}") as git:
        git.set_head(ref)


def create_ref(repo: Path, ref: str, new: str) -> None:
    """Create ``ref``; raises RefMoved when it already exists."""
    _swap(repo, ref, new, ZERO)


def update_ref(repo: Path, ref: str, new: str, old: str | None = None) -> None:
    """Set ``ref`` to ``new`` if it still is ``old`` (None: whatever it is; forty zeros: it must not exist).

    Atomic under git's own ref lock. Raises RefMoved when the value is another one.
    """
    _swap(repo, ref, new, old)


def delete_ref(repo: Path, ref: str, old: str | None = None) -> None:
    """Delete ``ref`` if it still is ``old``; a ref that is gone already is fine unless ``old`` was given."""
    _swap(repo, ref, None, old)


def _swap(repo: Path, ref: str, new: str | None, old: str | None) -> None:
    if "\0" in ref:
        raise GitFailed(f"updating {ref!r} in {repo.name}: no ref can be called that")
    with opened(repo, f"updating {ref}") as git:
        if new is not None and new not in git:
            raise GitFailed(f"updating {ref} in {repo.name}: no object {new}")
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                with git.transaction() as change:
                    change.lock_ref(ref)
                    try:
                        now = str(git.lookup_reference(ref).resolve().target)
                    except KeyError:
                        now = ZERO
                    if old is not None and now != old:
                        raise RefMoved(f"{ref} in {repo.name} is at {now[:12]}, not at {old[:12]}")
                    if new is not None:
                        change.set_target(ref, new)
                    elif now != ZERO:
                        change.remove(ref)
                return
            except (pygit2.GitError, OSError) as error:
                if not _lock_is_held(error):
                    raise
                if time.monotonic() > deadline:
                    named = re.search(r"'([^']*\.lock)'", str(error))
                    lock = named[1] if named else f"{ref}.lock"
                    raise GitFailed(
                        f"updating {ref} in {repo.name}: locked by another process ({error})",
                        hint=f"if no git process is running, remove {lock}",
                    ) from error
                time.sleep(0.01)


def _lock_is_held(error: Exception) -> bool:
    """libgit2 has two words for it: it saw the lock ("failed to lock file"), or lost the race to make it ("failed to
    create locked file"), which it also says of a folder that cannot be written: there waiting helps nobody."""
    text = str(error)
    return "lock file" in text or ("locked file" in text and text.endswith(_RACED))
