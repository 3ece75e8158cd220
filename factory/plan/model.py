"""The World a tick observed and the Plan it decided, as frozen values.

``decide(world, now)`` is a pure function of these; a stored World replays to the same Plan bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from factory.config.model import FactoryConfig, RoleDefinition
from factory.forge.values import ChangedFile, Comment, Dependency, Issue, Pull, RepoName, Review, Status, TimelineEvent
from factory.formula.model import Formula
from factory.runs.model import RunRecord, Subject


@dataclass(frozen=True)
class IssueFacts:
    issue: Issue
    timeline: tuple[TimelineEvent, ...]
    dependencies: tuple[Dependency, ...]
    comments: tuple[Comment, ...] = ()
    digest_at_label: str | None = None
    """SHA-256 of title and body when this host first saw the newest start label; kept by the host, None before."""


@dataclass(frozen=True)
class PullFacts:
    pull: Pull
    reviews: tuple[Review, ...]
    statuses: tuple[Status, ...]
    """Newest per context, of the head."""
    files: tuple[ChangedFile, ...]
    timeline: tuple[TimelineEvent, ...] = ()
    comments: tuple[Comment, ...] = ()


@dataclass(frozen=True)
class BaseFacts:
    """The project's default branch."""

    ref: str
    tip: str
    statuses: tuple[Status, ...]


@dataclass(frozen=True)
class LeaseFact:
    key: str
    run: str
    host: str
    epoch: int
    at: datetime
    commit: str


@dataclass(frozen=True)
class Pause:
    scope: str
    """``all``, ``project`` or a role."""
    by: str
    since: datetime
    reason: str = ""


@dataclass(frozen=True)
class HostFacts:
    host: str
    free_slots: int
    agents: Mapping[str, AgentFacts] = field(default_factory=dict)


@dataclass(frozen=True)
class AgentFacts:
    """One hired agent as this host can start it."""

    name: str
    model: str
    roles: frozenset[str]
    free_slots: int
    holds_login: bool = False
    quota_until: datetime | None = None
    trouble: str | None = None
    """Why it cannot start here (no key, not installed, ...)."""


@dataclass(frozen=True)
class World:
    """Everything one tick knows about one project."""

    project: RepoName
    ops: RepoName
    config: FactoryConfig
    formulas: Mapping[str, Formula]
    roles: Mapping[str, RoleDefinition]
    accounts: frozenset[str]
    """Logins that are ours (bots): never trusted by themselves."""
    writers: frozenset[str]
    """Collaborators with write on the project, as the sentinel read them (bots included; subtract ``accounts``)."""
    issues: tuple[IssueFacts, ...]
    """Open ones, and closed ones that changed lately."""
    pulls: tuple[PullFacts, ...]
    ops_pulls: tuple[PullFacts, ...]
    base: BaseFacts
    runs: tuple[RunRecord, ...]
    """All unfinished ones and the finished ones that any rule still asks about, oldest first."""
    leases: tuple[LeaseFact, ...]
    wip: Mapping[str, str]
    """Run id -> commit of ``refs/factory/wip/<run>`` in the project repo."""
    pauses: tuple[Pause, ...]
    host: HostFacts
    locked: frozenset[Subject]
    """Subjects with an effect decided but not yet confirmed."""
    spent: Mapping[str, float] = field(default_factory=dict)
    """USD: ``role:<role>:day``, ``project:day``, ``project:month``; reservations of unfinished runs included."""


@dataclass(frozen=True)
class Skip:
    """One thing not done: which rule, why in words, who can clear it."""

    subject: Subject
    rule: str
    reason: str
    clears: str = ""
    since: datetime | None = None
