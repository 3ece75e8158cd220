"""One tick's decisions: a World and the roles' intents in, effects and skips out. Pure: replayable bit for bit.

Finished sessions first, then lost ones, merges, commands, and last what starts: CI before reviews before mending before
new work, the oldest first. At most one effect per subject; every intent ends in exactly one effect or one skip.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from factory.config.model import Mode
from factory.plan import (
    answers,
    base_branch,
    ci,
    names,
    ops_pulls,
    pulls,
    recovery,
    schedule,
    settle,
    status_comment,
    triage,
    vault_pulls,
)
from factory.plan.admission import Desk, stopped
from factory.plan.effect import Effect, Plan
from factory.plan.model import Intent, Obstacle, Skip, World
from factory.plan.operations import MergePull, Operation
from factory.plan.pull_actions import Try
from factory.plan.settle import Wanted
from factory.plan.start import start
from factory.runs.model import Subject

TOGETHER = 3
"""Requests of the vault that are merged one after the other; the next ones when the dispatcher has judged these. What
is merged cannot be taken back on the forge, so approved ones wait open, where a person can still close them, and not in
a queue of the dispatcher; and it starts within about a second, for there are never more before it."""

TELLS = 1
"""How many endings are told in a tick that merges, before it merges; none while approved ones wait for the dispatcher:
those who approved wait for that."""


@dataclass
class _Draft:
    """The plan being put together."""

    desk: Desk
    effects: list[Effect] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)

    def do(self, effect: Effect, place: int | None = None) -> None:
        self.effects.insert(len(self.effects) if place is None else place, effect)
        self.desk.taken.add(effect.subject)

    def skip(self, subject: Subject, obstacle: Obstacle) -> None:
        self.skips.append(obstacle.on(subject))


def decide(world: World, now: datetime, intents: Iterable[Intent] = ()) -> Plan:
    """The plan of one tick. ``intents``: what the roles want; ``now`` must be aware."""
    draft = _Draft(Desk(world, now))
    _settle(draft, world, now)
    _recover(draft, world, now)
    _ops_pulls(draft, world, now)
    wanted = _pulls(draft, world, now)
    wanted += [(intent, ()) for intent in ci.intents(world, now)]
    wanted += _base(draft, world, now)
    _answers(draft, world)
    wanted += [(intent, ()) for intent in intents]
    _start(draft, world, now, wanted)
    _status(draft, world, now)
    return Plan(tuple(draft.effects), tuple(draft.skips))


_Intents = list[tuple[Intent, tuple[Operation, ...]]]


def _settle(draft: _Draft, world: World, now: datetime) -> None:
    records = {record.run: record for record in world.runs}
    for settled in sorted(world.settled, key=lambda s: s.spec.run):
        spec = settled.spec
        record = records.get(spec.run)
        if record is not None and record.state.is_terminal:
            continue
        formula = settled.formula or world.formulas.get(spec.formula)
        if spec.subject in world.locked or spec.subject in draft.desk.taken:
            why = Obstacle("unconfirmed", "an effect on it is decided and not yet confirmed", "the next tick")
            draft.skip(spec.subject, why)
        elif record is None:
            why = Obstacle("not-in-journal", f"{spec.run} ended, but the journal does not know it", "the next tick")
            draft.skip(spec.subject, why)
        elif formula is None:
            why = Obstacle("no-formula", f"{spec.run} ended, but {spec.formula} is not there", "`factory check`")
            draft.skip(spec.subject, why)
        else:
            draft.do(
                settle.settle(
                    spec, settled.result, formula, record, lease=spec.subject.key, now=now,
                    vault=Wanted(settled.asked, settled.unfit, str(world.ops), world.config.account("vault")),
                    factory_account=world.config.account("factory"), log_url=names.log_url(world, spec.run),
                )
            )  # fmt: skip


def _recover(draft: _Draft, world: World, now: datetime) -> None:
    for record in world.runs:
        if record.state.is_terminal or record.subject in draft.desk.taken:
            continue
        found = recovery.judge(world, record, now)
        if isinstance(found, Effect):
            draft.do(found)
        elif found is not None:
            draft.skip(record.subject, found)


def _ops_pulls(draft: _Draft, world: World, now: datetime) -> None:
    first = len(draft.effects)
    for facts in sorted(world.ops_pulls, key=lambda f: f.pull.number):
        found = vault_pulls.decide(world, facts, now) or ops_pulls.decide(world, facts)
        subject = ops_pulls.subject(world, facts.pull.number)
        if isinstance(found, Effect):
            _direct(draft, found)
        elif found is not None:
            draft.skip(subject, found)
    if not any(pause.scope == "all" for pause in world.pauses):
        # What is busy comes with the next tick: nothing waits for it.
        told = (effect for effect in vault_pulls.endings(world) if draft.desk.busy(effect.subject) is None)
        for place, effect in enumerate(islice(told, _tells(draft, world)), first):
            draft.do(effect, place)
        for effect in vault_pulls.comparisons(world):
            if draft.desk.busy(effect.subject) is None:
                draft.do(effect)


def _tells(draft: _Draft, world: World) -> int | None:
    """How many endings are told; None: all."""
    if any(skip.rule == "vault-busy" for skip in draft.skips):
        return 0
    busy = world.vault.unjudged or any(effect.kind == vault_pulls.MERGE for effect in draft.effects)
    return TELLS if busy else None


def _direct(draft: _Draft, effect: Effect) -> None:
    """An effect that starts no session: done unless its subject is taken."""
    busy = draft.desk.busy(effect.subject) if effect.kind != "cancel" else _locked(draft, effect.subject)
    if busy is not None:
        draft.skip(effect.subject, busy)
    elif _merges(effect) and (first := _comes_first(draft, effect)) is not None:
        draft.skip(effect.subject, first)
    else:
        draft.do(effect)


def _comes_first(draft: _Draft, effect: Effect) -> Obstacle | None:
    """What a merge waits for; None: nothing. One merge changes what the next one is judged on. Requests of the vault
    add a file each, and the dispatcher judges them all anyway: of those several go at once."""
    others = [other for other in draft.effects if _merges(other) and _repo(other) == _repo(effect)]
    if effect.kind != vault_pulls.MERGE or any(other.kind != vault_pulls.MERGE for other in others):
        return Obstacle("one-merge", "another merge comes first in this tick", "the next tick") if others else None
    ahead = draft.desk.world.vault.unjudged
    if not ahead and len(others) < TOGETHER:
        return None
    if not ahead:
        return Obstacle("one-merge", f"{len(others)} others come first in this tick", "the next tick")
    return Obstacle("vault-busy", f"{ahead} merged before it wait for the dispatcher", "the dispatcher")


def _locked(draft: _Draft, subject: Subject) -> Obstacle | None:
    if subject in draft.desk.world.locked or subject in draft.desk.taken:
        return Obstacle("unconfirmed", "an effect on it is decided and not yet confirmed", "the next tick")
    return None


def _merges(effect: Effect) -> bool:
    return any(isinstance(operation, MergePull) for operation in effect.operations)


def _repo(effect: Effect) -> str:
    return effect.subject.repo


def _pulls(draft: _Draft, world: World, now: datetime) -> _Intents:
    wanted: _Intents = []
    for facts in sorted(world.pulls, key=lambda f: (f.pull.created_at, f.pull.number)):
        subject = names.pull_subject(world, facts.pull.number)
        action = pulls.decide(world, facts, now)
        if action is None:
            continue
        if isinstance(action, Try):
            wanted.append((action.intent, action.before))
        elif isinstance(action, Obstacle):
            draft.skip(subject, action)
        else:
            halt = stopped(world, "reviewer" if action.kind == "block" else "factory")
            if halt is not None and action.kind != "cancel":
                draft.skip(subject, halt)
            else:
                _direct(draft, action)
    return wanted


def _base(draft: _Draft, world: World, now: datetime) -> _Intents:
    found = base_branch.decide(world, now)
    subject = names.base_subject(world)
    if isinstance(found, Intent):
        return [(found, ())]
    if isinstance(found, Obstacle):
        draft.skip(subject, found)
    elif found is not None:
        halt = stopped(world, "factory")
        if halt is not None:
            draft.skip(subject, halt)
        else:
            _direct(draft, found)
    return []


def _answers(draft: _Draft, world: World) -> None:
    halted = stopped(world, "factory")
    for facts in sorted(world.issues, key=lambda f: f.issue.number):
        effect = answers.decide(world, facts)
        if effect is None:
            continue
        if halted is not None and effect.kind != "cancel":
            draft.skip(effect.subject, halted)
        else:
            _direct(draft, effect)


def _start(draft: _Draft, world: World, now: datetime, wanted: _Intents) -> None:
    before = {id(intent): operations for intent, operations in wanted}
    issues = {facts.issue.number: facts for facts in world.issues}
    started: set[int] = set()
    for intent in triage.order(intent for intent, _ in wanted):
        obstacle: Obstacle | None = None
        if intent.subject.kind == "issue":
            facts = issues.get(int(intent.subject.id))
            obstacle = (
                draft.desk.busy(intent.subject)
                or (triage.in_the_way(world, facts, frozenset(started)) if facts is not None else None)
                or schedule.in_the_way(world, role_of(world, intent.formula), now)
            )
        admitted = obstacle or draft.desk.admit(intent)
        if isinstance(admitted, Obstacle):
            draft.skip(intent.subject, admitted)
            continue
        draft.desk.take(intent, admitted)
        draft.effects.append(start(world, intent, admitted, now, before=before[id(intent)]))
        if intent.subject.kind == "issue" and intent.issue is not None:
            started.add(intent.issue)


def role_of(world: World, formula: str) -> str:
    """The role whose formula this is; empty for one that is not there."""
    found = world.formulas.get(formula)
    return found.role if found is not None else ""


def _status(draft: _Draft, world: World, now: datetime) -> None:
    if world.config.mode is Mode.OBSERVE or stopped(world, "factory") is not None:
        return
    starting = frozenset(effect.subject for effect in draft.effects if effect.kind.startswith("start:"))
    first: dict[Subject, Skip] = {}
    for skip in draft.skips:
        first.setdefault(skip.subject, skip)
    count = 0
    for facts in sorted(world.issues, key=lambda f: f.issue.number):
        subject = names.issue_subject(world, facts.issue.number)
        if subject in draft.desk.taken or subject in world.locked or count >= status_comment.PER_TICK:
            continue
        effect = status_comment.decide(world, facts, starting, first, now)
        if effect is not None:
            draft.do(effect)
            count += 1
