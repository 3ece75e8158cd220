"""How every function here gets at a repo: opened, used once, closed; every error is a GitFailed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, ObjectType

from factory.errors import GitFailed
from factory.git.values import EMPTY_TREE

for _level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL, ConfigLevel.PROGRAMDATA):
    pygit2.settings.search_path[_level] = ""


@contextmanager
def opened(repo: Path, doing: str) -> Iterator[pygit2.Repository]:
    """Open ``repo``, turning whatever libgit2 raises inside into GitFailed with what was being done."""
    try:
        opened = pygit2.Repository(str(repo))
    except (pygit2.GitError, OSError, ValueError) as error:
        raise GitFailed(f"{doing}: {repo} is not a git repository that can be opened ({error})") from error
    try:
        yield opened
    except (pygit2.GitError, KeyError, ValueError, OSError, TypeError) as error:
        detail = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise GitFailed(f"{doing} in {repo.name}: {detail}") from error
    finally:
        opened.free()


def commit_at(repo: pygit2.Repository, rev: str) -> pygit2.Commit:
    try:
        found = repo.revparse_single(rev)
    except KeyError:
        raise GitFailed(f"no revision {rev!r} in {Path(repo.path).name}") from None
    commit = found.peel(pygit2.Commit)
    assert isinstance(commit, pygit2.Commit)
    return commit


def tree_at(repo: pygit2.Repository, rev: str) -> pygit2.Tree:
    if rev == EMPTY_TREE:  # known to every git without being stored
        repo.write(ObjectType.TREE, b"")
    try:
        found = repo.revparse_single(rev)
    except KeyError:
        raise GitFailed(f"no revision {rev!r} in {Path(repo.path).name}") from None
    tree = found.peel(pygit2.Tree)
    assert isinstance(tree, pygit2.Tree)
    return tree
