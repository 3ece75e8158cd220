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
    if param.type == "flag":
        return None if isinstance(value, bool) else "must be true or false"
    if param.type == "int":
        return None if whole(value, 0, param.limit) else f"must be a whole number from 0 to {param.limit}"
    if param.type == "texts":
        good = isinstance(value, tuple) and len(value) <= param.limit and all(_good(i, _ITEM, MAX_INT) for i in value)
        return None if good else f"must be a list of at most {param.limit} texts"
    if param.type == "enum":
        return None if value in param.choices else f"must be one of {', '.join(param.choices)}"
    if not _good(value, _ITEM, MAX_INT):
        return "must be text, not empty, not beginning with a dash"
    good = _good(value, TYPES[param.type] or _ANY, param.limit)
    return None if good else f"is no {param.type} of at most {param.limit} characters"


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
        if unknown := (set(values) - _KEYS) | (set(vault) - _VAULT) | (set(values.get("limits", {})) - {"minutes"}):
            raise ValueError(f"unknown keys {', '.join(sorted(unknown))}")
        floor, steps = Tier.of(vault.get("floor", "low")), values.get("steps", [])
        if not isinstance(steps, list) or not all(set(step) == _STEP and step["kind"] == "shell" for step in steps):
            raise ValueError("a step is id, kind = shell and argv")
        formula = VaultFormula(
            name=values["name"], version=values["version"], digest=sha256(data), description=values["description"],
            effect_class=vault.get("class", "D"), floor=Tier.HIGH if floor is None else floor,
            params={name: _param(name, param) for name, param in vault.get("params", {}).items()},
            secrets=_texts(vault.get("secrets", []), re.compile(f"{POLICY}|{SECRET.pattern}")),
            hosts=tuple(h for text in _texts(vault.get("hosts", [])) for h in host(text)),
            lane=_texts(vault.get("lane", [])), unique=vault.get("unique", False), admins=vault.get("admins", 1),
            undo=vault.get("undo", "irreversible"), effects=_texts(vault.get("effects", []), KEY),
            minutes=values.get("limits", {}).get("minutes", 10),
            steps=tuple(_texts(step["argv"], _WORD) for step in steps),
        )  # fmt: skip
        ids, names = [step["id"] for step in steps], re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?")
        good = {
            "schema": whole(values["schema"], 1, 1), "role": values["role"] == "vault",
            "name": _good(formula.name, names), "version": whole(formula.version, 1, 999_999),
            "description": _good(formula.description, _ANY, 600), "undo": _good(formula.undo, _ANY, 300),
            "overrides": _good(values.get("overrides", "0" * 64), re.compile(r"[0-9a-f]{64}")),
            "class": formula.effect_class in ("A", "B", "C", "D"), "floor": floor,
            "lane": set(formula.lane) <= set(formula.params), "unique": isinstance(formula.unique, bool),
            "admins": whole(formula.admins, 1, 5), "limits.minutes": whole(formula.minutes, 1, 24 * 60),
            "steps": len(set(ids)) == len(ids) <= 100 and all(map(len, formula.steps)),
            "steps.id": all(_good(step, re.compile(r"[a-z][a-z0-9_-]{0,39}")) for step in ids),
            "steps or effects": formula.steps or formula.effects,
        }  # fmt: skip
        if bad := [key for key, fine in good.items() if not fine]:
            raise ValueError(f"{', '.join(bad)} not valid")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Refused("bad-formula", f"not a formula of the vault: {str(error)[:200]}") from None
    return formula


def _param(name: str, values: Mapping[str, Any]) -> Param:
    param = Param(name, values["type"], values.get("required", True), _texts(values.get("choices", []), _CHOICE),
                  values.get("max", {"int": MAX_INT, "texts": 32}.get(values["type"], 500)))  # fmt: skip
    good = set(values) <= {"type", "required", "choices", "max", "description"} and KEY.fullmatch(name) is not None \
        and param.type in TYPES and whole(param.limit, 1, MAX_INT) and isinstance(param.required, bool) \
        and (param.type == "enum") == bool(param.choices) and len(param.choices) <= 64 \
        and _good(values.get("description", "-"), re.compile(r"(?s).{0,300}"))  # fmt: skip
    if not good:
        raise ValueError(f"params.{name} is not valid")
    return param


def _good(value: object, pattern: re.Pattern[str], limit: int = 1000) -> bool:
    return isinstance(value, str) and len(value) <= limit and pattern.fullmatch(value) is not None


def _texts(value: object, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(_good(item, pattern or _ANY, 100_000) for item in value):
        raise ValueError(f"{str(value)[:80]} is not a list of what may stand there")
    return tuple(value)


_KEYS = frozenset({"schema", "name", "version", "role", "description", "overrides", "vault", "limits", "steps"})
_VAULT = frozenset({"class", "floor", "params", "secrets", "hosts", "lane", "unique", "admins", "undo", "effects"})
_STEP = frozenset({"id", "kind", "argv"})
_ANY, _CHOICE, _ITEM = re.compile(r"(?s).+"), re.compile(r"(?s).{1,100}"), re.compile(r"(?s)[^-].*")
_WORD = re.compile(r"(?s)(?!.*\{[{%])[^\0]+")
"""Of an argument list: never a template, for nothing is ever put into one."""
