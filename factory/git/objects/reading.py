"""Objects as they are: blobs, files, trees, tags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pygit2

from factory.errors import GitFailed
from factory.git.objects.opening import opened, tree_at
from factory.git.values import TreeEntry


def exists(repo: Path, oid: str) -> bool:
    """Whether the repo holds an object with this (full) id."""
    with opened(repo, f"looking for {oid}") as git:
        try:
            return pygit2.Oid(hex=oid) in git.odb
        except ValueError:
            return False


def object_kind(repo: Path, rev: str) -> tuple[str, str] | None:
    """(kind, full id) of what ``rev`` names, unpeeled; None when it names nothing."""
    with opened(repo, f"resolving {rev}") as git:
        try:
            found = git.revparse_single(rev)
        except (KeyError, ValueError):
            return None
        return str(found.type_str), str(found.id)


def resolve_commit(repo: Path, rev: str) -> str | None:
    """Full id of the commit ``rev`` names (tags peeled), None when there is none."""
    with opened(repo, f"resolving {rev}") as git:
        try:
            return str(git.revparse_single(rev).peel(pygit2.Commit).id)
        except (KeyError, ValueError, pygit2.GitError):
            return None


def read_blob(repo: Path, oid: str, max_bytes: int | None = None) -> bytes | None:
    """Content of a blob by id, its first ``max_bytes``; None when there is no such blob."""
    with opened(repo, f"reading blob {oid}") as git:
        try:
            blob = git.get(oid)
        except ValueError:
            return None
        if not isinstance(blob, pygit2.Blob):
            return None
        return blob.data if max_bytes is None else bytes(memoryview(blob)[:max_bytes])


def read_file(repo: Path, rev: str, path: str, max_bytes: int | None = None) -> bytes | None:
    """Content of the file at ``path`` in ``rev``, its first ``max_bytes``; None when it is no file there."""
    entry = find_entry(repo, rev, path)
    return None if entry is None or entry.kind != "blob" else read_blob(repo, entry.oid, max_bytes)


def find_entry(repo: Path, rev: str, path: str) -> TreeEntry | None:
    """The entry at ``path`` in ``rev``, None when there is none."""
    with opened(repo, f"reading {path} at {rev}") as git:
        tree = tree_at(git, rev)
        try:
            found = tree[path]
        except KeyError:
            return None
        return _entry(git, path, found)


def _entry(git: pygit2.Repository, path: str, found: pygit2.Object) -> TreeEntry:
    size = git.odb.read_header(found.id)[1] if found.type_str == "blob" else 0
    return TreeEntry(path, int(found.filemode), str(found.type_str), str(found.id), size)


def list_tree(repo: Path, rev: str, path: str = "", recursive: bool = False) -> list[TreeEntry]:
    """Entries of the folder ``path`` in ``rev`` (with full paths), sorted as git sorts them.

    ``recursive`` lists every file below and no trees. A path that is no folder there raises GitFailed.
    """
    with opened(repo, f"listing {path or '/'} at {rev}") as git:
        tree: pygit2.Object = tree_at(git, rev)
        if path:
            try:
                tree = tree[path]  # type: ignore[index]
            except KeyError:
                raise GitFailed(f"no folder {path!r} at {rev} in {repo.name}") from None
        if not isinstance(tree, pygit2.Tree):
            raise GitFailed(f"{path!r} at {rev} in {repo.name} is a file, not a folder")
        return list(_walk_tree(git, tree, path + "/" if path else "", recursive))


def _walk_tree(git: pygit2.Repository, tree: pygit2.Tree, prefix: str, recursive: bool) -> Iterator[TreeEntry]:
    for found in tree:
        name = prefix + (found.raw_name or b"").decode("utf-8", "surrogateescape")
        if recursive and isinstance(found, pygit2.Tree):
            yield from _walk_tree(git, found, name + "/", True)
        else:
            yield _entry(git, name, found)


def tag_message(repo: Path, oid: str) -> str | None:
    """Message of an annotated tag object, None when ``oid`` is none."""
    with opened(repo, f"reading tag {oid}") as git:
        found = git.get(oid)
        return found.message if isinstance(found, pygit2.Tag) else None


def uncommitted(folder: Path) -> int | None:
    """How many files of a person's working copy differ from its last commit, new ones included; None for a bare repo
    or one that cannot be opened.

    By libgit2 and never by the git binary: ``git status`` runs what the copy's own configuration names.
    """
    try:
        opened = pygit2.Repository(str(folder))
        try:
            if opened.is_bare:
                return None
            seen = opened.status(untracked_files="normal", ignored=False)
        finally:
            opened.free()
    except (pygit2.GitError, KeyError, ValueError, OSError):
        return None
    return len(seen)
