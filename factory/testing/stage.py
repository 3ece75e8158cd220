"""A whole factory in memory around ``FakeForge``: ticks that really observe, decide, perform and record.

Sessions are played: ``play`` says what each leaves. Everything that must survive a kill (the forge, the journal, the
leases, the results of sessions, the spool's folder) lives outside of the object that a kill throws away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from factory.config.model import FactoryConfig, Mode
from factory.effects.markers import Markers
from factory.effects.perform import Outcome, Performer
from factory.effects.ports import Ports
from factory.effects.spool import Spool
from factory.errors import LeaseHeld, RefMoved
from factory.forge.protocol import Forge
from factory.forge.values import ItemState, RepoName, Status
from factory.plan.effect import Plan
from factory.plan.model import BaseFacts, HostFacts, IssueFacts, LeaseFact, Pause, PullFacts, Settled, World
from factory.plan.trust import newest_start_label, text_digest
from factory.roles.turn import decide
from factory.runs.model import RunRecord, Subject
from factory.runs.spec import SessionResult, SessionSpec
from factory.testing import builders
from factory.testing.fake_forge import FakeForge

Play = Callable[["Outside", SessionSpec], SessionResult | None]
"""What a session leaves; None: it still runs (or was killed without a result)."""


@dataclass
class Outside:
    """All that survives the daemon."""

    forge: FakeForge
    folder: Path
    config: FactoryConfig = field(default_factory=builders.config)
    journal: dict[str, RunRecord] = field(default_factory=dict)
    leases: dict[str, LeaseFact] = field(default_factory=dict)
    sessions: dict[str, SessionSpec] = field(default_factory=dict)
    results: dict[str, SessionResult] = field(default_factory=dict)
    dead: set[str] = field(default_factory=set)
    cancelled: list[str] = field(default_factory=list)
    pauses: tuple[Pause, ...] = ()
    seen: dict[int, tuple[object, str, datetime]] = field(default_factory=dict)
    """Issue -> newest start label, digest and ``updated_at`` when it was first seen."""
    started: list[str] = field(default_factory=list)
    ops_files: dict[str, str | None] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.forge.world.now

    def head(self, branch: str) -> str | None:
        return self.forge.world.repos[builders.PROJECT].branch(branch)


class StageRecords:
    """Journal and leases in memory, with the same compare-and-swap."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def begin(self, record: RunRecord, lease: str, replaces: str | None) -> None:
        there = self._o.leases.get(lease)
        if (there.commit if there else None) != replaces:
            raise LeaseHeld(f"{lease} is held by {there.run if there else 'nobody'}")
        self._o.leases[lease] = LeaseFact(
            lease, record.run, record.host, record.epoch, record.started_at, f"lease-of-{record.run}"
        )
        self._o.journal[record.run] = record

    def finish(self, record: RunRecord, lease: str) -> None:
        if not self.is_finished(record.run):
            self._o.journal[record.run] = record
        there = self._o.leases.get(lease)
        if there is not None and there.run == record.run:
            del self._o.leases[lease]

    def is_finished(self, run: str) -> bool:
        return run in self._o.journal and self._o.journal[run].state.is_terminal

    def holder(self, lease: str) -> LeaseFact | None:
        return self._o.leases.get(lease)


class StageBranches:
    """Pushes that take effect at once, by compare-and-swap."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def push(self, repo: str, account: str, run: str, ref: str, new: str, expected: str | None) -> None:
        if self._o.head(ref) != expected:
            raise RefMoved(f"{ref} moved")
        self._o.forge.as_user(account).set_ref(RepoName.parse(repo), f"refs/heads/{ref}", new)


class StageLauncher:
    """Remembers what it was asked to start; tests end the sessions."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def start(self, spec: SessionSpec) -> None:
        if spec.run not in self._o.sessions:
            self._o.sessions[spec.run] = spec
            self._o.started.append(f"{spec.formula} {spec.subject.kind}/{spec.subject.id} round {spec.round}")

    def cancel(self, run: str) -> None:
        self._o.cancelled.append(run)


class StageOps:
    """The ops repo's files as a mapping."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def write(self, files: Mapping[str, str | None], message: str) -> str | None:
        changed = {path: text for path, text in files.items() if self._o.ops_files.get(path) != text}
        self._o.ops_files.update(changed)
        return builders.sha(message) if changed else None


class StageRequests:
    """Branches that add one file, in the project (the stage has no ops repo of its own)."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def propose(self, account: str, branch: str, base: str, path: str, text: str, message: str) -> str:
        there = self._o.head(branch)
        if there is not None:
            return there
        forge = self._o.forge.as_user(account)
        return forge.commit(builders.PROJECT, branch, {path: text}, start=self._o.head(base), message=message)


class StageGates:
    """Mode and pauses of the stage."""

    def __init__(self, outside: Outside) -> None:
        self._o = outside

    def mode(self) -> Mode:
        return self._o.config.mode

    def paused(self, scopes: frozenset[str]) -> str | None:
        return next((p.scope for p in self._o.pauses if p.scope in scopes), None)


def stage_ports(o: Outside, wrap: Callable[[Forge], Forge] = lambda forge: forge) -> Ports:
    """All ports bound to the outside."""
    return Ports(
        forge=lambda account: wrap(o.forge.as_user(account)),
        records=StageRecords(o),
        branches=StageBranches(o),
        launcher=StageLauncher(o),
        ops=StageOps(o),
        gates=StageGates(o),
        requests=StageRequests(o),
        now=lambda: o.now,
    )


@dataclass
class Stage:
    """One daemon's life: made anew after a kill."""

    outside: Outside
    play: Play
    hook: Callable[[str], None] = lambda point: None
    wrap: Callable[[Forge], Forge] = lambda forge: forge
    """What stands between the performer and the forge: a test's faults."""
    plans: list[Plan] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        o = self.outside

        self.spool = Spool(o.folder)
        self.performer = Performer(stage_ports(o, self.wrap), self.spool, Markers(b"k" * 32), self.hook)
        self.problems = self.performer.load()

    def tick(self, seconds: float = 5) -> Plan:
        """One turn: what was left, what sessions did meanwhile, then observe, decide, perform."""
        o = self.outside
        o.forge.advance(seconds)
        self.outcomes += self.performer.resume()
        for run, spec in list(o.sessions.items()):
            if run not in o.results and run not in o.dead and not StageRecords(o).is_finished(run):
                left = self.play(o, spec)
                if left is not None:
                    o.results[run] = left
        plan = decide(self.world(), o.now)
        self.plans.append(plan)
        self.outcomes += self.performer.perform(plan.effects)
        return plan

    def until(self, done: Callable[[Outside], bool], ticks: int = 60) -> None:
        """Tick until ``done``; AssertionError with the last reasons when it does not come to that."""
        for _ in range(ticks):
            if done(self.outside):
                return
            self.tick()
        last = self.plans[-1]
        why = [f"{s.subject}: {s.rule}: {s.reason}" for s in last.skips] + [str(o.reason) for o in self.outcomes[-5:]]
        told = "\n".join(why)
        raise AssertionError(f"not reached after {ticks} ticks:\n{told}")

    def world(self) -> World:
        """What the forge, the journal and this host show now."""
        o = self.outside
        kept = o.forge.world.repos[builders.PROJECT]
        reader = o.forge.as_user("sentinel-bot")
        issues, pulls = [], []
        for number, item in sorted(kept.items.items()):
            if item.head is None:
                issues.append(self._issue(reader, number))
            else:
                pull = reader.pull(builders.PROJECT, number)
                pulls.append(
                    PullFacts(
                        pull, tuple(reader.reviews(builders.PROJECT, number)),
                        _statuses(reader, builders.PROJECT, pull.head_sha),
                        tuple(reader.pull_files(builders.PROJECT, number)) if pull.state is ItemState.OPEN else (),
                        tuple(reader.timeline(builders.PROJECT, number)),
                        tuple(reader.comments(builders.PROJECT, number)),
                    )
                )  # fmt: skip
        tip = kept.branch("main") or ""
        records = StageRecords(o)
        open_runs = {r.run for r in o.journal.values() if not r.state.is_terminal}
        return builders.world(
            issues, pulls, o.journal.values(),
            config=o.config,
            base=BaseFacts("main", tip, _statuses(reader, builders.PROJECT, tip)),
            writers=frozenset(n for n, p in kept.permissions.items() if p in ("write", "admin")),
            leases=tuple(o.leases.values()),
            locked=self.spool.locked(),
            muted=self.spool.muted(),
            pauses=o.pauses,
            host=HostFacts("here", 4 - len(open_runs), {"hand": builders.agent(free_slots=3 - len(open_runs))}),
            branches={ref.removeprefix("refs/heads/"): sha for ref, sha in kept.refs.items()
                      if ref.startswith("refs/heads/")},
            settled=tuple(
                Settled(o.sessions[run], left) for run, left in sorted(o.results.items())
                if not records.is_finished(run)
            ),
            live=frozenset(open_runs - o.results.keys() - o.dead),
            dead=frozenset(open_runs & o.dead),
        )  # fmt: skip

    def _issue(self, reader: FakeForge, number: int) -> IssueFacts:
        issue = reader.issue(builders.PROJECT, number)
        facts = IssueFacts(
            issue, tuple(reader.timeline(builders.PROJECT, number)),
            tuple(reader.dependencies(builders.PROJECT, number)), tuple(reader.comments(builders.PROJECT, number)),
        )  # fmt: skip
        label = newest_start_label(facts)
        if label is None:
            return facts
        known = self.outside.seen.get(number)
        if known is None or known[0] != label:
            known = self.outside.seen[number] = (label, text_digest(issue), issue.updated_at)
        return replace(facts, digest_at_label=known[1], updated_at_label=known[2])


def _statuses(reader: FakeForge, repo: RepoName, sha: str) -> tuple[Status, ...]:
    return tuple(reader.statuses(repo, sha)) if sha else ()


def subject(kind: str, number: int) -> Subject:
    return Subject(str(builders.PROJECT), kind, str(number))


def outside(folder: Path, *, config: FactoryConfig | None = None) -> Outside:
    """A forge with the project and its accounts, nothing filed yet."""
    forge = FakeForge("acme")
    forge.world.now = builders.NOW
    forge.add_repo(
        builders.PROJECT,
        files={"README.md": "# tally\n", "tally/statistics.py": "mean = 1\n"},
        permissions={
            "founder": "admin", "colleague": "write", "outsider": "read", "dev-bot": "write",
            "review-bot": "write", "factory-bot": "write", "sentinel-bot": "read", "vault-bot": "write",
        },
        labels=("backlog", "priority"),
    )  # fmt: skip
    return Outside(forge, folder, config or builders.config())
