"""The policy: who approves what, what a formula may use, how much of it a day, and how risky an action really is.

Part of the trusted part. The tier of an action is the highest that anybody with a say gives it (rule R6); every answer
says why. Which version of the file counts is ``authority.py``'s question.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.vault.action import FORMULA, SECRET, Action, Finding, Tier
from factory.vault.canonical import MAX_INT, Refused, sha256, trouble, whole
from factory.vault.formulas import POLICY, Host, VaultFormula, host

PATH = "vault/policy.toml"
MAX_POLICY = 256 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


@dataclass(frozen=True)
class Inject:
    """How a secret reaches a host: the egress proxy sets this header, the run never sees the value."""

    secret: str
    header: str
    prefix: str = ""


@dataclass(frozen=True)
class FormulaRule:
    """What the policy says of one formula."""

    digest: str
    tier: Tier
    secrets: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    inject: Mapping[str, Inject] = field(default_factory=dict)
    """By host."""
    per_day: int = 0
    """Starts in a day; 0: no limit of its own."""
    max_runs: int = 1
    """Of one action: more than 1 lets one approval stand for a row of runs."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """For the formula's host effects: named places, an admin's own argument lists."""


@dataclass(frozen=True)
class Policy:
    """One version of ``vault/policy.toml``."""

    version: int
    digest: str
    admins: frozenset[int]
    approvers: frozenset[int]
    """Account ids; admins approve too."""
    formulas: Mapping[str, FormulaRule]
    per_day: Mapping[Tier, int]
    """Starts in 24 hours, by tier; a tier not named has none."""
    per_requester: int
    """Starts in 24 hours for one asker."""
    pending: int
    """Requests of one asker that may wait at once."""
    max_ttl_hours: int
    signed: frozenset[Tier]
    """Tiers that also need an admin's signature."""
    remember_days: int
    """The same content within so many days rises by a tier."""

    def bench(self, tier: Tier) -> frozenset[int]:
        """Whose approval counts for a tier."""
        return self.admins if tier is Tier.HIGH else self.admins | self.approvers


@dataclass(frozen=True)
class Ruling:
    """A tier and every reason that lifts it there."""

    tier: Tier
    reasons: tuple[str, ...]


def ruling(action: Action, formula: VaultFormula, now: Policy, base: Policy | None, *, repeated: bool) -> Ruling:
    """The effective tier (R6). ``base``: the policy in force where the request branched off; None counts as none that
    allows it. ``repeated``: the same content ran within the policy's memory. Never below any of its inputs."""
    votes = [(formula.floor, f"{formula.key} is at least {formula.floor.word}"),
             (action.blast_radius, f"the request says {action.blast_radius.word}")]  # fmt: skip
    for policy, words in ((now, "the policy"), (base, "the policy at the request's beginning")):
        rule = policy.formulas.get(formula.key) if policy is not None else None
        tier = Tier.HIGH if rule is None else rule.tier
        votes.append((tier, f"{words} {'does not name it' if rule is None else 'says ' + tier.word}"))
    if formula.effect_class == "D":
        votes.append((Tier.HIGH, "it can neither be repeated nor looked at afterwards (class D)"))
    elif formula.effect_class != "A":
        votes.append((Tier.MEDIUM, f"repeating it is not harmless by itself (class {formula.effect_class})"))
    if action.secrets:
        votes.append((Tier.MEDIUM, f"it uses the secret {action.secrets[0]}"))
    if not all(h.method in ("GET", "HEAD") for h in hosts(formula, now)):
        votes.append((Tier.MEDIUM, "it sends to other hosts"))
    tier = max(vote for vote, _ in votes)
    reasons = [words for vote, words in votes if vote is tier]
    if repeated and tier is not Tier.HIGH:
        tier, reasons = Tier(tier + 1), [f"the same was done within {now.remember_days} days", *reasons]
    return Ruling(tier, tuple(dict.fromkeys(reasons)))


def hosts(formula: VaultFormula, policy: Policy) -> tuple[Host, ...]:
    """What a run of it may ask for: its own hosts; where it says ``policy``, those of the policy, with its methods."""
    rule = policy.formulas.get(formula.key)
    named = rule.hosts if rule is not None else ()
    own = [h for h in formula.hosts if h.host != POLICY]
    methods = {h.method for h in formula.hosts if h.host == POLICY}
    return (*own, *(h for h in named if h.method in methods))


def check(action: Action, formula: VaultFormula, policy: Policy) -> list[Finding]:
    """Everything in the action that formula and policy do not allow; budgets are counted elsewhere."""
    found = formula.check(action)
    rule = policy.formulas.get(formula.key)
    if rule is None:
        return [Finding("unknown-formula", "formula", f"the policy does not name {formula.key}"), *found]
    if rule.digest != formula.digest:
        found.append(Finding("formula-digest", "formula", f"{formula.key} is not the file that the policy names"))
    allowed = rule.secrets if POLICY in formula.secrets else tuple(s for s in formula.secrets if s in rule.secrets)
    found += [Finding("secret-not-allowed", "secrets", f"the policy does not give {name} to {formula.key}",
                      f"it gives {', '.join(allowed) or 'none'}")
              for name in sorted(set(action.secrets) - set(allowed))]  # fmt: skip
    if action.runs > rule.max_runs:
        found.append(Finding("too-many-runs", "runs", f"the policy allows {rule.max_runs} of one approval"))
    hours = (action.expires - action.not_before).total_seconds() / 3600 - (action.runs - 1) * action.every_hours
    if hours > policy.max_ttl_hours:
        found.append(Finding("too-long", "expires", f"is more than {policy.max_ttl_hours} hours after its last start"))
    return found


def read(data: bytes, bots: frozenset[int] = frozenset()) -> Policy:
    """The policy in these bytes; ``bots`` may never be listed. Raises Refused ``bad-policy`` with all problems."""
    wrong: list[str] = []
    try:
        values = tomllib.loads(data[: MAX_POLICY + 1].decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused("bad-policy", f"not TOML: {str(error)[:200]}") from None

    def number(table: Mapping[str, Any], key: str, low: int, high: int, default: int) -> int:
        value = table.get(key, default)
        if not whole(value, low, high):
            wrong.append(f"{key} must be a whole number from {low} to {high}")
            return default
        return int(value)

    def people(key: str) -> frozenset[int]:
        ids = values.get(key)
        if not isinstance(ids, list) or not all(whole(item, 1, MAX_INT) for item in ids):
            wrong.append(f"{key} must be a list of account ids")
            return frozenset()
        if bots & set(ids):
            wrong.append(f"{key} lists an account of the factory")
        return frozenset(ids)

    faults = {
        "too large": len(data) > MAX_POLICY,
        f"unknown keys {unknown(values, _KEYS)}": unknown(values, _KEYS),
        "only v = 1 is known": not whole(values.get("v"), 1, 1),
        "nobody is listed as admin": not people("admins"),
    }
    wrong += [words for words, there in faults.items() if there]
    tables = {key: values.get(key, {}) for key in ("per_day", "formulas")}
    wrong += [f"{key} must be a table" for key, table in tables.items() if not isinstance(table, dict)]
    per_day, rules = (table if isinstance(table, dict) else {} for table in tables.values())
    wrong += [f"per_day.{key} is no tier" for key in per_day if Tier.of(key) is None]
    signed = values.get("require_signature", [])
    if not isinstance(signed, list) or not all(Tier.of(word) for word in signed):
        wrong, signed = [*wrong, "require_signature must be a list of tiers"], []
    formulas: dict[str, FormulaRule] = {}
    for key, rule in rules.items():
        try:
            formulas[key] = _rule(key, rule)
        except (Refused, ValueError, TypeError, KeyError, AttributeError) as error:
            wrong.append(f"formulas.{str(key)[:60]}: {str(error)[:120]}")
    policy = Policy(
        version=number(values, "version", 1, MAX_INT, 1), digest=sha256(data), admins=people("admins"),
        approvers=people("approvers"), formulas=formulas,
        per_day={t: number(per_day, t.word, 0, 10_000, {1: 50, 2: 50, 3: 20}[t]) for t in Tier},
        per_requester=number(values, "per_requester_day", 0, 10_000, 20), pending=number(values, "pending", 1, 1000, 5),
        max_ttl_hours=number(values, "max_ttl_hours", 1, 24 * 31, 72),
        signed=frozenset(tier for word in signed if (tier := Tier.of(word))),
        remember_days=number(values, "remember_days", 0, 3650, 30),
    )  # fmt: skip
    if wrong:
        raise Refused("bad-policy", "; ".join(dict.fromkeys(wrong)))
    return policy


def unknown(values: Mapping[str, Any], known: frozenset[str]) -> str:
    """The keys that nobody knows, in words."""
    return ", ".join(sorted(str(key)[:40] for key in set(values) - known))


def _rule(key: str, values: Mapping[str, Any]) -> FormulaRule:
    tier, digest, secrets = Tier.of(values["tier"]), values["digest"], values.get("secrets", [])
    inject = {name: Inject(**how) for name, how in values.get("inject", {}).items()}
    settings, named = values.get("settings", {}), values.get("hosts", [])
    rule = FormulaRule(
        digest=digest, tier=tier or Tier.HIGH, secrets=tuple(secrets), inject=inject, settings=settings,
        hosts=tuple(h for text in named for h in host(text)),
        per_day=values.get("per_day", 0), max_runs=values.get("max_runs", 1),
    )  # fmt: skip
    good = {
        "its name": FORMULA.fullmatch(key), "tier": tier, "digest": _DIGEST.fullmatch(digest),
        "secrets": isinstance(secrets, list) and all(SECRET.fullmatch(name) for name in secrets),
        "hosts": isinstance(named, list), "settings": isinstance(settings, dict),
        "inject": all(i.secret in rule.secrets and _HEADER.fullmatch(i.header) and trouble(i.prefix, 100) is None
                      for i in inject.values()),
        "per_day": whole(rule.per_day, 0, 10_000), "max_runs": whole(rule.max_runs, 1, 366),
        f"unknown keys {unknown(values, _RULE)}": not unknown(values, _RULE),
    }  # fmt: skip
    if bad := [name for name, fine in good.items() if not fine]:
        raise ValueError(f"{', '.join(bad)} not valid")
    return rule


_KEYS = frozenset({"v", "version", "admins", "approvers", "per_day", "per_requester_day", "pending", "max_ttl_hours",
                   "require_signature", "remember_days", "formulas", "logins"})  # fmt: skip
_RULE = frozenset({"digest", "tier", "secrets", "hosts", "inject", "per_day", "max_runs", "settings"})
