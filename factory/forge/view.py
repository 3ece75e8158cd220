"""What a snapshot knows of one project and its ops repo, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from factory.forge.values import (
    ChangedFile,
    CheckState,
    Comment,
    Dependency,
    Issue,
    ItemState,
    Pull,
    Repo,
    RepoName,
    Review,
    Status,
    TimelineEvent,
)

Key = tuple[RepoName, int]
"""An issue or pull request; number 0 stands for the tip of the repo's default branch."""


@dataclass(frozen=True)
class IssueView:
    """One issue. Of a closed one only the issue itself is read."""

    issue: Issue
    timeline: tuple[TimelineEvent, ...] = ()
    dependencies: tuple[Dependency, ...] = ()
    comments: tuple[Comment, ...] = ()


@dataclass(frozen=True)
class PullView:
    """One pull request. Of a closed one only itself and its reviews are read; ``base_sha`` is its ``merge_base``."""

    pull: Pull
    reviews: tuple[Review, ...] = ()
    statuses: tuple[Status, ...] = ()
    """Newest per context, of the head."""
    files: tuple[ChangedFile, ...] = ()
    timeline: tuple[TimelineEvent, ...] = ()
    comments: tuple[Comment, ...] = ()


@dataclass(frozen=True)
class RepoView:
    """One repository as the last snapshot saw it."""

    repo: Repo
    refs: Mapping[str, str] = field(default_factory=dict)
    """``refs/heads/*`` and ``refs/factory/*`` -> object id."""
    tip_statuses: tuple[Status, ...] = ()
    """Of the default branch's tip; read for the project only."""
    issues: tuple[IssueView, ...] = ()
    """Open ones and those closed lately, by number. Empty for the ops repo."""
    pulls: tuple[PullView, ...] = ()
    """Open ones and those closed lately, by number."""

    @property
    def tip(self) -> str | None:
        """Commit of the default branch; None in an empty repo."""
        return self.refs.get(f"refs/heads/{self.repo.default_branch}")


@dataclass(frozen=True)
class ForgeView:
    """One observation. Nothing here is newer than what the forge answered during it."""

    project: RepoView
    ops: RepoView
    as_of: datetime | None
    """The forge's clock at the observation, where it told."""
    changed: frozenset[Key] = frozenset()
    """Subjects read again in this observation; all of them after a full rescan."""
    rescanned: str | None = None
    """Why everything was read again; None for the usual, incremental observation."""
    requests: int = 0
    """What this observation cost."""


def undecided(statuses: tuple[Status, ...], contexts: frozenset[str]) -> bool:
    """Whether one of these contexts has no verdict yet."""
    known = {status.context: status.state for status in statuses}
    return any(known.get(context, CheckState.PENDING) is CheckState.PENDING for context in contexts)


def is_open(view: IssueView | PullView) -> bool:
    item = view.issue if isinstance(view, IssueView) else view.pull
    return item.state is ItemState.OPEN


def updated_at(view: IssueView | PullView) -> datetime:
    return view.issue.updated_at if isinstance(view, IssueView) else view.pull.updated_at
