"""A red default branch: merges and new work are held, one run mends it; after five tries or an hour a person hears."""

from __future__ import annotations

from datetime import datetime, timedelta

from factory.forge.values import ItemState
from factory.plan import history, labels, merge_gate, names, required_checks, trust
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import Intent, Obstacle, World
from factory.plan.operations import CreateIssue
from factory.plan.start import ACTING, PROJECT
from factory.runs.model import RunRecord

FORMULA = "fix-base"
MAX_TRIES = 5
MAX_TIME = timedelta(minutes=60)


def decide(world: World, now: datetime) -> Intent | Effect | Obstacle | None:
    """None while the default branch is not red."""
    if not merge_gate.base_is_red(world):
        return None
    subject = names.base_subject(world)
    fixes = [
        p for p in world.pulls
        if p.pull.state is ItemState.OPEN and names.is_base_fix(p.pull.head_ref) and names.is_ours(world, p)
    ]  # fmt: skip
    mending = min(fixes, key=lambda p: p.pull.number, default=None)
    if mending is not None:
        return Obstacle("base-fix-open", f"#{mending.pull.number} mends the default branch", "its merge",
                        mending.pull.created_at)  # fmt: skip
    tries = series(world)
    if tries and (len(tries) >= MAX_TRIES or now - tries[0].started_at > MAX_TIME):
        return _freeze(world, tries)
    running = history.unfinished(world, subject)
    if running is not None:
        return Obstacle("running", f"{running.formula} runs as {running.run}", "the run", running.started_at)
    worst = next(
        check
        for check in required_checks.judge(world.base.statuses, required_checks.required(world), trust.ours(world))
        if check.light is required_checks.Light.RED
    )
    log = _log(world) or (worst.status.description if worst.status else "")
    title = f"{world.base.ref} is red"
    return Intent(
        subject=subject,
        formula=FORMULA,
        key=world.base.tip,
        reason=f"{worst.context} is red on {world.base.ref} at {world.base.tip[:8]}",
        since=worst.status.created_at if worst.status else now,
        priority=15,
        title=title,
        base_ref=world.base.ref,
        base=world.base.tip,
        head_ref=names.free_branch(world, f"fix/base-{world.base.tip[:8]}"),
        head=None,
        inputs={
            "context": worst.context,
            "ci_log": log,
            "previous": tries[-1].detail if tries else "",
            "issue_title": title,
        },
    )


def series(world: World) -> tuple[RunRecord, ...]:
    """The runs that tried to mend it since it was last known to be green, oldest first. Lost ones do not count."""
    green = [
        r.finished_at or r.started_at
        for r in world.runs
        if r.formula == "ci" and r.fact("on") == "base" and r.fact("ci") == "success"
    ]
    since = max(green, default=None)
    runs = history.runs_of(world, FORMULA, names.base_subject(world), after=since)
    return tuple(r for r in runs if r.state.is_terminal and not history.is_same_round(r))


def _log(world: World) -> str:
    for record in reversed(world.runs):
        if record.formula == "ci" and record.subject.id == world.base.tip and record.fact("ci") == "failure":
            return record.detail
    return ""


def _freeze(world: World, tries: tuple[RunRecord, ...]) -> Effect | Obstacle:
    """Once: an issue that tells a person. The hold on merges and new work stays until the branch is green."""
    subject = names.base_subject(world)
    title = f"{world.base.ref} is red and {len(tries)} tries did not mend it"
    mark = f"`{tries[0].run}`"
    known = [
        i for i in world.issues
        if i.issue.author.login.lower() in trust.ours(world) and labels.BLOCKED in i.issue.labels
        and mark in i.issue.body
    ]  # fmt: skip
    since = tries[0].started_at
    if known:
        return Obstacle("base-frozen", f"{title}; see #{known[0].issue.number}",
                        f"a person: make {world.base.ref} green", since)  # fmt: skip
    runs = "\n".join(f"- `{r.run}`: {r.cause or r.state}" for r in tries)
    body = (
        f"Merges and new work are held since {since:%Y-%m-%d %H:%M} UTC, until {world.base.ref} is green again.\n\n"
        f"The series began with {mark}:\n{runs}"
    )
    return Effect(
        id=effect_id(subject, "base-frozen", tries[0].run),
        subject=subject,
        kind="base-frozen",
        reason=title,
        operations=(CreateIssue(str(world.project), world.config.account("factory"), title, body, (labels.BLOCKED,)),),
        preconditions=Preconditions(modes=ACTING, unpaused=PROJECT),
    )
