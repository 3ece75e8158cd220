"""What differs between two revisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pygit2
from pygit2.enums import DeltaStatus, DiffOption

from factory.git.objects.history import merge_base
from factory.git.objects.opening import opened, tree_at
from factory.git.values import EMPTY_TREE, NameChange, PathChange

_STATUS = {
    DeltaStatus.ADDED: "added",
    DeltaStatus.DELETED: "deleted",
    DeltaStatus.MODIFIED: "modified",
    DeltaStatus.RENAMED: "renamed",
    DeltaStatus.COPIED: "copied",
    DeltaStatus.TYPECHANGE: "typechange",
}


def _difference(git: pygit2.Repository, a: str, b: str, context: int) -> pygit2.Diff:
    diff = tree_at(git, a).diff_to_tree(tree_at(git, b), flags=DiffOption.INCLUDE_TYPECHANGE, context_lines=context)
    diff.find_similar()
    return diff


def patches(git: pygit2.Repository, a: str, b: str, context: int = 3) -> Iterator[pygit2.Patch]:
    """The patches from ``a`` to ``b`` one by one, so that a large diff is never in memory at once."""
    for patch in _difference(git, a, b, context):
        if patch is not None:
            yield patch


def diff_paths(repo: Path, a: str, b: str) -> list[PathChange]:
    """What changed from ``a`` to ``b`` (commits or trees), one entry per file, renames found."""
    with opened(repo, f"comparing {a} with {b}") as git:
        changes: list[PathChange] = []
        for patch in patches(git, a, b, context=0):
            delta = patch.delta
            _, additions, deletions = patch.line_stats
            old, new = delta.old_file.path, delta.new_file.path
            changes.append(
                PathChange(
                    status=_STATUS.get(delta.status, "modified"),
                    path=new,
                    old_path=old if old != new else None,
                    additions=additions,
                    deletions=deletions,
                    binary=bool(delta.is_binary),
                )
            )
        return changes


def diff_names(repo: Path, a: str, b: str) -> list[NameChange]:
    """The same without the lines of any file, which take most of the time."""
    with opened(repo, f"comparing {a} with {b}") as git:
        pairs = [(d.status, d.old_file.path, d.new_file.path) for d in _difference(git, a, b, 0).deltas]
        return [NameChange(_STATUS.get(s, "modified"), new, old if old != new else None) for s, old, new in pairs]


def diff_text(repo: Path, a: str, b: str, max_bytes: int) -> str:
    """Unified diff from ``a`` to ``b``; what exceeds ``max_bytes`` is left out and the last line says so."""
    with opened(repo, f"comparing {a} with {b}") as git:
        parts: list[str] = []
        room = max_bytes
        for patch in patches(git, a, b):
            text = patch.data.decode("utf-8", "replace")
            size = len(text.encode())
            if size > room:
                kept = text.encode()[:room].decode("utf-8", "ignore")
                parts.append(kept[: kept.rfind("\n") + 1])
                parts.append(f"[diff cut at {max_bytes} bytes]\n")
                break
            parts.append(text)
            room -= size
        return "".join(parts)


def patch_digest(repo: Path, base: str, head: str) -> str:
    """SHA-256 of what ``head`` changes since its merge base with ``base``: stays the same over a pure rebase.

    Line numbers and blob ids are left out (Forgejo decides staleness so); for binary files the new blob id counts,
    because their text says nothing.
    """
    common = merge_base(repo, base, head)
    with opened(repo, f"digesting {base}..{head}") as git:
        digest = hashlib.sha256()
        for patch in patches(git, common or EMPTY_TREE, head):
            delta = patch.delta
            fact = (_STATUS.get(delta.status, "?"), delta.old_file.path, delta.new_file.path, int(delta.new_file.mode))
            digest.update(repr(fact).encode("utf-8", "surrogateescape"))
            if delta.is_binary or not patch.hunks:
                digest.update(str(delta.new_file.id).encode())
            for hunk in patch.hunks:
                digest.update(b"\n@@")
                for line in hunk.lines:
                    digest.update(line.origin.encode() + line.raw_content)
        return digest.hexdigest()
