"""Formulas of the vault as the trusted part reads them: what an action of one may be, and what it may touch.

Part of the trusted part. A formula's bytes count only if the policy in force names their digest (attack 64).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from factory.vault.action import KEY, SECRET, TIERS, Action, Finding, Tier, Value
from factory.vault.canonical import MAX_INT, fits, must, sha256, table, wrong

MAX_FORMULA = 64 * 1024
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
POLICY = "policy"
"""In place of a host or a secret: those that the policy names for this formula."""
_METHOD = "|".join(METHODS)
ASKED = re.compile(rf"(?:{_METHOD})(?:,(?:{_METHOD}))* (?:\*\.)?[a-z0-9]([a-z0-9.-]{{0,250}}[a-z0-9])?"
                   r"(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~/-]{0,200})?")  # fmt: skip
"""``METHODS host/path``: what a run may ask for, as it is written."""
TYPES: Mapping[str, re.Pattern[str] | None] = {
    "text": None, "name": re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), "commit": re.compile(r"[0-9a-f]{40}"),
    "path": re.compile(r"(?!.*(?:^|/)\.{1,2}(?:/|$))(?!.*//)[A-Za-z0-9._][A-Za-z0-9._ /-]{0,199}(?<![ /])"),
    "host": re.compile(r"[a-z0-9][a-z0-9.-]{0,250}[a-z0-9](?::[1-9][0-9]{0,4})?"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"), "enum": None, "int": None, "flag": None, "texts": None}  # fmt: skip


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
        """Everything in the action that this formula does not take; of secrets the policy says more."""
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
        return found


def _wrong(param: Param, value: Value) -> str | None:
    """Why a value is not one of the parameter; a text that begins with a dash could be taken for an option."""
    if param.type == "texts":
        good = isinstance(value, tuple) and len(value) <= param.limit and fits(list(value), [_ITEM])
        return None if good else f"must be a list of at most {param.limit} texts"
    if param.type in ("flag", "int", "enum"):
        forms = {"flag": bool, "int": range(param.limit + 1), "enum": frozenset(param.choices)}
        return next((why.removeprefix("it ") for why in wrong(value, forms[param.type])), None)
    if not isinstance(value, str) or not _ITEM.fullmatch(value):
        return "must be text, not empty, not beginning with a dash"
    good = len(value) <= param.limit and fits(value, TYPES[param.type] or _ITEM)
    return None if good else f"is no {param.type} of at most {param.limit} characters"


def host(text: str) -> tuple[Host, ...]:
    """``GET,HEAD example.org/path``, which is of the form ASKED, as values."""
    methods, _, place = text.partition(" ")
    name, slash, path = place.partition("/")
    return tuple(Host(method, name, slash + path if slash else "/") for method in methods.split(","))


def read(data: bytes) -> VaultFormula:
    """The formula in these bytes, strictly. Raises Refused ``bad-formula``."""
    values = table(data, MAX_FORMULA, _FORM, "bad-formula")
    vault, steps, params = values["vault"], values.get("steps", []), {}
    for name, p in vault.get("params", {}).items():
        limit = p.get("max", {"int": MAX_INT, "texts": 32}.get(p["type"], 500))
        params[name] = Param(name, p["type"], p.get("required", True), tuple(p.get("choices", ())), limit)
        good = (p["type"] == "enum") == bool(params[name].choices) and len(params[name].choices) <= 64
        must(good, "bad-formula", f"vault.params.{name}: up to 64 choices belong to an enum, and to nothing else")
    lane, effects, ids = vault.get("lane", []), vault.get("effects", []), {step["id"] for step in steps}
    must(set(lane) <= set(params), "bad-formula", "vault.lane names what is no parameter")
    good = len(ids) == len(steps) <= 100 and all(step["argv"] for step in steps)
    must(good, "bad-formula", "steps: up to 100 of different ids, each with words to run")
    must(steps or effects, "bad-formula", "it has neither steps nor effects")
    return VaultFormula(
        name=values["name"], version=values["version"], digest=sha256(data), description=values["description"],
        effect_class=vault.get("class", "D"), floor=Tier.of(vault.get("floor", "low")) or Tier.HIGH, params=params,
        secrets=tuple(vault.get("secrets", ())), hosts=tuple(h for text in vault.get("hosts", ()) for h in host(text)),
        lane=tuple(lane), unique=vault.get("unique", False), admins=vault.get("admins", 1), effects=tuple(effects),
        undo=vault.get("undo", "irreversible"), steps=tuple(tuple(step["argv"]) for step in steps),
        minutes=values.get("limits", {}).get("minutes", 10))  # fmt: skip


_ITEM = re.compile(r"(?s)[^-].*")
_PARAM = {"type": frozenset(TYPES), "required?": bool, "choices?": [re.compile(r"(?s).{1,100}")],
          "max?": range(1, MAX_INT + 1), "description?": re.compile(r"(?s).{0,300}")}  # fmt: skip
_STEP = {"id": re.compile(r"[a-z][a-z0-9_-]{0,39}"), "kind": frozenset({"shell"}),
         # Never a template, for nothing is ever put into an argument list.
         "argv": [re.compile(r"(?s)(?!.*\{[{%])[^\0]{1,100000}")]}  # fmt: skip
_FORM = {
    "schema": range(1, 2), "name": re.compile(r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?"), "version": range(1, 1_000_000),
    "role": frozenset({"vault"}), "description": re.compile(r"(?s).{1,600}"),
    "overrides?": re.compile(r"[0-9a-f]{64}"), "limits?": {"minutes?": range(1, 24 * 60 + 1)}, "steps?": [_STEP],
    "vault": {
        "class?": frozenset("ABCD"), "floor?": TIERS, "params?": (KEY, _PARAM),
        "secrets?": [re.compile(f"{POLICY}|{SECRET.pattern}")], "hosts?": [ASKED], "lane?": [str], "unique?": bool,
        "admins?": range(1, 6), "undo?": re.compile(r"(?s).{1,300}"), "effects?": [KEY],
    }}  # fmt: skip
