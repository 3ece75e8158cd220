"""An admitted intent becomes the effect that starts its run: lease, journal entry and session."""

from __future__ import annotations

from datetime import datetime

from factory.config.model import Mode
from factory.plan import history, labels
from factory.plan.admission import Admitted
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Intent, World
from factory.plan.names import alias
from factory.plan.operations import Operation, StartRun
from factory.runs.ids import run_id
from factory.runs.spec import SessionSpec

ACTING = frozenset({Mode.SUGGEST, Mode.MERGE})
PROJECT = frozenset({"all", "project"})
"""Pause scopes that stop everything in this project."""


def start(
    world: World, intent: Intent, admitted: Admitted, now: datetime, *, before: tuple[Operation, ...] = ()
) -> Effect:
    """The effect that starts the run of ``intent``; ``before``: operations that come first (an update by the forge)."""
    formula = admitted.formula
    attempt = len(history.runs_of(world, intent.formula, intent.subject)) + 1
    key = f"{intent.key}#{attempt}"
    run = run_id(now, f"{intent.formula} {intent.subject} {key}")
    agent = next((a for a in world.config.agents if a.name == admitted.agent), None)
    facts = world.host.agents.get(admitted.agent)
    spec = SessionSpec(
        run=run,
        project=str(world.project),
        ops=str(world.ops),
        formula=formula.name,
        formula_digest=formula.digest,
        formula_text=world.formula_texts.get(formula.name, ""),
        role=formula.role,
        agent=admitted.agent,
        account=admitted.account,
        subject=intent.subject,
        issue=intent.issue,
        alias=alias(intent.title),
        round=history.round_number(world, intent.formula, intent.issue, intent.subject),
        base_ref=intent.base_ref or world.base.ref,
        base=intent.base or world.base.tip,
        head_ref=intent.head_ref,
        head=intent.head,
        resume=history.resumable(world, intent.formula, intent.subject, intent.head),
        inputs={**intent.inputs, "want": intent.key, "from": intent.head or ""},
        trusted=intent.trusted,
        backend=agent.backend if agent else "",
        model=facts.model if facts else "",
        environment=world.config.environment,
        ci=world.config.ci,
    )
    operation = StartRun(
        spec=spec,
        reserve_usd=admitted.reserve_usd,
        lease=intent.subject.key,
        epoch=_epoch(world, intent),
        host=world.host.host,
        at=now,
        replaces=next((lease.commit for lease in world.leases if lease.key == intent.subject.key), None),
    )
    return Effect(
        id=effect_id(intent.subject, f"start:{intent.formula}", key),
        subject=intent.subject,
        kind=f"start:{intent.formula}",
        reason=intent.reason,
        operations=(*before, operation),
        preconditions=_preconditions(intent, formula.role),
        run=run,
    )


def _epoch(world: World, intent: Intent) -> int:
    """One more than any run or lease of the subject ever had: what an overtaken host still does is recognised."""
    known = [r.epoch for r in world.runs if r.subject == intent.subject]
    known += [lease.epoch for lease in world.leases if lease.key == intent.subject.key]
    return max(known, default=0) + 1


def _preconditions(intent: Intent, role: str) -> Preconditions:
    subject = intent.subject
    if subject.kind not in ("issue", "pull"):
        return Preconditions(modes=ACTING, unpaused=PROJECT | {role})
    is_pull = subject.kind == "pull"
    return Preconditions(
        repo=subject.repo,
        number=int(subject.id),
        is_pull=is_pull,
        head=intent.head if is_pull else None,
        open=True,
        labels=frozenset() if is_pull else frozenset({labels.START}),
        modes=ACTING,
        unpaused=PROJECT | {role},
    )
