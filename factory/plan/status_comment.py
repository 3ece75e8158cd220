"""The one status comment of an issue: what it waits for, or what would start it. Edited only when its facts change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from factory.forge.values import Comment, ItemState
from factory.plan import commands, explain, history, labels, names, trust
from factory.plan.agent_text import visible
from factory.plan.effect import Effect, Preconditions, effect_id
from factory.plan.model import IssueFacts, Skip, World
from factory.plan.operations import SetStatusComment
from factory.plan.start import ACTING, PROJECT
from factory.plan.triage import open_pull
from factory.runs.codec import compact
from factory.runs.model import Subject

OPENING = "**Status:** "
NEWCOMER = timedelta(days=1)
"""Only an issue as young as this is told what would start it: a factory that arrives does not write to every one."""
PER_TICK = 5

_PASSING = frozenset({"one-effect", "unconfirmed", "text-not-seen", "agent-busy", "no-slot", "leased"})
"""Reasons that come and go: they read as one."""


def decide(
    world: World, facts: IssueFacts, starting: frozenset[Subject], skips: Mapping[Subject, Skip], now: datetime
) -> Effect | None:
    """The edit that brings the comment up to date; None when it says so already, or when nothing is worth saying.
    ``starting``: subjects whose run starts in this tick; ``skips``: the first reason of each subject."""
    issue = facts.issue
    if names.issue_subject(world, issue.number) in world.muted:
        return None
    if issue.comments > len(facts.comments):
        return None  # not all comments are known: whether it is there cannot be said
    there = existing(world, facts)
    text = _text(world, facts, starting, skips, now, there)
    if text is None or (there is not None and visible(there.body).strip() == OPENING + text):
        return None
    subject = names.issue_subject(world, issue.number)
    body = OPENING + text
    return Effect(
        id=effect_id(subject, "status", compact([body, issue.updated_at.isoformat()])),
        subject=subject,
        kind="status",
        reason="what the issue waits for has changed",
        operations=(SetStatusComment(str(world.project), world.config.account("factory"), issue.number, body),),
        preconditions=Preconditions(modes=ACTING, unpaused=PROJECT),
    )


def existing(world: World, facts: IssueFacts) -> Comment | None:
    """Our status comment, known by its poster and first words; the marker is checked when it is edited."""
    account = world.config.account("factory").lower()
    mine = [c for c in facts.comments if c.author.login.lower() == account and c.body.startswith(OPENING)]
    return min(mine, key=lambda c: c.id, default=None)


def _text(
    world: World, facts: IssueFacts, starting: frozenset[Subject], skips: Mapping[Subject, Skip], now: datetime,
    there: Comment | None,
) -> str | None:  # fmt: skip
    issue = facts.issue
    if issue.state is not ItemState.OPEN:
        return _closed(world, facts) if there is not None else None
    subject = names.issue_subject(world, issue.number)
    detail = _detail(world, facts)
    pull = open_pull(world, issue.number)
    if pull is not None:
        return f"#{pull} is its pull request.{_pull_waits(world, pull, skips)}{_vault(world, issue.number)}{detail}"
    run = history.unfinished(world, subject)
    if run is not None or subject in starting:
        return "being worked on." + detail
    if labels.START not in issue.labels:
        if there is None and now - issue.created_at > NEWCOMER:
            return None
        return f"not started. Someone trusted starts it with the label `{labels.START}` or the comment `/start`."
    skip = skips.get(subject)
    if skip is None:
        return None
    if skip.rule in _PASSING:
        return "waits for its turn." + detail
    who = f" Who can clear it: {skip.clears}." if skip.clears else ""
    return f"waits: {skip.reason}.{who}{detail}"


def _pull_waits(world: World, pull: int, skips: Mapping[Subject, Skip]) -> str:
    """What a person has to do about the pull request; what comes and goes by itself is not told."""
    skip = skips.get(names.pull_subject(world, pull))
    if skip is None or not skip.clears.startswith("a person"):
        return ""
    return f" It waits: {skip.reason}. Who can clear it: {skip.clears}."


def _vault(world: World, number: int) -> str:
    """Where the vault actions stand that its runs asked for."""
    return "".join(f" `{id}` {standing}." for id, standing in explain.asked(world, number))


def _closed(world: World, facts: IssueFacts) -> str:
    merged = [
        p.pull.number for p in world.pulls
        if p.pull.merged and names.issue_of_branch(p.pull.head_ref) == facts.issue.number
    ]  # fmt: skip
    return _done(max(merged)) if merged else "closed."


def done(pull: int) -> str:
    """The comment's last word, set together with the merge: what is closed is not looked at again."""
    return OPENING + _done(pull)


def _done(pull: int) -> str:
    return f"done with #{pull}."


def _detail(world: World, facts: IssueFacts) -> str:
    """The answer to ``/explain``: what was tried and what it cost."""
    asked = commands.newest(commands.given(facts.comments, trust.people(world)), "explain")
    if asked is None:
        return ""
    runs = [r for r in world.runs if r.issue == facts.issue.number]
    tried = "".join(f"\n- `{r.run}` {r.formula} round {r.round}: {r.cause or r.state}" for r in runs[-10:])
    return f"\n\nCost so far {history.dollars(history.cost_of_issue(world, facts.issue.number))}.{tried}"
