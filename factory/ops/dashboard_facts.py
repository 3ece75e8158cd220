"""What the dashboard tells, as values: whoever knows the world fills them, the text is made of nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from factory.ops.prerequisites import Objective


@dataclass(frozen=True)
class NeedsYou:
    """One thing only a person can do."""

    act: str
    """One word: approve, answer, unblock, repair, look."""
    title: str
    """Untrusted."""
    url: str
    since: datetime
    frees: str
    """What doing it frees, in words of the factory; may quote others."""
    why: str = ""


@dataclass(frozen=True)
class Running:
    """A run that has not ended."""

    run: str
    formula: str
    agent: str
    title: str
    """Of the issue or pull request; untrusted."""
    url: str
    since: datetime
    log_url: str = ""


@dataclass(frozen=True)
class Waiting:
    """Work that is asked for and not yet started, with the first thing in its way."""

    title: str
    url: str
    reason: str
    since: datetime | None = None


@dataclass(frozen=True)
class Merged:
    """A pull request merged lately."""

    number: int
    title: str
    url: str
    merged_at: datetime
    seconds: float
    """From the first run's start to the merge."""
    cost_usd: float
    runs: int
    scripted: bool = False
    issue: int | None = None
    issue_url: str = ""


@dataclass(frozen=True)
class Budget:
    """A limit in USD and how much of it is gone."""

    name: str
    spent_usd: float
    """Spent or reserved."""
    limit_usd: float


@dataclass(frozen=True)
class Health:
    """One line of the health section."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Idle:
    """The idle invoice: what the last ``hours`` cost while nothing was asked for."""

    hours: float
    ticks: int
    model_calls: int
    forge_requests: int
    processes: int
    cpu_seconds: float


@dataclass(frozen=True)
class DashboardFacts:
    """All that the dashboard says."""

    project: str
    project_url: str
    mode: str
    needs: tuple[NeedsYou, ...] = ()
    running: tuple[Running, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    merged: tuple[Merged, ...] = ()
    """Newest first."""
    prerequisites: tuple[Objective, ...] | None = None
    """None: there is no prerequisites.md."""
    budgets: tuple[Budget, ...] = ()
    cost_per_merge_usd: float | None = None
    merged_count: int = 0
    """Pull requests that the average is over."""
    health: tuple[Health, ...] = ()
    idle: Idle | None = None
    paused: tuple[str, ...] = ()
    """Scopes, with their reason in words."""
