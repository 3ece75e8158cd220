"""What git holds, as frozen values. Importable without loading libgit2."""

from __future__ import annotations

from dataclasses import dataclass

MODE_FILE = 0o100644
MODE_EXECUTABLE = 0o100755
MODE_SYMLINK = 0o120000
MODE_TREE = 0o040000
MODE_SUBMODULE = 0o160000

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
ZERO = "0" * 40
"""The object id that stands for "no such ref" in compare-and-swap."""


@dataclass(frozen=True)
class TreeEntry:
    """One entry of a tree. ``kind`` is ``blob``, ``tree`` or ``commit`` (a submodule); ``size`` is of blobs, else 0."""

    path: str
    mode: int
    kind: str
    oid: str
    size: int


@dataclass(frozen=True)
class Signature:
    """Who and when: ``when`` in seconds since the epoch, ``offset`` in minutes east of UTC."""

    name: str
    email: str
    when: int
    offset: int = 0


@dataclass(frozen=True)
class CommitInfo:
    """A commit object."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True)
class MergeResult:
    """``tree`` is None exactly when ``conflicts`` (paths, sorted) is not empty."""

    tree: str | None
    conflicts: tuple[str, ...]


@dataclass(frozen=True)
class NameChange:
    """``status`` is added, modified, deleted, renamed, copied or typechange; ``old_path`` only where it differs."""

    status: str
    path: str
    old_path: str | None


@dataclass(frozen=True)
class PathChange(NameChange):
    """The same with the lines that were added and deleted."""

    additions: int
    deletions: int
    binary: bool


@dataclass(frozen=True)
class RefRow:
    """One ref as a server advertises it: ``target`` names the ref behind a symbolic one, ``peeled`` an annotated
    tag's object."""

    name: str
    oid: str
    target: str | None = None
    peeled: str | None = None
