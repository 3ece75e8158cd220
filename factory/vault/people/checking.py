"""Every problem of an action or policy file, an action's tier with the reasons, its digest. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from factory.config.shape import shaped
from factory.config.source import read as read_toml
from factory.errors import Problem
from factory.vault.action import Action, Finding
from factory.vault.action import check as check_bytes
from factory.vault.canonical import Refused, sha256
from factory.vault.people.rules import Rules
from factory.vault.people.shapes import PolicyShape
from factory.vault.policy import check as check_rules
from factory.vault.policy import read as read_policy
from factory.vault.policy import ruling


@dataclass(frozen=True)
class Checked:
    """``tier`` and ``reasons`` are empty where the file cannot be read, or the rules do not know its formula."""

    problems: tuple[Problem, ...]
    codes: tuple[str, ...]
    digest: str
    """SHA-256 of the bytes: what an approval is bound to."""
    tier: str = ""
    reasons: tuple[str, ...] = ()
    action: Action | None = None


def check_file(path: str, data: bytes, rules: Rules, repeated: frozenset[str] = frozenset()) -> Checked:
    """Judge a file as the dispatcher will, by the rules in force. ``repeated``: content done lately."""
    name = path.rpartition("/")[2]
    action, found = every(data, name)
    decided = None
    if action is not None:
        formula = rules.formula(action.formula)
        if rules.policy is None:
            found = [Finding("no-policy", "", rules.problems[0], "an admin adds it: `factory edit vault/policy.toml`")]
        elif formula is None:
            known = ", ".join(sorted(rules.policy.formulas)) or "none"
            found = [Finding("unknown-formula", "formula", f"there is no {action.formula}", f"the policy has {known}")]
        else:
            found = check_rules(action, formula, rules.policy)
            same = action.content in repeated
            decided = ruling(action, formula, rules.policy, rules.policy, repeated=same)
            if formula.unique and same:
                days = f"the same was done within {rules.policy.remember_days} days"
                found.append(Finding("duplicate", "", f"{days}, and {formula.key} does it once"))
    return Checked(
        tuple(problem(path, finding, data) for finding in found), tuple(finding.code for finding in found),
        sha256(data), decided.tier.word if decided else "", decided.reasons if decided else (), action,
    )  # fmt: skip


def every(data: bytes, name: str) -> tuple[Action | None, list[Finding]]:
    """The action, or everything that is wrong with the file. The trusted reader stops at the first line that is not in
    its form; here the others are looked at too."""
    action, found = check_bytes(data, name)
    lines, gone, bad = data.split(b"\n"), {""}, []
    rest = found
    for _ in range(len(lines)):
        form = next((finding for finding in rest if line_in_form(finding) is not None), None)
        number = line_in_form(form) if form is not None else None
        if form is None or number is None:
            break
        bad.append(form)
        gone.add(lines[number - 1].partition(b"=")[0].strip().decode("utf-8", "replace"))
        lines[number - 1] = b""
        _, rest = check_bytes(b"\n".join(lines), name)
    if not bad:
        return action, found
    # What only follows from a line that was left out is no problem of its own.
    old = [finding for finding in found if finding.code == "legacy"]
    return None, [*old, *bad, *(finding for finding in rest if finding.key not in gone)]


def line_in_form(finding: Finding) -> int | None:
    """The line that a finding about the file's form names."""
    words = finding.message.split()
    named = finding.code == "not-canonical" and words[:1] == ["line"] and words[1].isdecimal()
    return int(words[1]) if named else None


def problem(path: str, finding: Finding, data: bytes) -> Problem:
    """A finding as all problems of files are told."""
    words = f"{finding.key}: {finding.message}" if finding.key else finding.message
    return Problem(path, line_of(finding, data), words, finding.hint or None)


def line_of(finding: Finding, data: bytes) -> int | None:
    """The line it is about; None where it is about the whole file."""
    named = line_in_form(finding)
    if named is not None:
        return named
    section, _, key = finding.key.rpartition(".")
    inside = ""
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.startswith(b"["):
            inside = line.strip(b"[] \r").decode("utf-8", "replace")
        elif key and inside == section and line.partition(b"=")[0].strip() == key.encode():
            return number
    return None


def check_policy(
    path: str, data: bytes, rules: Rules, bots: frozenset[int] = frozenset(), before: bytes | None = None
) -> tuple[Problem, ...]:
    """Everything that is wrong with a policy file, by line. ``rules``: whose formulas it should name; ``before``: the
    version that it is to follow."""
    document = read_toml(data, path)
    problems = shaped(document, PolicyShape, lambda _: [])[1]
    try:
        policy = read_policy(data, bots)
    except Refused as refused:
        return tuple(problems) or (Problem(path, 1, refused.words, None),)
    old = _version(before) if before is not None and before != data else None
    if old is not None and policy.version <= old:
        words = f"version {policy.version} does not follow {old}: it would never come into force"
        problems.append(Problem(path, document.lines.of(("version",)), words, f"version = {old + 1}"))
    for key, rule in policy.formulas.items():
        name = key.partition("@")[0]
        there, line = rules.formulas.get(name), document.lines.of(("formulas", key))
        if there is None or there.key != key:
            known = f"there is {there.key}" if there is not None else "see `factory formula list`"
            problems.append(Problem(path, line, f"formulas.{key}: there is no such formula", known))
        elif there.digest != rule.digest:
            where = document.lines.of(("formulas", key, "digest"))
            hint = f'if you read the file and it is what you want: digest = "{there.digest}"'
            problems.append(Problem(path, where, f"formulas.{key}: the formula's file is another one", hint))
    return tuple(problems)


def _version(data: bytes) -> int | None:
    try:
        return read_policy(data).version
    except Refused:
        return None
