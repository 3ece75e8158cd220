"""Commits and how they follow from each other."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import SortMode

from factory.git.objects.opening import commit_at, opened
from factory.git.values import CommitInfo, Signature


def signature_of(raw: pygit2.Signature) -> Signature:
    name, email = raw.raw_name.decode("utf-8", "replace"), raw.raw_email.decode("utf-8", "replace")
    return Signature(name, email, int(raw.time), int(raw.offset))


def info_of(commit: pygit2.Commit) -> CommitInfo:
    return CommitInfo(
        oid=str(commit.id),
        tree=str(commit.tree_id),
        parents=tuple(str(p) for p in commit.parent_ids),
        author=signature_of(commit.author),
        committer=signature_of(commit.committer),
        message=commit.raw_message.decode("utf-8", "replace"),
    )


def commit_info(repo: Path, rev: str) -> CommitInfo:
    """The commit that ``rev`` names; raises GitFailed when there is none."""
    with opened(repo, f"reading commit {rev}") as git:
        return info_of(commit_at(git, rev))


def log(
    repo: Path,
    rev: str,
    *,
    exclude: Iterable[str] = (),
    first_parent: bool = False,
    limit: int | None = None,
    skip: int = 0,
) -> list[CommitInfo]:
    """Commits reachable from ``rev`` and not from any of ``exclude``, newest first, children before parents; at most
    ``limit`` of them after the first ``skip``."""
    with opened(repo, f"reading the log of {rev}") as git:
        walker = git.walk(commit_at(git, rev).id, SortMode.TOPOLOGICAL | SortMode.TIME)
        if first_parent:
            walker.simplify_first_parent()
        for hidden in exclude:
            walker.hide(commit_at(git, hidden).id)
        return [info_of(commit) for commit in islice(walker, skip, None if limit is None else skip + limit)]


def count_commits(repo: Path, rev: str) -> int:
    """How many commits are reachable from ``rev``."""
    with opened(repo, f"counting the commits of {rev}") as git:
        return sum(1 for _ in git.walk(commit_at(git, rev).id, SortMode.NONE))


def merge_base(repo: Path, a: str, b: str) -> str | None:
    """Best common ancestor of two revs, None when their histories are unrelated."""
    with opened(repo, f"finding the merge base of {a} and {b}") as git:
        base = git.merge_base(commit_at(git, a).id, commit_at(git, b).id)
        return None if base is None else str(base)


def is_ancestor(repo: Path, a: str, b: str) -> bool:
    """Whether commit ``a`` is reachable from ``b``; a commit is its own ancestor."""
    with opened(repo, f"asking whether {a} is in {b}") as git:
        first, second = commit_at(git, a).id, commit_at(git, b).id
        return bool(first == second or git.descendant_of(second, first))


def ahead_behind(repo: Path, a: str, b: str) -> tuple[int, int]:
    """(commits of ``a`` that are not in ``b``, commits of ``b`` that are not in ``a``)."""
    with opened(repo, f"comparing {a} with {b}") as git:
        ahead, behind = git.ahead_behind(commit_at(git, a).id, commit_at(git, b).id)
        return int(ahead), int(behind)
