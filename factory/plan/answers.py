"""What comment commands and closings cause on issues: labels that a trusted command asks for, sessions to stop."""

from __future__ import annotations

from factory.forge.values import ItemState
from factory.plan import commands, history, labels, names, trust
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import IssueFacts, World
from factory.plan.operations import AddLabels, CancelRun, Operation, RemoveLabel
from factory.plan.start import ACTING, PROJECT


def decide(world: World, facts: IssueFacts) -> Effect | None:
    """The effect of the newest command or of the closing of an issue, as long as it is not in effect yet."""
    return _cancel(world, facts) or _start(world, facts) or _retry(world, facts)


def _cancel(world: World, facts: IssueFacts) -> Effect | None:
    """A dev session whose issue was closed, held, or lost its label is stopped."""
    subject = names.issue_subject(world, facts.issue.number)
    run = history.unfinished(world, subject)
    if run is None or run.run not in world.live or run.run in world.cancelling:
        return None
    held = commands.holding(commands.given(facts.comments, trust.people(world)))
    if facts.issue.state is not ItemState.OPEN:
        why = "the issue was closed"
    elif labels.START not in facts.issue.labels:
        why = f"`{labels.START}` was taken off"
    elif held is not None and held.name == "stop":
        why = f"{held.by} said /stop"
    else:
        return None
    return Effect(
        id=effect_id(subject, "cancel", run.run),
        subject=subject,
        kind="cancel",
        reason=why,
        operations=(CancelRun(run.run, why),),
    )


def _start(world: World, facts: IssueFacts) -> Effect | None:
    """``/start`` sets the label, once; a label taken off after the command stays off."""
    if facts.issue.state is not ItemState.OPEN or labels.START in facts.issue.labels:
        return None
    last = commands.newest(commands.given(facts.comments, trust.people(world)), "start", "stop", "hold")
    if last is None or last.name != "start":
        return None
    newest = trust.newest_start_label(facts)
    if newest is not None and newest.created_at >= last.at:
        return None
    add = AddLabels(str(world.project), world.config.account("factory"), facts.issue.number, (labels.START,))
    return _effect(world, facts, "command-start", str(last.comment), f"{last.by} said /start", (add,))


def _retry(world: World, facts: IssueFacts) -> Effect | None:
    """``/retry`` (and ``/start``) takes off what stopped the issue before."""
    if facts.issue.state is not ItemState.OPEN:
        return None
    last = commands.newest(commands.given(facts.comments, trust.people(world)), "retry", "start")
    if last is None:
        return None
    stuck = []
    for label in (labels.BLOCKED, labels.UNDERSPECIFIED, labels.ALREADY_DONE):
        added = [e.created_at for e in facts.timeline if e.kind == "label" and e.label == label and e.added]
        if label in facts.issue.labels and added and max(added) < last.at:
            stuck.append(label)
    if not stuck:
        return None
    account = world.config.account("factory")
    operations = tuple(RemoveLabel(str(world.project), account, facts.issue.number, label) for label in stuck)
    return _effect(world, facts, "command-retry", str(last.comment), f"{last.by} said /{last.name}", operations)


def _effect(
    world: World, facts: IssueFacts, kind: str, key: str, reason: str, operations: tuple[Operation, ...]
) -> Effect:
    subject = names.issue_subject(world, facts.issue.number)
    return Effect(
        id=effect_id(subject, kind, key),
        subject=subject,
        kind=kind,
        reason=reason,
        operations=operations,
        preconditions=Preconditions(
            repo=str(world.project), number=facts.issue.number, open=True, modes=ACTING, unpaused=PROJECT
        ),
    )
