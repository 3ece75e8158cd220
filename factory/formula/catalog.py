"""The formulas in force: the ops repo's first, else the packaged ones, whole files, each with its origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from factory.config.model import RoleDefinition
from factory.config.shadow import Found, lookup
from factory.config.shape import meant
from factory.errors import ConfigInvalid, Problem, UsageError
from factory.formula.load import load_formula
from factory.formula.model import Formula


@dataclass(frozen=True)
class Catalog:
    """All formulas in force, the files they come from, and what is wrong with these."""

    formulas: Mapping[str, Formula]
    files: Mapping[str, Found]
    problems: tuple[Problem, ...] = ()
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    """Names whose newest file is not valid; the last good version is in ``formulas``, if there was one."""

    def get(self, name: str) -> Formula:
        """The formula of that name. Raises UsageError naming the places looked at, ConfigInvalid when it is broken."""
        found = self.formulas.get(name)
        if found is not None:
            return found
        if name in self.broken:
            raise ConfigInvalid(f"reading formula {name}: its file is not valid", self.broken[name])
        tried = f"formulas/{name}.toml in the ops repo, then among the packaged ones"
        raise UsageError(f"no formula {name!r}; looked for {tried}", hint=meant(name, self.formulas, "formulas"))

    def text(self, name: str) -> bytes:
        """The bytes of the file of that name, as they are looked up (also of a broken one). Raises KeyError."""
        return self.files[name].text


def load_formulas(
    ops: Mapping[str, bytes],
    *,
    roles: Mapping[str, RoleDefinition] | None = None,
    checks: frozenset[str] | None = None,
    previous: Mapping[str, Formula] | None = None,
    shipped: Mapping[str, bytes] | None = None,
) -> Catalog:
    """All formulas. ``ops``: path -> content of the ops repo at the commit that counts.

    An invalid file leaves the last good version (``previous``) in force; without one there is no such formula: a
    broken override never lets the packaged file it replaces come back by itself.
    """
    files, problems = lookup("formulas", ops, shipped)
    formulas: dict[str, Formula] = {}
    broken: dict[str, tuple[Problem, ...]] = {}
    noted = list(problems)
    for file in files:
        noted += [file.note] if file.note else []
        try:
            formula = load_formula(file.text, file.path, origin=file.origin, roles=roles, checks=checks)
            if file.note is not None and formula.vault is not None:
                # Written against another version of the packaged file: what leaves the factory is not guessed at.
                raise ConfigInvalid(f"reading {file.path}: it does not fit the packaged file", (file.note,))
            formulas[file.name] = formula
        except ConfigInvalid as error:
            broken[file.name] = error.problems
            noted += [problem for problem in error.problems if problem != file.note]
            if previous is not None and file.name in previous:
                formulas[file.name] = previous[file.name]
    return Catalog(formulas, {file.name: file for file in files}, tuple(noted), broken)
