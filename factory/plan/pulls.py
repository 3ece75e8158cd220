"""The life of a pull request (DESIGN section 10): its state follows from forge and journal, and names one action.

Each row of the table is one function below, asked in order; the first that has something to say decides. A row answers
with an ``Intent`` (a run), an ``Effect`` (something done without a model) or an ``Obstacle`` (why nothing is done).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from factory.forge.values import ItemState, Review, ReviewState
from factory.plan import commands, history, labels, merge_gate, names, required_checks, reviews, trust
from factory.plan.model import Obstacle, PullFacts, World
from factory.plan.operations import CancelRun, UpdatePull
from factory.plan.pull_actions import ADDRESS, CONFLICT, FIX, REVIEW, Action, Try, block, effect_on, intent_for, merge
from factory.plan.pull_case import Case, case_of, is_relevant
from factory.plan.required_checks import Light
from factory.runs.model import RunState

MAX_FIXES = 3
"""Fix runs per head lineage."""
CHECK_PATIENCE = timedelta(minutes=60)
"""After this a check that says nothing is a person's business."""


def decide(world: World, facts: PullFacts, now: datetime) -> Action | None:
    """The one action for this pull request; None when it is not the factory's business."""
    this = case_of(world, facts, now)
    if facts.pull.merged or facts.pull.state is not ItemState.OPEN:
        return _over(this)
    if not is_relevant(world, facts):
        return None
    for row in OUR_ROWS if this.ours else REVIEW_ROWS:
        action = row(this)
        if action is not None:
            return action
    raise AssertionError("the last row always answers")


# ---- rows ----------------------------------------------------------------------------------------------------------


def _over(this: Case) -> Action | None:
    """Closed or merged by anyone: terminal. A session that still works on it is stopped."""
    run = history.unfinished(this.world, this.subject)
    if run is not None and run.run in this.world.live - this.world.cancelling:
        return effect_on(this, "cancel", run.run, f"#{this.facts.pull.number} is closed",
                       (CancelRun(run.run, "the pull request was closed"),), free=True)  # fmt: skip
    return None


def _running(this: Case) -> Action | None:
    """Something is under way: it is waited for, unless someone trusted said ``/stop``."""
    run = history.unfinished(this.world, this.subject)
    if run is None:
        return None
    held = _holding(this)
    if held is not None and held.name == "stop" and run.run in this.world.live - this.world.cancelling:
        why = f"{held.by} said /stop"
        return effect_on(this, "cancel", run.run, why, (CancelRun(run.run, why),), free=True)
    return Obstacle("running", f"{run.formula} round {run.round} runs as {run.run}", "the run", run.started_at)


def _holding(this: Case) -> commands.Command | None:
    """The ``/hold`` or ``/stop`` in force on the pull request, or on the issue behind it."""
    people = trust.people(this.world)
    asked = [commands.holding(commands.given(f.comments, people)) for f in (this.facts, this.issue_facts) if f]
    return next((command for command in asked if command is not None), None)


def _held(this: Case) -> Action | None:
    pull = this.facts.pull
    held = _holding(this)
    if held is not None:
        return Obstacle("held", f"{held.by} said /{held.name}", f"{held.by}: `/start`", held.at)
    if labels.BLOCKED in pull.labels:
        since = max((e.created_at for e in this.facts.timeline if e.label == labels.BLOCKED and e.added), default=None)
        return Obstacle(
            "blocked", f"#{pull.number} carries `{labels.BLOCKED}`: its comments say why",
            f"a person: settle it, then take `{labels.BLOCKED}` off", since,
        )  # fmt: skip
    if pull.draft:
        return Obstacle("draft", "the pull request is a draft", "its author: take WIP off the title", pull.updated_at)
    return None


def _issue_stands(this: Case) -> Action | None:
    """The issue behind it is still open and still started by someone trusted."""
    facts = this.issue_facts
    if facts is None:
        return None
    if facts.issue.state is not ItemState.OPEN:
        return Obstacle(
            "issue-closed", f"issue #{facts.issue.number} is closed", "a person: reopen it or close this",
            facts.issue.closed_at,
        )  # fmt: skip
    act = trust.start_act(this.world, facts)
    return act if isinstance(act, Obstacle) else None


def _conflict(this: Case) -> Action | None:
    """The forge cannot merge it: update without a model if clean, else a conflict run."""
    pull = this.facts.pull
    if pull.mergeable:
        return None
    if pull.merge_base == this.world.base.tip:
        return Obstacle(
            "not-mergeable", f"#{pull.number} contains its base, and the forge still cannot merge it", "the next tick",
            pull.updated_at,
        )  # fmt: skip
    update = UpdatePull(str(this.world.project), this.world.config.account("dev"), pull.number, this.head)
    intent = intent_for(this, CONFLICT, f"{this.head}+{this.world.base.tip}", f"#{pull.number} conflicts with its base")
    return Try(intent, (update,))


def _checks(this: Case) -> Action | None:
    """A required check is red, in trouble, or says nothing yet."""
    world = this.world
    checks = required_checks.judge(this.facts.statuses, required_checks.required(world), trust.ours(world))
    light = required_checks.overall(checks)
    if light is Light.GREEN:
        return None
    worst = next(check for check in checks if check.light is light)
    since = worst.status.created_at if worst.status else this.facts.pull.updated_at
    what = f"{worst.context} is {light} at {this.head[:8]}"
    if light is not Light.RED:
        late = this.now - since > CHECK_PATIENCE
        clears = "a person: look at that check" if late or light is Light.TROUBLE else "that check"
        return Obstacle(f"check-{light}", what, clears, since)
    if not this.ours:
        return Obstacle("check-red", what, "its author", since)
    if merge_gate.base_is_red(world) and not names.is_base_fix(this.facts.pull.head_ref):
        return Obstacle("base-red", f"{what}, and {world.base.ref} is red as well", "a green default branch", since)
    return _fix(this, worst, what)


def _fix(this: Case, worst: required_checks.Check, what: str) -> Action:
    """Red because of the code: a fix run, at most three per head lineage; then blocked, with the evidence."""
    done = history.fixes_in_lineage(this.world, FIX, this.subject, this.head, this.reset)
    if done >= MAX_FIXES:
        return block(this, f"{what} after {done} fix runs", _ci_log(this, worst))
    log = _ci_log(this, worst)
    return Try(intent_for(this, FIX, this.head, what, {"context": worst.context, "ci_log": log}))


def _ci_log(this: Case, check: required_checks.Check) -> str:
    """The end of the log of the run that judged this head, as its record keeps it; else the status's own words."""
    judged = [
        r for r in this.world.runs
        if r.formula == "ci" and r.subject.kind == "commit" and r.subject.id == this.head and r.state.is_terminal
    ]  # fmt: skip
    if check.context == required_checks.OUR_CONTEXT and judged and judged[-1].detail:
        return judged[-1].detail
    return check.status.description if check.status else ""


def _changes_requested(this: Case) -> Action | None:
    """Someone who counts asked for changes at this head: address them, or tell a person that it does not converge."""
    people = trust.people(this.world)
    rejecting = [
        (login, review)
        for login, review in sorted(reviews.rejections(this.facts.reviews).items())
        if (login in people and not _addressed(this, review))
        or (_is_reviewer(this, login) and review.commit == this.head)
    ]
    if not rejecting:
        return None
    rounds = [r for r in this.runs(REVIEW) if r.state is RunState.SUCCEEDED and r.fact("verdict") == "request_changes"]
    by_people = any(login in people for login, _ in rejecting)
    why = None if by_people else reviews.diverges(rounds)
    if why is not None:
        return block(this, f"the review does not converge: {why}", rejecting[-1][1].body)
    text = "\n\n".join(f"{review.author.login}:\n{review.body}" for _, review in rejecting)
    who = ", ".join(review.author.login for _, review in rejecting)
    key = f"{this.head}/{max(review.id for _, review in rejecting)}"
    return Try(intent_for(this, ADDRESS, key, f"{who} asked for changes at {this.head[:8]}", {"findings": text}))


def _addressed(this: Case, review: Review) -> bool:
    """Whether a run answered this rejection already; whether it did so well is its author's to say."""
    return any(
        r.state is RunState.SUCCEEDED and r.started_at >= review.submitted_at
        for r in history.runs_of(this.world, ADDRESS, this.subject)
    )


def _is_reviewer(this: Case, login: str) -> bool:
    return login == this.world.config.account("reviewer").lower()


def _not_reviewed(this: Case) -> Action | None:
    """This head was not judged, and its required checks are green. A person's approval of it is judgement enough."""
    approving = reviews.approvals(this.facts.reviews, this.head, this.facts.pull.author.login)
    if this.ours and approving & trust.people(this.world):
        return None
    reviewer = this.world.config.account("reviewer")
    mine = reviews.judged(this.facts.reviews, reviewer, this.head)
    if mine is not None and mine.state is ReviewState.COMMENT:
        return Obstacle(
            "undecided", f"{reviewer} could not decide at {this.head[:8]}", "a person: review it", mine.submitted_at
        )
    if mine is not None:
        return None
    inputs = {"previous": _previous(this)}
    return Try(intent_for(this, REVIEW, this.head, f"head {this.head[:8]} is not reviewed", inputs))


def _previous(this: Case) -> str:
    """The findings of the last review at an earlier head, for a re-review that looks at what changed."""
    reviewer = this.world.config.account("reviewer").lower()
    earlier = [
        r for r in this.facts.reviews
        if r.author.login.lower() == reviewer and r.commit != this.head and r.state is ReviewState.REQUEST_CHANGES
    ]  # fmt: skip
    last: Review | None = max(earlier, key=lambda r: (r.submitted_at, r.id), default=None)
    return f"At {last.commit}:\n{last.body}" if last is not None else ""


def _merge(this: Case) -> Action:
    """Approved at this head, checks green, mode allows: merge; else the first thing in the way."""
    world, facts = this.world, this.facts
    rule = merge_gate.rules(world, facts)
    closed = merge_gate.gate(facts.pull, facts.reviews, facts.statuses, rule)
    obstacle = closed or merge_gate.held(world, facts)
    if obstacle is not None:
        return obstacle
    return merge(this, rule)


def _reviewed(this: Case) -> Action:
    """Not our own: the review was all we owe."""
    return Obstacle("not-ours", "reviewed at this head; merging it is its author's and the people's", "a person")


Row = Callable[[Case], Action | None]

OUR_ROWS: tuple[Row, ...] = (
    _running, _held, _issue_stands, _conflict, _checks, _changes_requested, _not_reviewed, _merge,
)  # fmt: skip
REVIEW_ROWS: tuple[Row, ...] = (_running, _held, _checks, _not_reviewed, _reviewed)
