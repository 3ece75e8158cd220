"""One tick of one project: observe, decide, perform, record. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from factory.daemon.board import Board
from factory.daemon.heartbeat import Heartbeat
from factory.daemon.observe import Observer
from factory.daemon.ports import HostGates
from factory.daemon.worlds import WorldStore
from factory.effects.perform import Ending, Outcome, Performer
from factory.errors import Problem
from factory.forge.values import RepoName
from factory.forge.view import ForgeView, Key
from factory.plan import vault_pulls
from factory.plan.effect import Effect, Plan
from factory.plan.model import World
from factory.plan.operations import FinishRun, MergePull
from factory.roles.turn import decide


@dataclass(frozen=True)
class TickReport:
    """What one tick did, for the loop, the log and ``status``."""

    at: datetime
    world: World
    plan: Plan
    outcomes: tuple[Outcome, ...]
    requests: int
    """Of the observation."""
    number: int
    view: ForgeView

    @property
    def progressed(self) -> bool:
        """Whether something changed, so that looking again at once is worth it."""
        return any(outcome.ending is not Ending.DEFERRED for outcome in self.outcomes)

    @property
    def merged(self) -> bool:
        """Whether a request of the vault was merged."""
        return any(o.effect.kind == vault_pulls.MERGE and o.ending is Ending.DONE for o in self.outcomes)


@dataclass
class Ticker:
    """Turns one project. Not safe for several threads."""

    observer: Observer
    performer: Performer
    gates: HostGates
    worlds: WorldStore
    board: Board
    heartbeat: Heartbeat
    said: Callable[[str], None]
    wake_vault: Callable[[], object] = lambda: None
    """Makes this host's dispatcher look at once."""
    tell: Callable[[World, Plan], None] = lambda world, plan: None
    """Tells people outside the forge what needs them. Never waits, raises nothing."""
    merging: bool = False
    """Whether the dispatcher will be woken in a moment, so that nobody else need do it. Read by other threads."""
    _touched: set[Key] = field(default_factory=set)
    _told: tuple[Problem, ...] = ()
    _world: World | None = None

    def tick(self, now: datetime) -> TickReport:
        """Raises ForgeError when the forge cannot be observed; what was decided before stays in the spool."""
        resumed = self.performer.resume()
        if self._world is not None:
            self._note(resumed, self._world)
        touched = frozenset(self._touched)
        world, view = self.observer.look(now, touched)
        self._touched -= touched
        if self._world is None:
            unfinished = {run.run for run in world.runs if not run.state.is_terminal}
            self.observer.executor.sweep(str(world.project), unfinished, now.timestamp())
        self._world = world
        self._tell_problems()
        self.gates.current_mode = world.config.mode
        self.gates.paused_in_git = frozenset(pause.scope for pause in world.pauses)
        plan = decide(world, now)
        number = self.worlds.record(world, plan, now)
        for effect in plan.effects:
            self.said(f"{_about(effect)}: {effect.reason}")
        outcomes = self._perform(plan.effects)
        self._note(outcomes, world)
        self.heartbeat.beat(world.live, view.ops.refs, now)
        self.tell(world, plan)
        self.board.update(world, plan, now)
        return TickReport(now, world, plan, (*resumed, *outcomes), view.requests, number, view)

    def _perform(self, effects: Sequence[Effect]) -> tuple[Outcome, ...]:
        """Perform them; the dispatcher is woken once, as soon as the last of its requests is merged."""
        merges = [effect.id for effect in effects if effect.kind == vault_pulls.MERGE]
        if not merges:
            return self.performer.perform(effects)

        def tried(effect: Effect) -> None:
            if effect.id == merges[-1]:
                self.merging = False
                self.wake_vault()

        self.merging = True
        try:
            return self.performer.perform(effects, tried)
        finally:
            if self.merging:  # it was put off, or could not be written down
                self.merging = False
                self.wake_vault()

    def _note(self, outcomes: Sequence[Outcome], world: World) -> None:
        """Remember what to read again: what we did may not move an item's ``updated_at``."""
        for outcome in outcomes:
            self._touched |= touched_by(outcome, world)
            run, over = outcome.effect.run, outcome.ending is not Ending.DEFERRED
            if run is not None and over and any(isinstance(op, FinishRun) for op in outcome.effect.operations):
                self.observer.executor.tidy(run)
            if outcome.ending is not Ending.DONE:
                self.said(f"{_about(outcome.effect)}: {outcome.ending.value}: {outcome.reason}")

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the files of the ops repo, as of the last tick."""
        return self._told

    def _tell_problems(self) -> None:
        view = self.observer.rules.view
        problems = (*(view.problems if view is not None else ()), *self.observer.journal.problems)
        if problems != self._told:
            self._told = problems
            for problem in problems:
                self.said(f"problem: {problem}")


def touched_by(outcome: Outcome, world: World) -> set[Key]:
    """The subjects to read again: statuses, for one, do not move an item's ``updated_at``."""
    found: set[Key] = set()
    subject = outcome.effect.subject
    if subject.kind in ("issue", "pull"):
        found.add((RepoName.parse(subject.repo), int(subject.id)))
    else:
        found.add((world.project, 0))
        found |= {(world.project, f.pull.number) for f in world.pulls if f.pull.head_sha == subject.id}
    if any(isinstance(operation, MergePull) for operation in outcome.effect.operations):
        found.add((world.project, 0))
    pull = outcome.facts.get("pull", "")
    if pull.isdigit():
        found.add((world.project, int(pull)))
    return found


def _about(effect: Effect) -> str:
    return f"{effect.kind} {effect.subject.kind} {effect.subject.id[:12]}"


def due_in(report: TickReport, poll: timedelta) -> float:
    """Seconds until the next look: at once after progress, else the poll interval."""
    return 0.0 if report.progressed else poll.total_seconds()
