"""What the required CI contexts say about one commit: green, red, infrastructure trouble, or nothing usable yet.

Any code writer can post a status (security-rules.md), so a context counts only from its pinned creator: ours is posted
by the factory's account; a status of one of our other accounts on a foreign context counts for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from factory.forge.values import CheckState, Status
from factory.plan.model import World

OUR_CONTEXT = "factory/ci"

Required = tuple[str, str, int | None]
"""Context, creator's login ("" = anyone but our accounts), creator's id (None = not pinned)."""


class Light(StrEnum):
    """What a required check says of a head."""

    GREEN = "green"
    RED = "red"
    TROUBLE = "trouble"
    """Infrastructure: the check could not tell."""
    PENDING = "pending"
    MISSING = "missing"


@dataclass(frozen=True)
class Check:
    """A required context and what it says."""

    context: str
    light: Light
    status: Status | None = None


def required(world: World) -> tuple[Required, ...]:
    """The contexts that must be green before a review and a merge. Without a CI command ``factory/ci`` is not one."""
    account = world.config.account("factory")
    found: list[Required] = []
    for context in world.config.ci.contexts:
        if context != OUR_CONTEXT:
            found.append((context, "", None))
        elif world.config.ci.command:
            found.append((context, account, world.account_ids.get(account)))
    return tuple(found)


def judge(statuses: Iterable[Status], rules: Sequence[Required], ours: frozenset[str]) -> tuple[Check, ...]:
    """One ``Check`` per required context, from the newest status that counts. ``ours``: our logins, lower case."""
    known = list(statuses)
    return tuple(_one(known, rule, ours) for rule in rules)


def _one(statuses: Sequence[Status], rule: Required, ours: frozenset[str]) -> Check:
    context, login, identity = rule
    counting = [s for s in statuses if s.context == context and _counts(s, login, identity, ours)]
    if not counting:
        return Check(context, Light.MISSING)
    newest = max(counting, key=lambda s: s.created_at)
    light = {
        CheckState.SUCCESS: Light.GREEN,
        CheckState.FAILURE: Light.RED,
        CheckState.PENDING: Light.PENDING,
    }.get(newest.state, Light.TROUBLE)
    return Check(context, light, newest)


def _counts(status: Status, login: str, identity: int | None, ours: frozenset[str]) -> bool:
    creator = status.creator
    if not login:
        return creator.login.lower() not in ours
    return creator.login.lower() == login.lower() and (identity is None or creator.id == identity)


def ignored(statuses: Iterable[Status], rules: Sequence[Required], ours: frozenset[str]) -> tuple[Status, ...]:
    """Statuses of required contexts that do not count because somebody else posted them: worth a person's look."""
    by_context = {rule[0]: rule for rule in rules}
    return tuple(
        s
        for s in statuses
        if s.context in by_context and not _counts(s, by_context[s.context][1], by_context[s.context][2], ours)
    )


def overall(checks: Iterable[Check]) -> Light:
    """The worst of them, in the order red, trouble, missing, pending, green; no required check is green."""
    lights = {check.light for check in checks}
    for light in (Light.RED, Light.TROUBLE, Light.MISSING, Light.PENDING):
        if light in lights:
            return light
    return Light.GREEN
