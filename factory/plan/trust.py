"""Whose word starts work: the trust gate of DESIGN section 9.

Trusted are people listed in factory.toml and collaborators with write; never our own accounts. A start label counts
when a trusted person set it and the text is still the one that person saw. Forgejo records no edits of bodies, so for
the text of an untrusted author two facts of the host stand in: the digest when the label was first seen, and the
issue's ``updated_at`` at that moment (anything that happened between the label and our first look could hide an edit).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from factory.forge.values import Issue, TimelineEvent
from factory.plan import commands, labels
from factory.plan.model import IssueFacts, Obstacle, World


def people(world: World) -> frozenset[str]:
    """Logins (lower case) of the people whose word counts. Our accounts never, even where they have write."""
    return world.derived("people", lambda: _people(world))


def _people(world: World) -> frozenset[str]:
    config = world.config
    listed = config.trust.people | config.approvers | config.admins | world.writers
    return frozenset(login.lower() for login in listed) - ours(world)


def ours(world: World) -> frozenset[str]:
    """Logins (lower case) of our own accounts."""
    return world.derived("ours", lambda: frozenset(login.lower() for login in world.accounts))


def is_trusted(world: World, login: str) -> bool:
    return login.lower() in people(world)


def text_digest(issue: Issue) -> str:
    """SHA-256 of title and body: what the host keeps when it first sees the newest start label."""
    return hashlib.sha256(f"{issue.title}\0{issue.body}".encode()).hexdigest()


@dataclass(frozen=True)
class StartAct:
    """The trusted act that lets work on an issue start."""

    by: str
    at: datetime


def newest_start_label(facts: IssueFacts) -> TimelineEvent | None:
    """The newest event that set or removed the start label; None when the timeline shows none."""
    events = [e for e in facts.timeline if e.kind == "label" and e.label == labels.START]
    return max(events, key=lambda e: (e.created_at, e.id), default=None)


def start_act(world: World, facts: IssueFacts) -> StartAct | Obstacle:
    """Who started this issue and when; or the first reason why nobody trusted did."""
    if labels.START not in facts.issue.labels:
        return Obstacle("no-start-label", f"label `{labels.START}` is not set", "someone trusted: set the label")
    newest = newest_start_label(facts)
    if newest is None or newest.added is not True:
        return Obstacle(
            "label-unexplained",
            f"the timeline does not say who set `{labels.START}`",
            "someone trusted: take the label off and set it again",
        )
    act = _act(world, facts, newest)
    if isinstance(act, Obstacle) or is_trusted(world, facts.issue.author.login):
        return act
    return _same_text(world, facts, newest) or act


def _act(world: World, facts: IssueFacts, newest: TimelineEvent) -> StartAct | Obstacle:
    setter = newest.author.login
    if is_trusted(world, setter):
        return StartAct(setter, newest.created_at)
    again = "someone trusted: take the label off and set it again"
    if setter.lower() not in ours(world):
        return Obstacle(
            "label-by-outsider", f"`{labels.START}` was set by {setter}, who is not trusted", again, newest.created_at
        )
    author = facts.issue.author.login
    if is_trusted(world, author):
        command = _start_command(world, facts, newest)
        if command is not None:
            return command
        if _may_set(world, setter):
            return StartAct(setter, newest.created_at)
        why = "no formula of its role may set that label"
    else:
        why = f"the text is by {author}, who is not trusted"
    return Obstacle(
        "label-by-bot", f"`{labels.START}` was set by {setter}, one of our own accounts: {why}", again,
        newest.created_at,
    )  # fmt: skip


def _start_command(world: World, facts: IssueFacts, newest: TimelineEvent) -> StartAct | None:
    """A trusted ``/start`` that our account answered by setting the label."""
    removed = [
        e.created_at
        for e in facts.timeline
        if e.kind == "label" and e.label == labels.START and e.added is False and e.created_at <= newest.created_at
    ]
    since = max(removed, default=None)
    for command in reversed(commands.given(facts.comments, people(world))):
        if command.name == "start" and command.at <= newest.created_at and (since is None or command.at >= since):
            return StartAct(command.by, command.at)
    return None


def _may_set(world: World, login: str) -> bool:
    """Whether the role of this account has a formula whose grants name the start label, within the role's grants."""
    for role in world.roles.values():
        if role.account.lower() != login.lower() or "labels" not in role.grants:
            continue
        if any(labels.START in world.formulas[name].grants.labels for name in role.formulas if name in world.formulas):
            return True
    return False


def _same_text(world: World, facts: IssueFacts, newest: TimelineEvent) -> Obstacle | None:
    """Whether the text of an untrusted author is the one that was there when the label was set."""
    issue = facts.issue
    edited = Obstacle(
        "edited-after-label",
        f"the text, by {issue.author.login} who is not trusted, may have changed after `{labels.START}` was set",
        "someone trusted: read it again, take the label off and set it again",
        newest.created_at,
    )
    if facts.digest_at_label is None:
        return Obstacle("text-not-seen", "the text was not yet noted at its label", "the next tick", newest.created_at)
    if facts.digest_at_label != text_digest(issue):
        return edited
    if facts.updated_at_label is not None:
        return edited if facts.updated_at_label > newest.created_at else None
    # Without the moment of our first look, whatever moved ``updated_at`` must be explained by someone who counts.
    counts = people(world) | ours(world)
    explained = {newest.created_at}
    explained |= {e.created_at for e in facts.timeline if e.author.login.lower() in counts}
    explained |= {c.created_at for c in facts.comments if c.author.login.lower() in counts}
    if issue.updated_at > newest.created_at and issue.updated_at not in explained:
        return edited
    return None
