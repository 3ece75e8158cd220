"""New objects without a checkout: blobs, trees, commits, tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType

from factory.errors import GitFailed
from factory.git.objects.history import commit_info
from factory.git.objects.opening import opened, tree_at
from factory.git.values import MODE_FILE, MODE_TREE, Signature


def write_blob(repo: Path, data: bytes) -> str:
    """Store a blob; returns its id."""
    with opened(repo, "writing a blob") as git:
        return str(git.create_blob(data))


def build_tree(
    repo: Path, base: str | None, changes: Mapping[str, bytes | None], modes: Mapping[str, int] | None = None
) -> str:
    """A tree like ``base`` (a rev; None: empty) with files written (bytes) or deleted (None); returns its id.

    A file keeps its mode unless ``modes`` names one; new files are 0644. Deleting what is not there changes nothing.
    Raises GitFailed for paths git forbids and where a file would have to be a folder too.
    """
    with opened(repo, "building a tree") as git:
        for path in changes:
            parts = path.split("/")
            if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\0" in path:
                raise GitFailed(f"building a tree in {repo.name}: {path!r} is not a path git can hold")
        start = None if base is None else tree_at(git, base)
        written = _apply(git, start, "", dict(changes), modes or {})
        return str(git.TreeBuilder().write() if written is None else written)


def _apply(
    git: pygit2.Repository,
    tree: pygit2.Tree | None,
    prefix: str,
    changes: Mapping[str, bytes | None],
    modes: Mapping[str, int],
) -> pygit2.Oid | None:
    """Write ``changes`` (paths relative to ``prefix``) over ``tree``; None when nothing is left in it."""
    builder = git.TreeBuilder(tree) if tree is not None else git.TreeBuilder()
    below: dict[str, dict[str, bytes | None]] = {}
    files: dict[str, bytes] = {}
    for path, data in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = data
        elif data is not None:
            files[name] = data
        elif (old := builder.get(name)) is not None:
            if isinstance(old, pygit2.Tree):
                raise GitFailed(f"deleting {prefix}{name}: it is a folder, name its files")
            builder.remove(name)
    for name, inner in below.items():
        old = builder.get(name)
        if old is not None and not isinstance(old, pygit2.Tree):
            if all(data is None for data in inner.values()):
                continue
            raise GitFailed(f"writing below {prefix}{name}: it is a file, not a folder")
        written = _apply(git, old, f"{prefix}{name}/", inner, modes)
        if written is not None:
            builder.insert(name, written, MODE_TREE)
        elif old is not None:
            builder.remove(name)
    for name, content in files.items():
        old = builder.get(name)
        if isinstance(old, pygit2.Tree) or (name in below and builder.get(name)):
            raise GitFailed(f"writing {prefix}{name}: it is a folder, not a file")
        mode = modes.get(prefix + name) or (int(old.filemode) if old is not None else MODE_FILE)
        builder.insert(name, git.create_blob(content), mode)
    return builder.write() if len(builder) else None


def build_commit(
    repo: Path,
    *,
    parent: str | None,
    changes: Mapping[str, bytes | None],
    message: str,
    author: Signature,
    committer: Signature,
    modes: Mapping[str, int] | None = None,
) -> str:
    """A commit on ``parent`` (None: a root) with ``changes`` applied as in :func:`build_tree`. Moves no ref."""
    tree = build_tree(repo, parent, changes, modes)
    parents = () if parent is None else (commit_info(repo, parent).oid,)
    return commit_tree(repo, tree=tree, parents=parents, message=message, author=author, committer=committer)


def commit_tree(
    repo: Path, *, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
) -> str:
    """Write a commit object; returns its id. Moves no ref."""
    with opened(repo, "writing a commit") as git:
        return write_commit(git, tree, parents, message, author, committer)


def write_commit(
    git: pygit2.Repository, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
) -> str:
    above = [pygit2.Oid(hex=parent) for parent in parents]
    return str(git.create_commit(None, native(author), native(committer), message, tree, above))


def native(signature: Signature) -> pygit2.Signature:
    return pygit2.Signature(signature.name, signature.email, signature.when, signature.offset, "utf-8")


def build_tag(repo: Path, *, name: str, target: str, message: str, tagger: Signature) -> str:
    """Write an annotated tag object on a commit; returns its id. Moves no ref."""
    text = (
        f"object {target}\ntype commit\ntag {name}\n"
        f"tagger {tagger.name} <{tagger.email}> {tagger.when} {_zone(tagger.offset)}\n\n{message.rstrip()}\n"
    )
    with opened(repo, f"writing the tag {name}") as git:
        return str(git.write(ObjectType.TAG, text.encode()))


def _zone(offset: int) -> str:
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"
