"""``[vault]`` of a formula: how risky its effect is, and what an action of it may be. Shape and cross checks.

The trusted part reads the same files with a reader of its own (``factory/vault/formulas.py``), which imports nothing
from here; a test holds that a file is valid for both or for none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from factory.config.shape import Findings, Shape, meant, table, tables, texts
from factory.formula.model import Vault, VaultParam

ROLE = "vault"
"""What vault formulas run for: no agent is hired for it."""
PARAM_TYPES = Literal["text", "name", "commit", "path", "host", "date", "enum", "int", "flag", "texts"]
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_PLACE = re.compile(
    r"(?:\*\.)?[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?(?::[1-9][0-9]{0,4})?(?:/[A-Za-z0-9._~/-]{0,200})?"
)
_TOP = frozenset({"schema", "name", "version", "role", "description", "overrides", "vault", "limits", "steps"})
_MOST = 2**53
MAX_BYTES = 64 * 1024
_KEY = r"^[a-z][a-z0-9_]{0,39}$"


def _asked(text: str) -> str:
    methods, _, place = text.partition(" ")
    if not set(methods.split(",")) <= _METHODS or not _PLACE.fullmatch(place):
        raise ValueError('it must be METHODS host/path, like "GET,HEAD api.example.org/v1/", or "POST policy"')
    return text


Asked = Annotated[str, AfterValidator(_asked)]
Key = Annotated[str, Field(pattern=_KEY)]


class ParamShape(Shape):
    """[vault.params.<name>]: one typed parameter of an action."""

    type: PARAM_TYPES
    """text, name, commit, path, host, date, enum, int, flag or texts (a list)"""
    required: bool = True
    """false: it may be left out"""
    choices: Annotated[list[Annotated[str, Field(min_length=1, max_length=100)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """values an enum may have"""
    max: Annotated[int, Field(ge=1, le=_MOST)] | None = None
    """characters of a text, value of a number, items of a list"""
    description: Annotated[str, Field(max_length=300)] = ""
    """what to write there"""


class VaultShape(Shape):
    """[vault]: a formula whose effect leaves the factory; only an approved action starts it."""

    class_: Annotated[Literal["A", "B", "C", "D"], Field(alias="class")] = "D"
    """A repeating changes nothing, B the other side knows our key, C one can look whether it was done, D neither"""
    floor: Literal["low", "medium", "high"] = "low"
    """least tier, whatever policy and request say"""
    secrets: list[Annotated[str, Field(pattern=r"^(?:policy|[A-Z][A-Z0-9_]{0,63})$")]] = Field(default_factory=list)
    """secrets an action may name; "policy": those that the policy gives this formula"""
    hosts: list[Asked] = Field(default_factory=list)
    """what it may ask for: "GET,HEAD host/path"; "POST policy": the policy's hosts, with these methods"""
    lane: list[str] = Field(default_factory=list)
    """parameters that name what is acted on: one action at a time on each"""
    unique: bool = False
    """true: the same content runs once in the time that the policy remembers"""
    admins: Annotated[int, Field(ge=1, le=5)] = 1
    """how many different people must approve"""
    undo: Annotated[str, Field(min_length=1, max_length=300)] = "irreversible"
    """how it is taken back, in words"""
    effects: list[Key] = Field(default_factory=list)
    """effects of the host, done in this order after the steps"""
    params: dict[Key, ParamShape] = Field(default_factory=dict)


def judge(found: Findings, data: Mapping[str, Any]) -> None:
    """What only several keys together say of a formula with ``[vault]``."""
    vault = data["vault"]
    for key in sorted(set(data) - _TOP):
        found.add((key,), f"{key} has no meaning in a formula of the vault", f"it has: {', '.join(sorted(_TOP))}")
    if data.get("role") != ROLE:
        found.add(("role",), "a formula of the vault belongs to the duty vault", f'write role = "{ROLE}"')
    for key, value in table(data, "limits").items():
        if key != "minutes":
            found.add(("limits", key), f"limits.{key} has no meaning in a formula of the vault", "it has: minutes")
        elif isinstance(value, float):
            found.add(("limits", key), "limits.minutes must be a whole number in a formula of the vault")
    if data.get("schema") == 1 and type(data["schema"]) is not int:
        found.add(("schema",), "schema must be the whole number 1")
    if isinstance(data.get("name"), str) and data["name"][:1].isdigit():
        found.add(("name",), "the name of a formula of the vault begins with a letter")
    if data.get("version") == 1_000_000:
        found.add(("version",), "version must be less than 1000000 in a formula of the vault")
    params = table(vault, "params")
    for name, param in params.items():
        if isinstance(param, dict) and (param.get("type") == "enum") != bool(param.get("choices")):
            message = f"vault.params.{name} must be an enum with choices, or neither"
            found.add(("vault", "params", name), message, 'write type = "enum" and choices = ["...", "..."]')
    for index, name in texts(vault, "lane"):
        if name not in params:
            found.add(("vault", "lane", index), f'vault.lane names "{name[:60]}", which is no parameter',
                      meant(name, params, "parameters"))  # fmt: skip
    for index, step in tables(data, "steps"):
        if step.get("kind") not in (None, "shell"):
            message = f"steps[{index}] is of kind {step['kind']}; a formula of the vault has only shell steps"
            found.add(("steps", index, "kind"), message, "what the host does is named in vault.effects")
        if "needs" in step:
            found.add(("steps", index, "needs"), "steps of a formula of the vault run in the order they stand in")
        for at, word in texts(step, "argv"):
            if "{{" in word or "{%" in word:
                message = f"steps[{index}].argv[{at}] holds a template; nothing is ever put into an argument list"
                found.add(("steps", index, "argv", at), message, "the step reads its parameters as JSON from fd 3")
    if not tables(data, "steps") and not texts(vault, "effects"):
        found.add(("vault",), "it does nothing: there are neither steps nor effects", "name at least one of them")


def value(shape: VaultShape) -> Vault:
    """The table as a value."""
    params = tuple(VaultParam(name, p.type, p.required, tuple(p.choices), p.description)
                   for name, p in shape.params.items())  # fmt: skip
    return Vault(shape.class_, shape.floor, params, tuple(shape.effects), shape.undo)
