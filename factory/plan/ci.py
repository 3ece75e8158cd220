"""CI for a forge without runners: which commits need a run of formula ``ci``.

One per head of a pull request the factory deals with and one per new tip of the default branch. A run that could not
tell (exit 137, clone or network trouble) is tried again by the rule of its cause; one that judged is final.
"""

from __future__ import annotations

from datetime import datetime

from factory.forge.values import ItemState, Status
from factory.plan import history, names, trust
from factory.plan.model import Intent, PullFacts, World
from factory.plan.pull_case import is_relevant
from factory.plan.required_checks import OUR_CONTEXT, Light, judge, required
from factory.runs.model import RunState

FORMULA = "ci"


def intents(world: World, now: datetime) -> tuple[Intent, ...]:
    """A run for the default branch's tip and for every relevant head that nothing judged yet."""
    if not world.config.ci.command or OUR_CONTEXT not in world.config.ci.contexts:
        return ()
    found = [_base(world, now)]
    found += [
        _head(world, facts) for facts in world.pulls if facts.pull.state is ItemState.OPEN and is_relevant(world, facts)
    ]
    once: dict[str, Intent] = {}
    for intent in found:
        if intent is not None:
            once.setdefault(intent.subject.id, intent)
    return tuple(once.values())


def _base(world: World, now: datetime) -> Intent | None:
    tip = world.base.tip
    if not tip or _judged(world, tip, world.base.statuses, None):
        return None
    return Intent(
        subject=names.commit_subject(world, tip),
        formula=FORMULA,
        key=tip,
        reason=f"{world.base.ref} has a tip that {OUR_CONTEXT} has not judged",
        since=now,
        priority=5,
        title=f"ci {world.base.ref}",
        base_ref=world.base.ref,
        base=tip,
        head_ref=world.base.ref,
        head=tip,
        inputs={"commit": tip, "on": "base"},
    )


def _head(world: World, facts: PullFacts) -> Intent | None:
    pull = facts.pull
    reset = history.reset_at(facts, trust.people(world))
    if _judged(world, pull.head_sha, facts.statuses, reset):
        return None
    issue = names.issue_of_branch(pull.head_ref)
    return Intent(
        subject=names.commit_subject(world, pull.head_sha),
        formula=FORMULA,
        key=pull.head_sha,
        reason=f"the head of #{pull.number} is not judged by {OUR_CONTEXT}",
        since=pull.updated_at,
        priority=10,
        issue=issue,
        title=pull.title,
        base_ref=pull.base_ref,
        base=pull.merge_base or world.base.tip,
        head_ref=pull.head_ref,
        head=pull.head_sha,
        inputs={"commit": pull.head_sha, "pull": str(pull.number), "on": f"pull/{pull.number}"},
        fresh_after=reset,
    )


def _judged(world: World, sha: str, statuses: tuple[Status, ...], reset: datetime | None) -> bool:
    rules = tuple(rule for rule in required(world) if rule[0] == OUR_CONTEXT)
    runs = history.runs_of(world, FORMULA, names.commit_subject(world, sha), after=reset)
    if any(r.state is RunState.SUCCEEDED for r in runs):
        return True
    lights = {check.light for check in judge(statuses, rules, trust.ours(world))}
    return lights <= {Light.GREEN, Light.RED} and reset is None
