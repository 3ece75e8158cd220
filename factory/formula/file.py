"""One file of a deployment, judged as what its name or its content says it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from factory.config.factory import PATH, load_factory
from factory.config.host import parse_host
from factory.config.model import RoleDefinition
from factory.config.role import load_role, load_roles
from factory.config.source import read
from factory.errors import ConfigInvalid, Problem
from factory.formula.load import load_formula

KINDS: Mapping[str, str] = {
    "factory": "what all hosts of a project share",
    "host": "one machine's part",
    "role": "agents/<role>.toml",
    "formula": "formulas/<name>.toml",
}


def kind_of(path: str, text: bytes) -> str | None:
    """Which of ``KINDS`` a file is: by its name and folder, else by what stands in it; None when it is none."""
    folder, _, name = path.rpartition("/")
    if not name.endswith(".toml"):
        return None
    named = {PATH: "factory", "host.toml": "host"}.get(name)
    inside = {"agents": "role", "formulas": "formula"}.get(folder.rpartition("/")[2])
    if named or inside:
        return named or inside
    keys = set(read(text, path).data or ())
    for kind, sign in (("formula", "steps"), ("role", "account"), ("host", "forge"), ("factory", "mode")):
        if sign in keys:
            return kind
    return None


def check_file(
    path: str,
    text: bytes,
    *,
    roles: Mapping[str, RoleDefinition] | None = None,
    checks: frozenset[str] | None = None,
) -> tuple[Problem, ...]:
    """Why the file could not be loaded; empty when it could, and for a file that is none of ours.

    ``roles``: those whose grants bind a formula; None: the packaged ones. Fits ``ops.edit.Guard``: with it, a change
    that would break the configuration is refused before it is proposed.
    """
    kind = kind_of(path, text)
    if kind is None:
        return ()
    load: dict[str, Callable[[], object]] = {
        "factory": lambda: load_factory(text, path),
        "host": lambda: parse_host(text, path, Path()),
        "role": lambda: load_role(text, path),
        "formula": lambda: load_formula(
            text, path, roles=load_roles({}).known if roles is None else roles, checks=checks
        ),
    }
    try:
        load[kind]()
    except ConfigInvalid as error:
        return error.problems
    return ()
