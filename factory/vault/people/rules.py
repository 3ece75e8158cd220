"""What the vault goes by as people read it: the policy in force, the formulas it names, whose account id is whose.

The dispatcher reads these for itself (``factory.vault.authority``); what is read here only shows and warns.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from factory.config.home import packaged
from factory.git import objects
from factory.vault.action import Tier
from factory.vault.canonical import Refused, sha256
from factory.vault.formulas import VaultFormula
from factory.vault.formulas import read as read_formula
from factory.vault.policy import PATH, Policy
from factory.vault.policy import read as read_policy

FOLDER = "formulas"


@dataclass(frozen=True)
class Rules:
    """``policy`` None: nothing is in force, so everything is refused; ``problems`` say why."""

    policy: Policy | None
    formulas: Mapping[str, VaultFormula] = field(default_factory=dict)
    """By name, without the version."""
    logins: Mapping[int, str] = field(default_factory=dict)
    """Account id -> login, as the policy's comment table ``logins`` says; for people's eyes only."""
    problems: tuple[str, ...] = ()
    commit: str = ""
    """Commit of the ops repo they were read at."""

    def formula(self, key: str) -> VaultFormula | None:
        """The formula of a name, or of exactly that ``name@version``; None: there is none."""
        name, at, _ = key.partition("@")
        found = self.formulas.get(name)
        return found if found is not None and (not at or found.key == key) else None

    def names(self, ids: frozenset[int]) -> tuple[str, ...]:
        """Accounts as people know them, in order."""
        return tuple(sorted(self.logins.get(number, f"account {number}") for number in ids))

    def approvers(self, tier: Tier) -> tuple[str, ...]:
        """Who may approve an action of that tier; empty for low, which nobody has to."""
        return self.names(self.policy.bench(tier)) if self.policy is not None and tier is not Tier.LOW else ()


def rules_at(mirror: Path, commit: str, bots: frozenset[int] = frozenset()) -> Rules:
    """The rules in the ops repo's mirror at a commit: its policy and formulas, and the packaged formulas.

    Raises GitFailed."""
    own = {}
    if objects.find_entry(mirror, commit, FOLDER) is not None:
        for entry in objects.list_tree(mirror, commit, FOLDER):
            name = entry.path.rpartition("/")[2]
            if name.endswith(".toml"):
                own[name.removesuffix(".toml")] = objects.read_file(mirror, commit, entry.path) or b""
    shipped = packaged(FOLDER)
    foreign = sorted(name for name, data in own.items() if not replaces(data, shipped.get(name)))
    found = read_rules(
        objects.read_file(mirror, commit, PATH), {**shipped, **own}, bots, commit, without=frozenset(foreign)
    )  # fmt: skip
    said = tuple(f"{FOLDER}/{name}.toml was written to replace another version of the packaged one" for name in foreign
                 if b"[vault" in own[name])  # fmt: skip
    return replace(found, problems=(*found.problems, *said))


def replaces(own: bytes, shipped: bytes | None) -> bool:
    """Whether the ops repo's formula may stand in the place of the packaged one, as the dispatcher judges it."""
    return shipped in (None, own) or f'overrides = "{sha256(shipped or b"")}"'.encode() in own.split(b"\n")


def read_rules(
    policy: bytes | None, formulas: Mapping[str, bytes], bots: frozenset[int] = frozenset(), commit: str = "", *,
    without: frozenset[str] = frozenset(),
) -> Rules:  # fmt: skip
    """The rules in these bytes: a policy file (None: there is none) and formula files by name, but for ``without``."""
    problems: list[str] = []
    known: dict[str, VaultFormula] = {}
    for name, data in sorted(formulas.items()):
        if b"[vault" not in data or name in without:
            continue
        try:
            known[name] = read_formula(data)
        except Refused as refused:
            problems.append(f"{FOLDER}/{name}.toml: {refused.words}")
    if policy is None:
        return Rules(None, known, {}, (f"{PATH} is missing: the vault refuses everything", *problems), commit)
    try:
        return Rules(read_policy(policy, bots), known, _logins(policy), tuple(problems), commit)
    except Refused as refused:
        return Rules(None, known, {}, (f"{PATH}: {refused.words}", *problems), commit)


def _logins(policy: bytes) -> dict[int, str]:
    """The table that names the ids; what is not of its form is left out, since it decides nothing."""
    found: dict[int, str] = {}
    table = tomllib.loads(policy.decode("utf-8")).get("logins")
    for key, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, int) and not isinstance(value, bool):
            found[value] = key
        elif isinstance(value, str) and key.isdecimal():
            found[int(key)] = value
    return found
