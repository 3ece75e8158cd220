"""The snapshot between two starts of the daemon: one JSON file, replaced whole. Any doubt means a full rescan."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from factory.config.home import write_private
from factory.forge.values import Repo, RepoName, Status
from factory.forge.view import IssueView, PullView

SCHEMA = 1


@dataclass
class RepoState:
    """What is kept of one repo."""

    repo: Repo
    refs: dict[str, str] = field(default_factory=dict)
    tip_statuses: tuple[Status, ...] = ()
    issues: dict[int, IssueView] = field(default_factory=dict)
    pulls: dict[int, PullView] = field(default_factory=dict)


@dataclass
class SnapshotState:
    """What is kept of one project. Keys of ``seen`` and ``hot`` are ``owner/name#number``."""

    url: str
    project: RepoName
    ops: RepoName
    repos: dict[str, RepoState]
    watermarks: dict[str, datetime] = field(default_factory=dict)
    """Owner -> the newest ``updated_at`` the forge ever named for it."""
    looked_at: datetime | None = None
    """The forge's clock at the last look."""
    seen: dict[str, datetime] = field(default_factory=dict)
    """Subjects near the watermark and the ``updated_at`` they had."""
    hot: dict[str, datetime] = field(default_factory=dict)
    """Subjects read in the same second as they changed: a second change of that second would not show, so they are
    read once more when that second is over."""
    relist: list[datetime] = field(default_factory=list)
    """When to look at all open pull requests once more, because a base moved and mergeability is computed late."""
    schema: int = SCHEMA


@cache
def _adapter() -> TypeAdapter[SnapshotState]:
    """Made for the first snapshot: it takes longer than most commands, which need none."""
    return TypeAdapter(SnapshotState)


def load(path: Path, *, url: str, project: RepoName, ops: RepoName) -> tuple[SnapshotState | None, str]:
    """The kept state, or None and why there is none that can be used."""
    try:
        state = _adapter().validate_json(path.read_bytes(), strict=False)
    except FileNotFoundError:
        return None, "there was no snapshot"
    except (OSError, ValidationError, ValueError):
        return None, "the kept snapshot is unreadable"
    if state.schema != SCHEMA:
        return None, f"the kept snapshot has schema {state.schema}"
    if (state.url, state.project, state.ops) != (url, project, ops):
        return None, "the kept snapshot is of another project or forge"
    return state, ""


def save(path: Path, state: SnapshotState) -> None:
    """Replace the file; raises OSError."""
    write_private(path, _adapter().dump_json(state))
