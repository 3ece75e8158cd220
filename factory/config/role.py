"""``agents/<role>.toml``: what a role is, acts as and may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from factory.config.model import RoleDefinition
from factory.config.schedule import EXAMPLE, parse_schedule
from factory.config.shadow import lookup
from factory.config.shape import Findings, Shape, refused, shaped, texts
from factory.config.source import Document, read
from factory.config.words import Login, Name
from factory.errors import ConfigInvalid, Problem

GrantName = Literal["commits", "pull_request", "review", "refuse", "statuses", "labels", "issues", "comments", "vault"]
GRANT_NAMES: tuple[str, ...] = get_args(GrantName)
"""What a formula may be allowed to cause; the keys of a formula's ``[grants]``."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class RoleShape(Shape):
    """agents/<role>.toml: a role definition."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """version of this file's form: schema = 1"""
    name: Name
    """the role's name; the file is agents/<name>.toml"""
    description: Annotated[str, Field(min_length=1, max_length=600)]
    """what the role does, in a sentence"""
    account: Login
    """login of the forge account it acts with, unless factory.toml [accounts] says otherwise"""
    active: bool
    """false: known and shown, not yet acting"""
    formulas: list[Name] = Field(default_factory=list)
    """formulas it may run"""
    grants: list[GrantName] = Field(default_factory=list)
    """what a formula of this role may be granted"""
    schedule: str | None = None
    """when it looks, besides events: "every 10m" or a cron expression"""
    overrides: Digest | None = None
    """in an ops repo: SHA-256 of the packaged file that this one replaces"""


def load_role(text: bytes, path: str, origin: str = "packaged") -> RoleDefinition:
    """Read a role definition; raises ConfigInvalid with all problems."""
    document = read(text, path)
    shape, problems = shaped(document, RoleShape, _judged)
    if shape is None:
        raise refused(path, problems)
    return RoleDefinition(
        name=shape.name,
        description=shape.description,
        account=shape.account,
        active=shape.active,
        formulas=tuple(shape.formulas),
        grants=frozenset(shape.grants),
        schedule=shape.schedule,
        origin=origin,
    )


@dataclass(frozen=True)
class Roles:
    """All role definitions in force, and what is wrong with the files they come from."""

    known: Mapping[str, RoleDefinition]
    problems: tuple[Problem, ...] = ()


def load_roles(
    ops: Mapping[str, bytes],
    *,
    previous: Mapping[str, RoleDefinition] | None = None,
    shipped: Mapping[str, bytes] | None = None,
) -> Roles:
    """The packaged roles, shadowed by the ops repo's. ``ops``: path -> content at the commit that counts.

    A file that is not valid leaves the last good definition (``previous``) in force; without one the role is unknown,
    so that nothing runs for it.
    """
    files, problems = lookup("agents", ops, shipped)
    known: dict[str, RoleDefinition] = {}
    noted = list(problems)
    for file in files:
        noted += [file.note] if file.note else []
        try:
            known[file.name] = load_role(file.text, file.path, file.origin)
        except ConfigInvalid as error:
            noted += error.problems
            if previous is not None and file.name in previous:
                known[file.name] = previous[file.name]
    return Roles(known, tuple(noted))


def _judged(document: Document) -> list[Problem]:
    found = Findings(document)
    data = document.data or {}
    stem = document.path.rsplit("/", 1)[-1].removesuffix(".toml")
    name = data.get("name")
    if isinstance(name, str) and name != stem:
        found.add(("name",), f'name is "{name[:60]}" but the file is {stem}.toml', "give both the same name")
    for key in ("formulas", "grants"):
        names = texts(data, key)
        for index, word in names:
            if word in [other for _, other in names[:index]]:
                found.add((key, index), f'{key}[{index}] repeats "{word[:60]}"', "name it once")
    schedule = data.get("schedule")
    if isinstance(schedule, str):
        try:
            parse_schedule(schedule)
        except ValueError as error:
            found.add(("schedule",), f'schedule is "{schedule[:60]}": {error}', EXAMPLE)
    return found.problems
