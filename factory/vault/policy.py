"""The policy: who approves what, what a formula may use, how much of it a day, and how risky an action really is.

Part of the trusted part. The tier of an action is the highest that anybody with a say gives it (rule R6); every answer
says why. Which version of the file counts is ``authority.py``'s question.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.vault.action import FORMULA, SECRET, TIERS, Action, Finding, Tier
from factory.vault.canonical import ANY, MAX_INT, must, sha256, table, trouble
from factory.vault.formulas import ASKED, POLICY, Host, VaultFormula, host

PATH = "vault/policy.toml"
MAX_POLICY = 256 * 1024
SEEN = frozenset({"create_tag", "create_release", "upload_asset", "publish_site", "promote_file"})
"""Effects of the host that others see: never low."""
DIGEST = re.compile(r"[0-9a-f]{64}")
HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}")


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
    cooling_hours: int = 0
    """A change of the policy counts when its approval is so old."""

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
    for policy, who in ((now, "the policy"), (base, "the policy at the request's beginning")):
        rule = policy.formulas.get(formula.key) if policy is not None else None
        votes.append((rule.tier, f"{who} says {rule.tier.word}") if rule else (Tier.HIGH, f"{who} does not name it"))
    if formula.effect_class == "D":
        votes.append((Tier.HIGH, "it can neither be repeated nor looked at afterwards (class D)"))
    elif formula.effect_class != "A":
        votes.append((Tier.MEDIUM, f"repeating it is not harmless by itself (class {formula.effect_class})"))
    quiet = all(h.method in ("GET", "HEAD") for h in hosts(formula, now))
    for so, words in ((action.secrets, f"it uses the secret {(*action.secrets, '')[0]}"),
                      (not quiet, "it sends to other hosts"), (SEEN & {*formula.effects}, "others see what it does")):
        votes += [(Tier.MEDIUM, words)] if so else []
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
    found += [Finding("secret-not-allowed", "secrets", f"{name} is not for {formula.key}",
                      f"formula and policy both allow {', '.join(allowed) or 'none'}")
              for name in sorted(set(action.secrets) - set(allowed))]  # fmt: skip
    if action.runs > rule.max_runs:
        found.append(Finding("too-many-runs", "runs", f"the policy allows {rule.max_runs} of one approval"))
    hours = (action.expires - action.not_before).total_seconds() / 3600 - (action.runs - 1) * action.every_hours
    if hours > policy.max_ttl_hours:
        found.append(Finding("too-long", "expires", f"is more than {policy.max_ttl_hours} hours after its last start"))
    return found


def read(data: bytes, bots: frozenset[int] = frozenset()) -> Policy:
    """The policy in these bytes; ``bots`` may never be listed. Raises Refused ``bad-policy`` with what is wrong."""
    values = table(data, MAX_POLICY, _FORM, "bad-policy")
    admins, approvers = frozenset(values["admins"]), frozenset(values["approvers"])
    must(admins, "bad-policy", "nobody is listed as admin")
    must(not bots & (admins | approvers), "bad-policy", "an account of the factory is listed")
    per_day = {"low": 50, "medium": 50, "high": 20, **values.get("per_day", {})}
    return Policy(
        version=values.get("version", 1), digest=sha256(data), admins=admins, approvers=approvers,
        formulas={key: _rule(key, rule) for key, rule in values.get("formulas", {}).items()},
        per_day={tier: per_day[tier.word] for tier in Tier}, per_requester=values.get("per_requester_day", 20),
        pending=values.get("pending", 5), max_ttl_hours=values.get("max_ttl_hours", 72),
        signed=frozenset(tier for tier in Tier if tier.word in values.get("require_signature", ())),
        remember_days=values.get("remember_days", 30), cooling_hours=values.get("cooling_hours", 0))  # fmt: skip


def _rule(key: str, values: Mapping[str, Any]) -> FormulaRule:
    inject, secrets = {name: Inject(**how) for name, how in values.get("inject", {}).items()}, values.get("secrets", ())
    good = all(one.secret in secrets and trouble(one.prefix, 100) is None for one in inject.values())
    must(good, "bad-policy", f"formulas.{key}: inject not valid")
    return FormulaRule(
        digest=values["digest"], tier=Tier[values["tier"].upper()], secrets=tuple(secrets),
        hosts=tuple(h for text in values.get("hosts", ()) for h in host(text)), inject=inject,
        per_day=values.get("per_day", 0), max_runs=values.get("max_runs", 1), settings=values.get("settings", {}),
    )  # fmt: skip


_PER_DAY, _PEOPLE = range(10_001), [range(1, MAX_INT + 1)]
_FORM = {
    "v": range(1, 2), "version?": range(1, MAX_INT + 1), "admins": _PEOPLE, "approvers": _PEOPLE,
    "per_day?": {f"{tier.word}?": _PER_DAY for tier in Tier}, "per_requester_day?": _PER_DAY,
    "pending?": range(1, 1001), "max_ttl_hours?": range(1, 24 * 31 + 1), "require_signature?": [TIERS],
    "remember_days?": range(3651), "cooling_hours?": range(14 * 24 + 1), "logins?": object, "formulas?": (FORMULA, {
        "digest": DIGEST, "tier": TIERS, "secrets?": [SECRET], "hosts?": [ASKED], "per_day?": _PER_DAY,
        "max_runs?": range(1, 367), "settings?": dict,
        "inject?": (ANY, {"secret": SECRET, "header": HEADER, "prefix?": str}),
    })}  # fmt: skip
