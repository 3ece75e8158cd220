"""The World a tick observed and the Plan it decided, as frozen values.

``decide(world, now)`` is a pure function of these; a stored World replays to the same Plan bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TypeVar, cast

from factory.config.model import FactoryConfig, RoleDefinition
from factory.forge.values import ChangedFile, Comment, Dependency, Issue, Pull, RepoName, Review, Status, TimelineEvent
from factory.formula.model import Formula
from factory.plan.vault import Asked, VaultFacts
from factory.runs.model import RunRecord, Subject
from factory.runs.spec import SessionResult, SessionSpec

T = TypeVar("T")


@dataclass(frozen=True)
class IssueFacts:
    """One issue with what deciding about it needs."""

    issue: Issue
    timeline: tuple[TimelineEvent, ...]
    dependencies: tuple[Dependency, ...]
    comments: tuple[Comment, ...] = ()
    digest_at_label: str | None = None
    """``trust.text_digest(issue)`` when this host first saw the newest start label; kept by the host, None before."""
    updated_at_label: datetime | None = None
    """The issue's ``updated_at`` at that same first sight: shows whether anything happened before we looked."""


@dataclass(frozen=True)
class PullFacts:
    """One pull request with what deciding about it needs."""

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
    """A lease as its ref tells it."""

    key: str
    run: str
    host: str
    epoch: int
    at: datetime
    commit: str


@dataclass(frozen=True)
class Pause:
    """A pause in force."""

    scope: str
    """``all``, ``project`` or a role."""
    by: str
    since: datetime
    reason: str = ""


@dataclass(frozen=True)
class HostFacts:
    """This host: its name, its free slots, its agents."""

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
class Settled:
    """A session of this host that left its ``result.json`` while the journal still calls its run unfinished."""

    spec: SessionSpec
    result: SessionResult
    formula: Formula | None = None
    """The formula the run was pinned to (``spec.formula_text``, loaded); None: the one in force."""
    asked: tuple[Asked, ...] = ()
    """The vault actions it asked for."""
    unfit: str = ""
    """Why what it asked of the vault cannot be asked; empty: it can."""


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
    settled: tuple[Settled, ...] = ()
    """Finished sessions of this host whose effects are not decided yet."""
    live: frozenset[str] = frozenset()
    """Runs of this host whose process is known to live."""
    dead: frozenset[str] = frozenset()
    """Unfinished runs of this host proven to have no process (their lock could be taken) and no ``result.json``."""
    cancelling: frozenset[str] = frozenset()
    """Runs of this host that were asked to stop already."""
    heartbeats: Mapping[str, datetime] = field(default_factory=dict)
    """Host -> newest time another host was seen alive (its heartbeat or lease commit)."""
    branches: Mapping[str, str] = field(default_factory=dict)
    """Branch -> tip, all heads of the project."""
    account_ids: Mapping[str, int] = field(default_factory=dict)
    """Login -> the pinned id of one of our accounts; a status counts only from that id."""
    formula_texts: Mapping[str, str] = field(default_factory=dict)
    """Formula name -> the text of its file: what a run is pinned to."""
    muted: frozenset[Subject] = frozenset()
    """Issues whose status comment a person deleted: not posted again (``spool.muted()``)."""
    web_url: str = ""
    """Where a person reads run logs: ``<web_url>/runs/<run>/log``. Empty: no link."""
    vault: VaultFacts = field(default_factory=VaultFacts)

    def derived(self, name: str, compute: Callable[[], T]) -> T:
        """``compute()``, remembered under ``name`` as long as this World lives: what pure functions ask again and again
        for every issue (who is trusted, whose run is whose). Never stored, never compared."""
        if name not in self._memo:
            self._memo[name] = compute()
        return cast(T, self._memo[name])

    @cached_property
    def _memo(self) -> dict[str, object]:
        return {}

    def runs_of(self, subject: Subject) -> tuple[RunRecord, ...]:
        """The runs of one subject, oldest first."""
        return self.derived("runs", self._by_subject).get(subject, ())

    def _by_subject(self) -> Mapping[Subject, tuple[RunRecord, ...]]:
        found: dict[Subject, list[RunRecord]] = {}
        for record in self.runs:
            found.setdefault(record.subject, []).append(record)
        return {subject: tuple(records) for subject, records in found.items()}


@dataclass(frozen=True)
class Intent:
    """ "This wants doing": one run of one formula on one subject, before anything asked whether it may start."""

    subject: Subject
    formula: str
    key: str
    """What exactly is wanted (the head, the round...): the same want has the same key, tick after tick."""
    reason: str
    since: datetime
    """Since when it waits; the oldest goes first within a priority."""
    priority: int = 50
    """Smaller goes first."""
    issue: int | None = None
    """The originating issue."""
    title: str = ""
    """Its title: the alias is made of it."""
    base_ref: str = ""
    base: str = ""
    head_ref: str | None = None
    head: str | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    trusted: bool = True
    fresh_after: datetime | None = None
    """Earlier attempts do not count against it: a person wiped the slate then."""


@dataclass(frozen=True)
class Skip:
    """One thing not done: which rule, why in words, who can clear it."""

    subject: Subject
    rule: str
    reason: str
    clears: str = ""
    since: datetime | None = None


@dataclass(frozen=True)
class Obstacle:
    """The first thing in the way of something: a ``Skip`` before it is known whose."""

    rule: str
    reason: str
    clears: str = ""
    since: datetime | None = None

    def on(self, subject: Subject) -> Skip:
        return Skip(subject, self.rule, self.reason, self.clears, self.since)
