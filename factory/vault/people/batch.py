"""Many questions to git in few processes: a ledger of a hundred thousand entries is audited in minutes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from factory.git.hardened import Git, GitTrouble

PIECE = 5000
T = TypeVar("T")


def trees(git: Git, commits: Iterable[str]) -> dict[str, str]:
    """Commit -> its tree, of those that are there. Raises GitTrouble."""
    wanted, found = sorted(set(commits)), {}
    for piece in _pieces(wanted):
        asked = "".join(f"{oid}^{{tree}}\n" for oid in piece).encode()
        rows = git.run("cat-file", "--batch-check=%(objectname) %(objecttype)", data=asked, seconds=600).splitlines()
        for oid, row in zip(piece, rows, strict=True):
            name, _, kind = row.decode("ascii", "replace").partition(" ")
            if kind == "tree":
                found[oid] = name
    return found


def only_parents(git: Git, commits: Iterable[str]) -> dict[str, str]:
    """Commit -> its parent, of those that have exactly one. Raises GitTrouble."""
    wanted, found = sorted(set(commits)), {}
    for piece in _pieces(wanted):
        asked = "".join(f"{oid}^1\n{oid}^2\n" for oid in piece).encode()
        rows = git.run("cat-file", "--batch-check=%(objectname) %(objecttype)", data=asked, seconds=600).splitlines()
        for oid, first, second in zip(piece, rows[::2], rows[1::2], strict=True):
            if first.endswith(b" commit") and second.endswith(b" missing"):
                found[oid] = first.split(b" ")[0].decode("ascii")
    return found


def merged(git: Git, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(ours, theirs) -> the tree that merging them gives; empty where they conflict or have nothing in common.

    Both commits must be there. Raises GitTrouble."""
    wanted: Sequence[tuple[str, str]] = sorted(set(pairs))
    found: dict[tuple[str, str], str] = {}
    for piece in _pieces(wanted):
        asked = "".join(f"{ours} {theirs}\n" for ours, theirs in piece).encode()
        try:
            said = git.run("merge-tree", "--write-tree", "--no-messages", "--stdin", data=asked, seconds=600)
            found |= dict(zip(piece, _answers(said), strict=True))
        except (GitTrouble, ValueError):
            # One pair without a common ancestor ends the whole process: ask for each by itself.
            found |= {pair: git.merged_tree(*pair) for pair in piece}
    return found


def _answers(said: bytes) -> list[str]:
    """What ``merge-tree --stdin`` wrote: for each pair whether it is clean, the tree, the files in conflict."""
    words, answers, at = said.split(b"\0"), [], 0
    while at + 1 < len(words):
        clean, tree = words[at], words[at + 1].decode("ascii", "replace")
        answers.append(tree if clean == b"1" else "")
        at = words.index(b"", at + 2) + 1
    return answers


def messages(git: Git, tip: str) -> dict[str, str]:
    """Commit -> its message, along the first parents of a tip. Raises GitTrouble."""
    said = git.run("log", "--first-parent", "-z", "--format=%H%n%B", tip, seconds=600).decode("utf-8", "replace")
    rows = (row.partition("\n") for row in said.split("\0") if row)
    return {oid.strip(): text for oid, _, text in rows}


def blobs(git: Git, names: Sequence[str], limit: int) -> Mapping[str, bytes | None]:
    """``commit:path`` -> content; None for what is absent, no file, or too large. Raises GitTrouble."""
    wanted, found = sorted(set(names)), dict[str, bytes | None]()
    for piece in _pieces(wanted):
        found |= dict(zip(piece, git.read(piece, limit), strict=True))
    return found


def _pieces(items: Sequence[T]) -> Iterable[Sequence[T]]:
    return (items[at : at + PIECE] for at in range(0, len(items), PIECE))
