"""Making one World: what the forge shows, what the ops repo says, what this host runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from factory.config.model import AgentEntry, FactoryConfig, HostConfig
from factory.daemon.executor import LocalExecutor
from factory.daemon.journal_view import JournalView
from factory.daemon.pauses import local, stricter
from factory.daemon.rules import Rules
from factory.daemon.sightings import Sightings
from factory.daemon.vault_view import VaultView
from factory.forge.protocol import Forge
from factory.forge.snapshot import Snapshot
from factory.forge.values import RepoName
from factory.forge.view import ForgeView, IssueView, Key, PullView
from factory.formula.load import load_formula
from factory.git import objects
from factory.git.leases import HOSTS, LEASES, read
from factory.plan.labels import START
from factory.plan.model import (
    AgentFacts,
    BaseFacts,
    HostFacts,
    IssueFacts,
    LeaseFact,
    PullFacts,
    Settled,
    World,
)
from factory.runs.budget import spent
from factory.runs.journal import REF as JOURNAL
from factory.runs.model import Cause, RunRecord, Subject
from factory.session.folders import RunFolders
from factory.vault.people.reading import BRANCH as LEDGER

WIP = "refs/factory/wip/"
WRITERS_FOR = timedelta(hours=1)
"""How long the sentinel's reading of who may write is used."""
QUOTA_REST = timedelta(minutes=30)
"""How long a backend rests after it said that its quota is used up and not until when."""
RUNS_FOR = timedelta(days=35)
"""Runs that budgets of a month still ask about."""


@dataclass(frozen=True)
class Place:
    """One project on this host: names, repos and the ids that are pinned."""

    project: RepoName
    ops: RepoName
    base_ref: str
    seed: str
    account_ids: Mapping[str, int]


@dataclass
class Observer:
    """Makes Worlds of one project; keeps what makes the next one cheap."""

    place: Place
    host: HostConfig
    snapshot: Snapshot
    sentinel: Forge | None
    executor: LocalExecutor
    mirror: Path
    fetch_mirror: Callable[[], None]
    trouble_of: Callable[[str], str | None]
    """Why an agent cannot be started here, or None."""
    locked: Callable[[], frozenset[Subject]]
    muted: Callable[[], frozenset[Subject]]
    web_url: str
    journal: JournalView = field(default_factory=JournalView)
    rules: Rules = field(default_factory=Rules)
    vault: VaultView = field(init=False)
    _sightings: Sightings | None = None
    _writers: tuple[datetime, frozenset[str]] | None = None
    _acts: frozenset[tuple[str, int]] = frozenset()
    """What people had done when the writers were read."""

    def __post_init__(self) -> None:
        self.vault = VaultView(frozenset(self.place.account_ids.values()))

    def look(self, now: datetime, touched: Iterable[Key] = ()) -> tuple[World, ForgeView]:
        """Observe once. Raises ForgeError; nothing is then changed."""
        known = self.rules.view
        foreign = frozenset(known.config.ci.contexts) - {"factory/ci"} if known is not None else frozenset[str]()
        view = self.snapshot.refresh(touched, contexts=foreign)
        self._bring_in(view)
        bots = frozenset(login.lower() for login in self.place.account_ids)
        trusted = self.vault.trusted(self.mirror, view.ops.refs)
        rules = self.rules.read(self.mirror, view, self.place.seed, self.place.ops, bots, trusted)
        records = self.journal.read(self.mirror, view.ops.refs.get(JOURNAL), now, RUNS_FOR)
        config = effective(rules.config, self.host)
        ops_pulls = tuple(_pull(pull) for pull in view.ops.pulls)
        authority = self.rules.authority.commit if self.rules.authority is not None else self.place.seed
        vault = self.vault.look(self.mirror, view.ops.refs, ops_pulls, config, authority, now)
        live, settled, dead = self._sessions(records)
        leases, heartbeats = self._leases(view)
        tip = view.project.refs.get(f"refs/heads/{self.place.base_ref}", "")
        world = World(
            project=self.place.project,
            ops=self.place.ops,
            config=config,
            formulas=rules.formulas,
            roles=rules.roles,
            # Also one that the rules name and set-up never made: it is no person, whatever it may do on the forge.
            accounts=frozenset(self.place.account_ids) | frozenset(config.accounts.values()),
            writers=self._who_writes(now, _acts(view, bots)),
            issues=tuple(self._issue(issue) for issue in view.project.issues),
            pulls=tuple(_pull(pull) for pull in view.project.pulls),
            ops_pulls=ops_pulls,
            base=BaseFacts(self.place.base_ref, tip, view.project.tip_statuses),
            runs=records,
            leases=leases,
            wip={ref.removeprefix(WIP): oid for ref, oid in view.project.refs.items() if ref.startswith(WIP)},
            pauses=stricter(local(self.host.state / "pauses"), rules.pauses),
            host=self._host(config, records, live, now),
            locked=self.locked(),
            muted=self.muted(),
            cancelling=frozenset(run for run in live if RunFolders(self.host.home, run).cancel.exists()),
            spent=spent(records, now),
            settled=settled,
            live=live,
            dead=dead,
            heartbeats=heartbeats,
            branches={
                ref.removeprefix("refs/heads/"): oid
                for ref, oid in view.project.refs.items()
                if ref.startswith("refs/heads/")
            },
            account_ids=self.place.account_ids,
            formula_texts=rules.formula_texts,
            web_url=self.web_url,
            vault=vault,
        )
        return world, view

    def _bring_in(self, view: ForgeView) -> None:
        """Fetch the ops repo when a ref names a commit that the mirror lacks; our own pushes are there already."""
        wanted = [
            oid
            for ref, oid in view.ops.refs.items()
            if ref in ("refs/heads/main", "refs/heads/auto", LEDGER, JOURNAL)
            or ref.startswith((LEASES, HOSTS, "refs/heads/vault/"))
        ]
        if not objects.is_repo(self.mirror) or not all(objects.exists(self.mirror, oid) for oid in wanted):
            self.fetch_mirror()
        for ref in ("refs/heads/main", JOURNAL):
            oid = view.ops.refs.get(ref)
            if oid is not None and objects.read_ref(self.mirror, ref) != oid:
                objects.update_ref(self.mirror, ref, oid, objects.read_ref(self.mirror, ref))

    def _issue(self, seen: IssueView) -> IssueFacts:
        if self._sightings is None:
            name = f"{self.place.project.owner}.{self.place.project.name}.json"
            self._sightings = Sightings.load(self.host.state / "sightings" / name)
        sighting = self._sightings.of(seen.issue, seen.timeline)
        return IssueFacts(
            seen.issue,
            seen.timeline,
            seen.dependencies,
            seen.comments,
            sighting.digest if sighting else None,
            sighting.updated_at if sighting else None,
        )

    def _who_writes(self, now: datetime, acts: frozenset[tuple[str, int]]) -> frozenset[str]:
        """Who may write to the project. Asked again when somebody did what counts only from such a person: their
        right may be newer than our reading, or gone since."""
        if self.sentinel is None:
            return frozenset()
        if self._writers is None or now - self._writers[0] > WRITERS_FOR or not acts <= self._acts:
            ours = {login.lower() for login in self.place.account_ids}
            there = [user.login for user in self.sentinel.collaborators(self.place.project)]
            people = [login for login in there if login.lower() not in ours]
            may = {p for p in people if self.sentinel.permission(self.place.project, p) in ("write", "admin", "owner")}
            self._writers = (now, frozenset(may | {self.place.project.owner}))
            self._acts = acts
        return self._writers[1]

    def _leases(self, view: ForgeView) -> tuple[tuple[LeaseFact, ...], dict[str, datetime]]:
        facts = []
        beats: dict[str, datetime] = {}
        for ref, oid in view.ops.refs.items():
            if not ref.startswith((LEASES, HOSTS)) or not objects.exists(self.mirror, oid):
                continue
            lease = read(self.mirror, ref, oid)
            beats[lease.host] = max(lease.at, beats.get(lease.host, lease.at))
            if ref.startswith(LEASES):
                facts.append(LeaseFact(lease.key, lease.run, lease.host, lease.epoch, lease.at, oid))
        return tuple(sorted(facts, key=lambda fact: fact.key)), beats

    def _sessions(self, records: tuple[RunRecord, ...]) -> tuple[frozenset[str], tuple[Settled, ...], frozenset[str]]:
        """Of this host's unfinished runs: those that live, those that left a result, those proven dead."""
        self.executor.alive()
        live, settled, dead = set(), [], set()
        for record in records:
            if record.state.is_terminal or record.host != self.host.host:
                continue
            if self.executor.adopt(record.run):
                live.add(record.run)
                continue
            result, spec = self.executor.result(record.run), self.executor.spec(record.run)
            if result is not None and spec is not None:
                formula = load_formula(spec.formula_text.encode(), f"formulas/{spec.formula}.toml")
                asked, unfit = self.vault.asked(spec, result)
                settled.append(Settled(spec, result, formula, asked, unfit))
            else:
                dead.add(record.run)
        return frozenset(live), tuple(settled), frozenset(dead)

    def _host(
        self, config: FactoryConfig, records: tuple[RunRecord, ...], live: frozenset[str], now: datetime
    ) -> HostFacts:
        busy: dict[str, int] = {}
        for record in records:
            if record.run in live:
                busy[record.agent] = busy.get(record.agent, 0) + 1
        agents = {}
        for entry in config.agents:
            backend = self.host.backends.get(entry.name)
            agents[entry.name] = AgentFacts(
                name=entry.name,
                model=entry.model,
                roles=entry.roles,
                free_slots=max(0, backend.slots - busy.get(entry.name, 0)) if backend else 0,
                holds_login=backend is not None and backend.auth == "ambient",
                quota_until=_rests_until(entry.name, records, now),
                trouble=self.trouble_of(entry.name) if backend else "this host has no backend entry for it",
            )
        return HostFacts(self.host.host, max(0, self.host.slots - len(live)), agents)


def _acts(view: ForgeView, bots: frozenset[str]) -> frozenset[tuple[str, int]]:
    """What people did that only counts from somebody trusted: start labels, comments, reviews."""
    found: set[tuple[str, int]] = set()
    items: list[IssueView | PullView] = [*view.project.issues, *view.project.pulls]
    for item in items:
        labels = [e for e in item.timeline if e.kind == "label" and e.label == START]
        found |= {("label", e.id) for e in labels if e.author.login.lower() not in bots}
        found |= {("comment", c.id) for c in item.comments if c.author.login.lower() not in bots}
    for pull in view.project.pulls:
        found |= {("review", r.id) for r in pull.reviews if r.author.login.lower() not in bots}
    return frozenset(found)


def effective(config: FactoryConfig, host: HostConfig) -> FactoryConfig:
    """The shared configuration, with agents hired on this host that ``factory.toml`` does not name yet."""
    named = {agent.name for agent in config.agents}
    here = tuple(
        AgentEntry(name, entry.kind, entry.model, entry.roles)
        for name, entry in sorted(host.backends.items())
        if name not in named and entry.roles
    )
    return replace(config, agents=(*config.agents, *here)) if here else config


def _rests_until(agent: str, records: tuple[RunRecord, ...], now: datetime) -> datetime | None:
    mine = [r for r in records if r.agent == agent and r.finished_at is not None]
    if not mine:
        return None
    newest = max(mine, key=lambda r: r.finished_at or now)
    if newest.cause is not Cause.QUOTA or newest.finished_at is None:
        return None
    until = newest.finished_at + QUOTA_REST
    return until if until > now else None


def _pull(seen: PullView) -> PullFacts:
    return PullFacts(seen.pull, seen.reviews, seen.statuses, seen.files, seen.timeline, seen.comments)
