"""Formulas of the vault as the trusted part reads them: what an action of one may be, and what it may touch.

Part of the trusted part. A formula's bytes count only if the policy in force names their digest (attack 64).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from factory.vault.action import KEY, SECRET, Action, Finding, Tier, Value
from factory.vault.canonical import MAX_INT, Refused, sha256, whole

MAX_FORMULA = 64 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
POLICY = "policy"
"""In place of a host or a secret: those that the policy names for this formula."""
_HOST = re.compile(r"(?:\*\.)?[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~/-]{0,200})?")
TYPES: Mapping[str, re.Pattern[str] | None] = {
    "text": None, "name": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), "commit": re.compile(r"[0-9a-f]{40}"),
    "path": re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))(?!.*//)[A-Za-z0-9._][A-Za-z0-9._ /-]{0,199}(?<![ /])"),
    "host": re.compile(r"[a-z0-9][a-z0-9.-]{0,250}[a-z0-9](?::[1-9][0-9]{0,4})?"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"), "enum": None, "int": None, "flag": None, "texts": None,
}  # fmt: skip


@dataclass(frozen=True)
class Host:
    """One thing that may be asked for: method, host (with port, if another than 443), beginning of the path."""

    method: str
    host: str
    path: str = "/"


@dataclass(frozen=True)
class Param:
    """A typed parameter; ``limit``: characters of a text, value of a number."""

    name: str
    type: str
    required: bool = True
    choices: tuple[str, ...] = ()
    limit: int = 500


@dataclass(frozen=True)
class VaultFormula:
    """A formula with ``[vault]``."""

    name: str
    version: int
    digest: str
    """SHA-256 of the file."""
    description: str
    effect_class: str
    """A convergent, B keyed, C probeable, D blind."""
    floor: Tier
    params: Mapping[str, Param]
    secrets: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    lane: tuple[str, ...] = ()
    """Parameters that say what is acted on; with the formula's name they are the action's target."""
    unique: bool = False
    """The same content runs once in the time that the policy remembers, whatever it is called."""
    admins: int = 1
    """How many different people must approve."""
    undo: str = "irreversible"
    effects: tuple[str, ...] = ()
    """Host effects in code, done in this order after the steps."""
    steps: tuple[tuple[str, ...], ...] = ()
    """Argument lists run in the sandbox, in this order."""
    minutes: int = 10

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def silent(self) -> bool:
        """Reads at most: GET and HEAD."""
        return all(host.method in ("GET", "HEAD") for host in self.hosts)

    def target(self, params: Mapping[str, Value]) -> str:
        """What an action with these parameters acts on."""
        return ":".join([self.name, *(str(params.get(key, "")) for key in self.lane)])

    def check(self, action: Action) -> list[Finding]:
        """Everything in the action that this formula does not take."""
        found = [Finding("unknown-param", f"params.{key}", f"{self.key} takes no such parameter",
                         f"it takes {', '.join(sorted(self.params)) or 'none'}")
                 for key in sorted(set(action.params) - set(self.params))]  # fmt: skip
        for key, param in self.params.items():
            if key not in action.params:
                if param.required:
                    found.append(Finding("missing-param", f"params.{key}", f"{self.key} needs it"))
            elif (why := _wrong(param, action.params[key])) is not None:
                found.append(Finding("bad-param", f"params.{key}", why))
        if not found and action.target != self.target(action.params):
            found.append(Finding("wrong-target", "target", f"must be {self.target(action.params)!r}"))
        if POLICY not in self.secrets:
            found += [Finding("secret-not-allowed", "secrets", f"{name} is not a secret of {self.key}")
                      for name in sorted(set(action.secrets) - set(self.secrets))]  # fmt: skip
        return found


def _wrong(param: Param, value: Value) -> str | None:
    """Why a value is not one of the parameter; a text that begins with a dash could be taken for an option."""
    kind = param.type
    if kind == "flag":
        return None if isinstance(value, bool) else "must be true or false"
    if kind == "int":
        return None if whole(value, 0, param.limit) else f"must be a whole number from 0 to {param.limit}"
    if kind == "texts":
        items = value if isinstance(value, tuple) else ()
        good = isinstance(value, tuple) and all(isinstance(i, str) and i and not i.startswith("-") for i in items)
        return None if good and len(items) <= param.limit else f"must be a list of at most {param.limit} texts"
    if not isinstance(value, str):
        return "must be text"
    if kind == "enum":
        return None if value in param.choices else f"must be one of {', '.join(param.choices)}"
    if value.startswith("-") or not value:
        return "must not be empty or begin with a dash"
    pattern = TYPES[kind]
    if len(value) > param.limit or (pattern is not None and not pattern.fullmatch(value)):
        return f"is no {kind} of at most {param.limit} characters"
    return None


def host(text: object) -> tuple[Host, ...]:
    """``GET,HEAD example.org/path`` as values. Raises Refused."""
    methods, _, place = str(text).partition(" ")
    if not isinstance(text, str) or not _HOST.fullmatch(place) or not set(methods.split(",")) <= set(METHODS):
        raise Refused("bad-formula", f"{str(text)[:80]!r} is not METHOD host/path")
    name, slash, path = place.partition("/")
    return tuple(Host(method, name, slash + path if slash else "/") for method in methods.split(","))


def read(data: bytes) -> VaultFormula:
    """The formula in these bytes, strictly. Raises Refused ``bad-formula``."""
    try:
        values = tomllib.loads(data[: MAX_FORMULA + 1].decode("utf-8"))
        if len(data) > MAX_FORMULA:
            raise ValueError("it is too large")
        vault: Mapping[str, Any] = values["vault"]
        if unknown := (set(values) - _KEYS) | (set(vault) - _VAULT):
            raise ValueError(f"unknown keys {', '.join(sorted(unknown))}")
        floor = Tier.of(vault.get("floor", "low"))
        secrets, lane = tuple(vault.get("secrets", ())), tuple(vault.get("lane", ()))
        formula = VaultFormula(
            name=values["name"], version=values["version"], digest=sha256(data), description=values["description"],
            effect_class=vault.get("class", "D"), floor=Tier.HIGH if floor is None else floor,
            params={name: _param(name, param) for name, param in vault.get("params", {}).items()},
            secrets=secrets, hosts=tuple(h for text in vault.get("hosts", ()) for h in host(text)), lane=lane,
            unique=vault.get("unique", False), admins=vault.get("admins", 1), undo=vault.get("undo", "irreversible"),
            effects=tuple(vault.get("effects", ())), minutes=values.get("limits", {}).get("minutes", 10),
            steps=tuple(tuple(step["argv"]) for step in values.get("steps", ())),
        )  # fmt: skip
        good = {
            "name": re.fullmatch(r"[a-z][a-z0-9-]{0,39}", formula.name), "version": whole(formula.version, 1, 999_999),
            "class": formula.effect_class in ("A", "B", "C", "D"), "floor": floor, "undo": type(formula.undo) is str,
            "secrets": all(isinstance(name, str) and (name == POLICY or SECRET.fullmatch(name)) for name in secrets),
            "lane": set(lane) <= set(formula.params), "unique": isinstance(formula.unique, bool),
            "admins": whole(formula.admins, 1, 5), "limits.minutes": whole(formula.minutes, 1, 24 * 60),
            "effects": all(isinstance(e, str) and KEY.fullmatch(e) for e in formula.effects),
            "steps": all(argv and all(isinstance(word, str) for word in argv) for argv in formula.steps),
        }  # fmt: skip
        if bad := [key for key, fine in good.items() if not fine]:
            raise ValueError(f"{', '.join(bad)} not valid")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("bad-formula", f"not a formula of the vault: {str(error)[:200]}") from None
    return formula


def _param(name: str, values: Mapping[str, Any]) -> Param:
    param = Param(name, values["type"], values.get("required", True), tuple(values.get("choices", ())),
                  values.get("max", {"int": MAX_INT, "texts": 32}.get(values["type"], 500)))  # fmt: skip
    known = set(values) <= {"type", "required", "choices", "max", "description"}
    if not known or not KEY.fullmatch(name) or param.type not in TYPES or not whole(param.limit, 1, MAX_INT):
        raise ValueError(f"params.{name} is not valid")
    return param


_KEYS = frozenset({"schema", "name", "version", "role", "description", "overrides", "vault", "limits", "steps"})
_VAULT = frozenset({"class", "floor", "params", "secrets", "hosts", "lane", "unique", "admins", "undo", "effects"})
