"""Merges, rewrites and copies of whole histories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, SortMode

from factory.git.objects.history import commit_info, info_of
from factory.git.objects.opening import commit_at, opened, tree_at
from factory.git.objects.writing import write_commit
from factory.git.values import EMPTY_TREE, MergeResult, Signature


def merge_trees(repo: Path, base: str | None, ours: str, theirs: str) -> MergeResult:
    """Three-way merge of trees (or commits' trees); ``base`` None stands for the empty tree. Writes only objects."""
    with opened(repo, f"merging {theirs} into {ours}") as git:
        index = git.merge_trees(tree_at(git, base or EMPTY_TREE), tree_at(git, ours), tree_at(git, theirs))
        return _merged(git, index)


def merge_commits(repo: Path, ours: str, theirs: str) -> MergeResult:
    """Merge of two commits as ``git merge`` computes it, criss-cross histories included. Writes only objects."""
    with opened(repo, f"merging {theirs} into {ours}") as git:
        return _merged(git, git.merge_commits(commit_at(git, ours), commit_at(git, theirs)))


def conflicts(repo: Path, base: str | None, ours: str, theirs: str) -> tuple[str, ...]:
    """Paths at which ``merge_trees`` would conflict. Writes nothing."""
    with opened(repo, f"merging {theirs} into {ours}") as git:
        return _paths(git.merge_trees(tree_at(git, base or EMPTY_TREE), tree_at(git, ours), tree_at(git, theirs)))


def _merged(git: pygit2.Repository, index: pygit2.Index) -> MergeResult:
    paths = _paths(index)
    return MergeResult(None, paths) if paths else MergeResult(str(index.write_tree(git)), ())


def _paths(index: pygit2.Index) -> tuple[str, ...]:
    found = index.conflicts or ()
    return tuple(sorted({side.path for conflict in found for side in conflict if side is not None}))


def rewrite_commits(
    repo: Path,
    *,
    base: str,
    head: str,
    author: Signature,
    committer: Signature,
    rewrite_message: Callable[[str], str],
    known: Sequence[str] = (),
) -> str:
    """Write every commit of ``base..head`` anew with this identity and a rewritten message; returns the new head.

    What ``known`` commits reach is not rewritten either (the base branch's tip, which a conflict run merges).

    Trees and the shape of history stay (merges of ``base..head`` too; parents outside the range are kept). The times
    are those of the two signatures, so the same input gives the same ids. An empty range returns ``head`` itself.
    """
    new: dict[str, str] = {}
    old_head = commit_info(repo, head).oid
    with opened(repo, f"rewriting {base}..{head}") as git:
        walker = git.walk(pygit2.Oid(hex=old_head), SortMode.TOPOLOGICAL | SortMode.REVERSE)
        for hidden in (base, *known):
            walker.hide(commit_at(git, hidden).id)
        for commit in walker:
            info = info_of(commit)
            parents = [new.get(parent, parent) for parent in info.parents]
            message = rewrite_message(info.message)
            new[info.oid] = write_commit(git, info.tree, parents, message, author, committer)
    return new.get(old_head, old_head)


def copy_commits(source: Path, target: Path, head: str) -> None:
    """Copy what is reachable from commit ``head`` in ``source`` and missing in ``target``. Moves no ref.

    Written children first would leave holes after a kill, so trees and blobs go before the commit that names them,
    parents before children.
    """
    with opened(source, f"copying {head}") as read, opened(target, f"copying {head} from {source.name}") as write:
        pending: list[pygit2.Oid] = []
        seen: set[pygit2.Oid] = set()
        stack = [pygit2.Oid(hex=head)]
        while stack:
            oid = stack.pop()
            if oid in seen or oid in write.odb:
                continue
            seen.add(oid)
            pending.append(oid)
            stack.extend(commit_at(read, str(oid)).parent_ids)
        order = {oid: n for n, oid in enumerate(pending)}
        walker = read.walk(pygit2.Oid(hex=head), SortMode.TOPOLOGICAL | SortMode.REVERSE) if order else ()
        for commit in walker:
            if commit.id in order:
                _copy_tree(read, write, commit.tree)
                write.odb.write(ObjectType.COMMIT, commit.read_raw())


def _copy_tree(read: pygit2.Repository, write: pygit2.Repository, tree: pygit2.Tree) -> None:
    if tree.id in write.odb:
        return
    for found in tree:
        if isinstance(found, pygit2.Tree):
            _copy_tree(read, write, found)
        elif isinstance(found, pygit2.Blob) and found.id not in write.odb:
            write.odb.write(ObjectType.BLOB, found.read_raw())
    write.odb.write(ObjectType.TREE, tree.read_raw())
