"""Which issue the dev role may start, and which first: the first thing in the way of each, then priority, then age."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from factory.forge.values import Dependency, ItemState
from factory.plan import commands, history, labels, merge_gate, names, trust
from factory.plan.model import Intent, IssueFacts, Obstacle, PullFacts, World
from factory.runs.model import RunState

DEV = "dev"


def order(intents: Iterable[Intent]) -> tuple[Intent, ...]:
    """By priority, then the oldest, then the subject: the same for the same intents in any order."""
    return tuple(sorted(intents, key=lambda i: (i.priority, i.since, i.subject, i.formula)))


def in_the_way(world: World, facts: IssueFacts, also: frozenset[int] = frozenset()) -> Obstacle | None:
    """The first thing that keeps the dev role from this issue; slots, budgets and pauses are asked later.
    ``also``: issues started earlier in this tick."""
    issue = facts.issue
    if issue.state is not ItemState.OPEN:
        return Obstacle("closed", "the issue is closed", "nobody: it is over", issue.closed_at)
    pull = open_pull(world, issue.number)
    if pull is not None:
        return Obstacle("has-pull", f"#{pull} is its pull request", f"#{pull}")
    act = trust.start_act(world, facts)
    if isinstance(act, Obstacle):
        return act
    held = commands.holding(commands.given(facts.comments, trust.people(world)))
    if held is not None:
        return Obstacle("held", f"{held.by} said /{held.name}", f"{held.by}: `/start`", held.at)
    stop = sorted(issue.labels & labels.STOPS)
    if stop:
        return Obstacle("label-stops", f"it carries `{stop[0]}`", f"a person: settle it and take `{stop[0]}` off")
    return (
        _dependencies(world, facts)
        or _ended(world, facts, act.at)
        or _base(world)
        or in_flight(world, issue.number, also)
    )


def _dependencies(world: World, facts: IssueFacts) -> Obstacle | None:
    for dependency in sorted(facts.dependencies, key=lambda d: (d.repo, d.number)):
        if not is_done(dependency):
            here = dependency.repo == world.project
            name = f"#{dependency.number}" if here else f"{dependency.repo}#{dependency.number}"
            if dependency.state is ItemState.OPEN:
                return Obstacle("dependency", f"it depends on {name}, which is open", name)
            return Obstacle(
                "dependency-rejected", f"it depends on {name}, which was closed without being done",
                f"a person: take the dependency off, or reopen {name}",
            )  # fmt: skip
    return None


def is_done(dependency: Dependency) -> bool:
    """Closed as done, not as rejected."""
    return dependency.state is ItemState.CLOSED and not dependency.labels & labels.REJECTED


def open_pull(world: World, issue: int) -> int | None:
    """The open pull request the factory made for this issue (the newest, should there be several)."""
    mine = _open_pulls(world).get(issue)
    return max(facts.pull.number for facts in mine) if mine else None


def _open_pulls(world: World) -> Mapping[int, list[PullFacts]]:
    """Issue -> the open pull requests the factory made for it."""
    return world.derived("open-pulls", lambda: _find_open_pulls(world))


def _find_open_pulls(world: World) -> Mapping[int, list[PullFacts]]:
    found: dict[int, list[PullFacts]] = {}
    for facts in world.pulls:
        issue = names.issue_of_branch(facts.pull.head_ref)
        if issue is not None and facts.pull.state is ItemState.OPEN and names.is_ours(world, facts):
            found.setdefault(issue, []).append(facts)
    return found


def _ended(world: World, facts: IssueFacts, started: datetime) -> Obstacle | None:
    """Its pull request is over: only a new act of a person starts the issue again."""
    reset = history.reset_at(facts, trust.people(world))
    since = max(started, reset) if reset else started
    done = [
        r for r in history.runs_of(world, DEV, names.issue_subject(world, facts.issue.number))
        if r.state is RunState.SUCCEEDED and r.fact("pull") and (r.finished_at or r.started_at) >= since
    ]  # fmt: skip
    if not done:
        return None
    return Obstacle(
        "pull-ended", f"its pull request #{done[-1].fact('pull')} is over and the issue still open",
        "a person: close the issue, or `/retry`", done[-1].finished_at,
    )  # fmt: skip


def _base(world: World) -> Obstacle | None:
    obstacle = merge_gate.base_in_the_way(world)
    return obstacle if obstacle is not None and obstacle.rule == "base-red" else None


def in_flight(world: World, asking: int, also: frozenset[int] = frozenset()) -> Obstacle | None:
    """As many issues are under way as the project wants at the same time. Blocked pull requests hold no place."""
    numbers = (world.derived("under-way", lambda: _under_way(world)) | also) - {asking}
    if len(numbers) < world.config.dev_slots:
        return None
    others = ", ".join(f"#{n}" for n in sorted(numbers))
    return Obstacle("in-flight", f"{others} come first ([project] dev_slots = {world.config.dev_slots})", others)


def _under_way(world: World) -> frozenset[int]:
    """Issues with a dev run, or with an open pull request that is not blocked."""
    running = {r.issue for r in world.runs if r.formula == DEV and not r.state.is_terminal and r.issue is not None}
    open_ = {
        issue
        for issue, pulls in _open_pulls(world).items()
        if any(labels.BLOCKED not in facts.pull.labels for facts in pulls)
    }
    return frozenset(running | open_)
