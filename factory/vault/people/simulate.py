"""What another policy would have changed: the ledger's actions of some days judged again under it. Pure.

Nobody's review can be imagined, so only what follows from files and people who did approve is told: who would have
been asked, what would have been refused or made to wait.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from factory.vault.action import Action, Tier
from factory.vault.canonical import stamp
from factory.vault.formulas import VaultFormula
from factory.vault.ledger import Ledger, State
from factory.vault.people.facts import prose
from factory.vault.people.rules import Rules
from factory.vault.policy import Policy, check, ruling

DAYS = 90
FIRST_LINE = "**What this policy would have changed**"
_BY_POLICY = frozenset({"unknown-formula", "formula-digest", "secret-not-allowed", "too-many-runs", "too-long",
                        "approver-not-listed", "signature-missing"})  # fmt: skip
"""Refusals that follow from what a policy says."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Change:
    """One action that would have gone another way. ``kind``: tier, approver, signature, refused, allowed or waits."""

    id: str
    at: datetime
    formula: str
    kind: str
    was: str
    would: str


@dataclass(frozen=True)
class Simulated:
    """``judged`` actions were looked at; ``unread`` could not be (their file is not here any more)."""

    policy_version: int
    since: datetime
    judged: int
    changes: tuple[Change, ...]
    unread: tuple[str, ...] = ()


def simulate(ledger: Ledger, rules: Rules, since: datetime, action_of: Callable[[State], Action | None]) -> Simulated:
    """Judge again what was verified or refused since then. ``rules``: the other policy, and the formulas there are;
    raises ValueError where it has none."""
    policy = rules.policy
    if policy is None:
        raise ValueError("there is no policy to judge by")
    changes: list[Change] = []
    unread: list[str] = []
    starts: list[tuple[datetime, Mapping[str, object]]] = []
    states = [s for s in ledger.states.values() if s.at is not None and (s.verified or s.kind == "REFUSED")]
    judged = 0
    for state in sorted(states, key=lambda state: (state.started or state.at or since, state.seq)):
        if _first(state) < since:
            continue
        action = action_of(state)
        if action is None:
            unread.append(state.id)
            continue
        judged += 1
        changes += _judged(state, action, rules, policy, ledger, starts)
    return Simulated(policy.version, since, judged, tuple(changes), tuple(unread))


def _first(state: State) -> datetime:
    """When it began, as far as the fold still says."""
    when = state.started or state.at
    assert when is not None
    return when


def _judged(
    state: State, action: Action, rules: Rules, policy: Policy, ledger: Ledger,
    starts: list[tuple[datetime, Mapping[str, object]]],
) -> Iterable[Change]:  # fmt: skip
    at, formula = _first(state), rules.formula(action.formula)
    refused = _refusal(action, formula, policy)
    was = str(state.verified.get("tier", ""))
    code = str(state.evidence.get("code", ""))
    if not was:
        if refused is None and code in _BY_POLICY and code != "approver-not-listed":
            yield Change(state.id, at, action.formula, "allowed", f"refused ({code})", "not refused for that")
        return
    if refused is not None or formula is None:
        yield Change(state.id, at, action.formula, "refused", was, f"refused: {refused}")
        return
    repeated = _repeated(ledger, state, action.content, at, policy.remember_days)
    tier = ruling(action, formula, policy, policy, repeated=repeated).tier
    if tier.word != was:
        yield Change(state.id, at, action.formula, "tier", was, tier.word)
    yield from _hands(state, action, formula, policy, rules, tier, at)
    if state.started is not None:
        over = _over(starts, state.started, tier, action, policy)
        starts.append((state.started, {"tier": tier, "requester": action.requester, "formula": action.formula}))
        if over:
            yield Change(state.id, at, action.formula, "waits", "started", f"waits: {over}")


def _refusal(action: Action, formula: VaultFormula | None, policy: Policy) -> str | None:
    if formula is None:
        return f"there is no {action.formula}"
    found = check(action, formula, policy)
    return f"{found[0].key}: {found[0].message}" if found else None


def _repeated(ledger: Ledger, state: State, content: str, at: datetime, days: int) -> bool:
    base = state.id.partition("+")[0]
    return any(
        other.verified.get("content") == content and other.started and at - timedelta(days=days) < other.started < at
        for other in ledger.states.values()
        if other.id.partition("+")[0] != base
    )


def _hands(
    state: State, action: Action, formula: VaultFormula, policy: Policy, rules: Rules, tier: Tier, at: datetime
) -> Iterable[Change]:
    """Whether those who approved could have, and whether more would have been needed."""
    given = state.verified.get("approvers")
    approvers = frozenset(given if isinstance(given, list | tuple) else ())
    before = ", ".join(rules.names(approvers)) or "nobody"
    if tier is Tier.LOW:
        if approvers:
            yield Change(state.id, at, action.formula, "approver", before, "nobody has to")
        return
    listed = ", ".join(rules.approvers(tier))
    if len(approvers & policy.bench(tier)) < formula.admins:
        many = f"{formula.admins} of " if formula.admins > 1 else ""
        yield Change(state.id, at, action.formula, "approver", before, f"{many}{listed}")
    if tier in policy.signed:
        yield Change(state.id, at, action.formula, "signature", before, "an admin's signature too")


def _over(
    starts: list[tuple[datetime, Mapping[str, object]]], at: datetime, tier: Tier, action: Action, policy: Policy
) -> str:
    rule = policy.formulas[action.formula]
    limits: list[tuple[str, object, int]] = [
        ("tier", tier, policy.per_day[tier]), ("requester", action.requester, policy.per_requester),
    ]  # fmt: skip
    limits += [("formula", action.formula, rule.per_day)] if rule.per_day else []
    for key, value, limit in limits:
        if sum(1 for when, what in starts if when > at - _DAY and what[key] == value) >= limit:
            return f"{limit} starts a day for {value.word if isinstance(value, Tier) else value}"
    return ""


def cooling(policy: Policy | None) -> str:
    """When it would count by the policy in force, in words; empty: at once."""
    if policy is None or not policy.cooling_hours:
        return ""
    return f"It counts {policy.cooling_hours} hours after an admin approved it: `cooling_hours` of the policy in force."


def text(found: Simulated) -> str:
    """For a terminal: one line per change."""
    head = f"policy version {found.policy_version}, {found.judged} actions since {stamp(found.since)}"
    lines = [f"{head}: {len(found.changes) or 'none'} of them would have gone another way"]
    lines += [f"  {c.id}  {stamp(c.at)}  {c.kind}: {c.was} -> {c.would}" for c in found.changes]
    return "\n".join([*lines, *([f"not readable any more: {', '.join(found.unread)}"] if found.unread else [])])


def markdown(found: Simulated, head: str, days: int = DAYS) -> str:
    """As the comment on the policy's pull request; its first line names the head it is about."""
    lines = [f"{FIRST_LINE} in the last {days} days, at {head[:12]}:", ""]
    if not found.changes:
        lines.append(f"Nothing: the {found.judged} actions would have gone the same way.")
    else:
        lines += ["| Action | When | What | Was | Would be |", "|---|---|---|---|---|"]
        lines += [
            f"| `{c.id}` | {stamp(c.at)} | {c.kind} | {prose(c.was, 80)} | {prose(c.would, 120)} |"
            for c in found.changes[:50]
        ]
        more = len(found.changes) - 50
        lines += ["", f"And {more} more: `factory vault simulate --policy FILE`."] if more > 0 else []
    if found.unread:
        lines += ["", f"{len(found.unread)} could not be judged: their files are not there any more."]
    return "\n".join(lines) + "\n"
