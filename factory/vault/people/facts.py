"""One screen of facts that code computed about an action, the asker's words last and marked. Pure.

The same facts are the pull request's body, ``factory vault show`` and what a notification says. Nothing an asker wrote
can act here: values stand in code spans, hidden characters are shown by their number, links lead nowhere.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from factory.ops.markdown import escaped, quoted
from factory.vault.action import REF, Action, Tier, Value
from factory.vault.canonical import stamp, trouble
from factory.vault.formulas import VaultFormula
from factory.vault.people.rules import Rules
from factory.vault.policy import Policy, Ruling, check, hosts

CLASSES = {
    "A": "repeating it gives the same state",
    "B": "whoever receives it drops a second one by its key",
    "C": "afterwards one can look whether it was done",
    "D": "it can neither be repeated nor looked at afterwards",
}


@dataclass(frozen=True)
class Last:
    """How a formula was last run on a target, as the ledger says."""

    id: str
    kind: str
    """DONE, FAILED, ABANDONED or where it stands."""
    at: datetime | None
    tier: str
    formula_digest: str
    policy_version: int
    action: Action | None = None
    """Its file, where it can still be read."""


@dataclass(frozen=True)
class Facts:
    """What a person is shown before they approve. Texts are whole sentences or names, not yet escaped."""

    id: str
    formula: str
    description: str
    tier: Tier
    reasons: tuple[str, ...]
    steps: tuple[str, ...]
    """Command lines run in the sandbox, then host effects."""
    params: tuple[tuple[str, str], ...]
    target: str
    hosts: tuple[str, ...]
    secrets: tuple[str, ...]
    effect: str
    """The class, in words."""
    undo: str
    last: str
    changes: tuple[str, ...]
    """What differs from that last time; empty with ``last``: nothing."""
    repeats: str
    not_before: datetime
    expires: datetime
    frees: tuple[str, ...]
    approvers: tuple[str, ...]
    need: int
    signed: bool
    requester: str
    words: str
    """The asker's, untrusted, as they are."""
    problems: tuple[str, ...] = ()


def facts_of(action: Action, formula: VaultFormula, rules: Rules, decided: Ruling, last: Last | None = None) -> Facts:
    """All that is known of an action under these rules. Raises ValueError where no policy is in force."""
    policy = rules.policy
    if policy is None:
        raise ValueError("there is no policy in force")
    tier = decided.tier
    steps = [shlex.join(argv) for argv in formula.steps] + [f"host effect {name}" for name in formula.effects]
    repeats = f"{action.runs} times, {action.every_hours} h apart" if action.runs > 1 else ""
    return Facts(
        id=action.id, formula=formula.key, description=formula.description, tier=tier, reasons=decided.reasons,
        steps=tuple(steps), params=tuple((key, shown(value)) for key, value in sorted(action.params.items())),
        target=action.target, hosts=_hosts(formula, policy), secrets=action.secrets,
        effect=CLASSES[formula.effect_class], undo=formula.undo,
        last=_last(last) if last else "", changes=_changes(action, formula, policy, last) if last else (),
        repeats=repeats, not_before=action.not_before, expires=action.expires, frees=action.unblocks,
        approvers=rules.approvers(tier), need=formula.admins if tier is not Tier.LOW else 0,
        signed=tier in policy.signed, requester=action.requester, words=action.reason,
        problems=tuple(f"{f.key}: {f.message}" if f.key else f.message for f in check(action, formula, policy)),
    )  # fmt: skip


def shown(value: Value) -> str:
    """A parameter as a person reads it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _hosts(formula: VaultFormula, policy: Policy) -> tuple[str, ...]:
    rule = policy.formulas.get(formula.key)
    inject = rule.inject if rule is not None else {}
    found: dict[tuple[str, str], list[str]] = {}
    for host in hosts(formula, policy):
        found.setdefault((host.host, host.path), []).append(host.method)
    lines = []
    for (name, path), methods in found.items():
        how = inject.get(name)
        secret = f", {how.secret} in its header {how.header}" if how is not None else ""
        lines.append(f"{', '.join(methods)} {name}{path if path != '/' else ''}{secret}")
    return tuple(lines)


def _last(last: Last) -> str:
    when = f" at {stamp(last.at)}" if last.at is not None else ""
    return f"{last.id}, {last.kind}{when}"


def _changes(action: Action, formula: VaultFormula, policy: Policy, last: Last) -> tuple[str, ...]:
    found = []
    if last.formula_digest != formula.digest:
        found.append(f"the formula's file is another one ({formula.digest[:12]}, was {last.formula_digest[:12]})")
    if last.policy_version != policy.version:
        found.append(f"the policy is version {policy.version}, was {last.policy_version}")
    old = last.action
    if old is None:
        return (*found, "its parameters then cannot be read any more")
    for key in sorted(set(action.params) | set(old.params)):
        new, was = action.params.get(key), old.params.get(key)
        if new != was:
            found.append(f"{key} is {_or_absent(new)}, was {_or_absent(was)}")
    if action.secrets != old.secrets:
        found.append(f"its secrets are {', '.join(action.secrets) or 'none'}, were {', '.join(old.secrets) or 'none'}")
    if action.requester != old.requester:
        found.append(f"{action.requester} asks, {old.requester} did")
    return tuple(found)


def _or_absent(value: Value | None) -> str:
    return "not given" if value is None else repr(shown(value))


def exposed(text: str) -> str:
    """The text with what a reader would not see shown by its number."""
    return "".join(f"[U+{ord(char):04X}]" if char != " " and trouble(char, 1) else char for char in text)


def headline(facts: Facts) -> str:
    """One line: for a notification, the dashboard, a list."""
    waits = f"waits for {approval(facts)}" if facts.tier is not Tier.LOW else "needs nobody"
    return f"{facts.formula} on {facts.target} ({facts.tier.word}) {waits}"


def approval(facts: Facts) -> str:
    """Whose approval it needs."""
    who = " or ".join(facts.approvers) or "nobody who is listed"
    many = f"{facts.need} of " if facts.need > 1 else ""
    return many + who + (" and a signature" if facts.signed else "")


def rows(facts: Facts) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(label, lines) in the order in which they are shown; the asker's words are not among them."""
    who = approval(facts) if facts.tier is not Tier.LOW else "nobody: low actions are merged and fired as they come"
    found: list[tuple[str, Iterable[str]]] = [
        ("Not valid", facts.problems),
        ("Runs", (f"{facts.formula}: {facts.description}", *facts.steps)),
        ("With", [f"{key} = {value}" for key, value in facts.params] or _NOTHING[:1]),
        ("On", (facts.target,)),
        ("Reaches", facts.hosts or _NOTHING[1:2]),
        ("Secrets", facts.secrets or _NOTHING[2:]),
        ("Tier", (f"{facts.tier.word}: {facts.reasons[0]}", *facts.reasons[1:])),
        ("Undo", (facts.undo, f"if it is cut off: {facts.effect}")),
        ("Last time", _since(facts)),
        ("Repeats", (facts.repeats,) if facts.repeats else ()),
        ("Expires", (stamp(facts.expires),)),
        ("Frees", facts.frees or ("nothing waits for it",)),
        ("Approves", (who,)),
        ("Asked by", (facts.requester,)),
    ]
    return tuple((label, tuple(lines)) for label, lines in found if tuple(lines))


def _since(facts: Facts) -> tuple[str, ...]:
    return (facts.last, *(facts.changes or ("nothing differs",))) if facts.last else ("never on this target",)


def text(facts: Facts) -> str:
    """The screen for a terminal."""
    lines = [f"{facts.id}"]
    for label, told in rows(facts):
        first, *rest = (exposed(line) for line in told)
        lines.append(f"  {label:10} {first}")
        lines += [f"  {'':10} {line}" for line in rest]
    lines += ["", "  what the asker says (nobody checked it):"]
    return "\n".join([*lines, f"    > {exposed(facts.words) or '(nothing)'}"])


_CODE = frozenset({"With", "On", "Reaches", "Secrets"})
"""Rows of exact values: shown as code. The rest is prose of the factory, the formula and the policy."""


def markdown(facts: Facts) -> str:
    """The screen as the body of the pull request: one line for each question, so that it stays one screen."""
    lines = ["Computed by the factory from the file, the formula and the policy in force:", ""]
    for label, told in rows(facts):
        cells = " · ".join(_cell(label, number, line) for number, line in enumerate(told))
        lines.append(f"- **{label}** {cells}")
    lines += ["", "---", "", f"*What {escaped(facts.requester)} says. Untrusted: nobody checked it.*", ""]
    return "\n".join([*lines, f"> {quoted(exposed(facts.words), 800) or '(nothing)'}", ""])


_NOTHING = ("no parameters", "no host", "none")


def _cell(label: str, number: int, line: str) -> str:
    """One line of a row, inert. What is to be freed is left as it is: a checked reference, which the forge links."""
    if label == "Frees" and REF.fullmatch(line):
        return line
    code = label in _CODE or (label == "Runs" and number) or (label == "Last time" and number)
    return quoted(exposed(line), 400) if code and line not in _NOTHING else prose(exposed(line), 400)


def prose(words: str, limit: int) -> str:
    """Words of the factory, the formula and the policy in Markdown: escaped, but ``release@1`` stays what it is."""
    return re.sub(r"(?<=[a-z0-9])＠(?=[0-9])", "@", escaped(words, limit))


def as_json(facts: Facts) -> dict[str, object]:
    """The facts as JSON data."""
    return {
        "id": facts.id, "formula": facts.formula, "tier": facts.tier.word, "reasons": list(facts.reasons),
        "steps": list(facts.steps), "params": dict(facts.params), "target": facts.target, "hosts": list(facts.hosts),
        "secrets": list(facts.secrets), "undo": facts.undo, "effect": facts.effect, "last": facts.last or None,
        "changes": list(facts.changes), "repeats": facts.repeats or None, "not_before": stamp(facts.not_before),
        "expires": stamp(facts.expires), "frees": list(facts.frees), "approvers": list(facts.approvers),
        "need": facts.need, "signed": facts.signed, "requester": facts.requester,
        "untrusted": exposed(facts.words), "problems": list(facts.problems),
    }  # fmt: skip
