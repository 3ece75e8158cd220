"""From a wish to the action file and the words of its pull request. The same wish gives the same bytes.

What an asker says is text; here it becomes what the formula takes, or a list of everything that is wrong with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from factory.vault.action import FOLDER, Action, Finding, Tier, Value
from factory.vault.action import check as check_bytes
from factory.vault.canonical import plain
from factory.vault.formulas import POLICY, Param, VaultFormula
from factory.vault.people.facts import Last, facts_of, markdown
from factory.vault.people.rules import FOLDER as FORMULAS
from factory.vault.people.rules import Rules
from factory.vault.policy import Policy, Ruling, check, ruling

MAIN, AUTO = "main", "auto"
BRANCH = "vault/"
REASON = "reason"
"""A parameter of this name that the formula does not take is the asker's words."""


@dataclass(frozen=True)
class Wish:
    """What is asked for, as texts."""

    formula: str
    """Name, or ``name@version``."""
    parameters: Mapping[str, str]
    requester: str
    """``role:<name>`` or ``person:<login>``."""
    key: str
    """What makes it this wish and no other: the same key on the same day gives the same action."""
    at: datetime
    reason: str = ""
    unblocks: tuple[str, ...] = ()
    blast_radius: Tier = Tier.LOW
    hours: int = 0
    """Until it expires; 0: as long as the policy allows."""
    runs: int = 1
    every_hours: int = 0
    run: str = ""
    """The factory's run that asks; empty for a person."""
    commits: Mapping[str, str] = field(default_factory=dict)
    """Names that may stand for a commit (``head``: what the run made): they are resolved now, once."""


@dataclass(frozen=True)
class Draft:
    """An action ready to be proposed: one added file on one branch, and its pull request."""

    action: Action
    ruling: Ruling
    base: str
    text: str
    title: str
    body: str
    message: str

    @property
    def branch(self) -> str:
        return branch_of(self.action.id)


@dataclass(frozen=True)
class Known:
    """What the ledger and the open requests say that a new request depends on."""

    repeated: frozenset[str] = frozenset()
    """``Action.content`` of what started within the policy's memory."""
    waiting: Mapping[str, int] = field(default_factory=dict)
    """Requester -> how many of its requests wait."""
    last: Callable[[str], Last | None] = lambda target: None
    """How a target was last acted on."""


class Unfit(Exception):
    """The wish cannot become an action; ``findings`` say everything that is wrong."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("; ".join(said(finding) for finding in findings))
        self.findings = findings


def said(finding: Finding) -> str:
    """A finding in one line."""
    where = f"{finding.key}: " if finding.key else ""
    return f"{where}{finding.message}" + (f" ({finding.hint})" if finding.hint else "")


def action_id(at: datetime, formula: str, key: str) -> str:
    """``2026-11-21-release-7f3a09c2``: made of the day, the formula and the wish, so that a retry makes the same."""
    digest = sha256(f"{formula}\n{key}".encode()).hexdigest()[:8]
    return f"{at.astimezone(UTC):%Y-%m-%d}-{formula[:40].rstrip('-')}-{digest}"


def branch_of(id: str) -> str:
    return BRANCH + id


def draft(wish: Wish, rules: Rules, known: Known | None = None) -> Draft:
    """The action of a wish under these rules. Raises Unfit with everything that is wrong."""
    known = known or Known()
    policy, formula = rules.policy, rules.formula(wish.formula)
    if policy is None:
        raise Unfit(
            (Finding("no-policy", "", rules.problems[0], "an admin adds it: `factory edit vault/policy.toml`"),)
        )
    if formula is None:
        there = ", ".join(f.key for f in rules.formulas.values() if f.key in policy.formulas) or "none"
        file = f"{FORMULAS}/{wish.formula[:40].partition('@')[0]}.toml"
        why = [problem for problem in rules.problems if problem.startswith(file)]
        words = why[0] if why else f"the vault has no {wish.formula[:60]}"
        raise Unfit((Finding("unknown-formula", "formula", words, f"it has {there}"),))
    parameters = dict(wish.parameters)
    reason = wish.reason or ("" if REASON in formula.params else parameters.pop(REASON, ""))
    params, found = typed(parameters, formula, wish.commits)
    action = _action(wish, formula, policy, params, reason)
    found += [] if found else _problems(action, formula, policy, known)
    if found:
        raise Unfit(tuple(dict.fromkeys(found)))
    decided = ruling(action, formula, policy, policy, repeated=action.content in known.repeated)
    facts = facts_of(action, formula, rules, decided, known.last(action.target))
    return Draft(
        action=action, ruling=decided, base=AUTO if decided.tier is Tier.LOW else MAIN, text=action.write().decode(),
        title=f"{formula.key} on {action.target} ({decided.tier.word})", body=markdown(facts),
        message=_message(action, wish.run),
    )  # fmt: skip


def _action(wish: Wish, formula: VaultFormula, policy: Policy, params: Mapping[str, Value], reason: str) -> Action:
    start = wish.at.astimezone(UTC).replace(microsecond=0)
    hours = min(wish.hours or policy.max_ttl_hours, policy.max_ttl_hours) + (wish.runs - 1) * wish.every_hours
    return Action(
        id=action_id(wish.at, formula.name, wish.key), formula=formula.key, blast_radius=wish.blast_radius,
        target=formula.target(params), not_before=start, expires=start + timedelta(hours=hours),
        reason=plain(reason.strip()), requester=wish.requester, secrets=secrets_of(formula, policy),
        unblocks=tuple(dict.fromkeys(wish.unblocks)), runs=wish.runs, every_hours=wish.every_hours, params=params,
    )  # fmt: skip


def secrets_of(formula: VaultFormula, policy: Policy) -> tuple[str, ...]:
    """What a run of it is given: the names that formula and policy both say."""
    rule = policy.formulas.get(formula.key)
    given = rule.secrets if rule is not None else ()
    return tuple(given if POLICY in formula.secrets else (name for name in formula.secrets if name in given))


def _problems(action: Action, formula: VaultFormula, policy: Policy, known: Known) -> list[Finding]:
    found = check(action, formula, policy) + check_bytes(action.write(), f"{action.id}.toml")[1]
    if formula.unique and action.content in known.repeated:
        days = policy.remember_days
        found.append(Finding("duplicate", "", f"the same was done within {days} days, and {formula.key} does it once"))
    if known.waiting.get(action.requester, 0) >= policy.pending:
        words = f"{policy.pending} requests of {action.requester} wait already"
        found.append(Finding("too-many-pending", "requester", words, "approve or reject one of them first"))
    return found


def typed(
    parameters: Mapping[str, str], formula: VaultFormula, commits: Mapping[str, str]
) -> tuple[dict[str, Value], list[Finding]]:
    """Texts as the values the formula takes, and what cannot be one. What it does not take stays a text: it is told
    by the check of the whole action."""
    values: dict[str, Value] = {}
    found: list[Finding] = []
    for key, text in sorted(parameters.items()):
        param = formula.params.get(key)
        if param is not None and param.type == "commit":
            text = commits.get(text) or text
        value = text if param is None else _value(param, text)
        if value is None and param is not None:
            found.append(
                Finding("bad-param", f"params.{key}", f"{text[:60]!r} is no {_WORDS[param.type]}", _form(param))
            )
        elif value is not None:
            values[key] = value
    if found:  # what is missing or unknown is said at the same time
        found += [Finding("unknown-param", f"params.{key}", f"{formula.key} takes no such parameter")
                  for key in sorted(set(parameters) - set(formula.params))]  # fmt: skip
        found += [Finding("missing-param", f"params.{key}", f"{formula.key} needs it")
                  for key, param in formula.params.items() if param.required and key not in parameters]  # fmt: skip
    return values, found


def _value(param: Param, text: str) -> Value | None:
    if param.type == "int":
        return int(text) if re.fullmatch(r"-?[0-9]{1,16}", text) else None
    if param.type == "flag":
        return {"true": True, "false": False}.get(text)
    if param.type != "texts":
        return text
    if not text.startswith("["):
        return tuple(item.strip() for item in text.split(",")) if text else ()
    try:
        items = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return tuple(items) if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


_WORDS = {"int": "whole number", "flag": "truth value", "texts": "list of texts"}


def _form(param: Param) -> str:
    return {"int": "like 3", "flag": "true or false", "texts": 'a,b or ["a, b", "c"]'}[param.type]


def _message(action: Action, run: str) -> str:
    trailers = [f"Requested-by: {action.requester}", *([f"Factory-Run: {run}"] if run else [])]
    return f"Request {action.formula} on {action.target}\n\n" + "\n".join(trailers) + "\n"


def path_of(id: str) -> str:
    """Where the action's file is, on its branch and after the merge."""
    return f"{FOLDER}{id}.toml"
