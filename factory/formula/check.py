"""The whole deployment checked at once: all files of an ops repo, the packaged ones below it, and this host's part."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from factory.config.check import check_factory, check_host, check_roles, filled_roles
from factory.config.factory import PATH
from factory.config.role import load_roles
from factory.config.shadow import lookup
from factory.errors import Problem
from factory.formula.catalog import load_formulas
from factory.formula.file import check_file


def check_deployment(
    ops: Mapping[str, bytes],
    *,
    checks: frozenset[str],
    backends: Collection[str] | None = None,
    host: tuple[str, bytes] | None = None,
) -> tuple[Problem, ...]:
    """Every problem of a deployment, by file and line. Empty: all is well.

    ``ops``: path -> content of the ops repo; ``host``: (path, content) of host.toml; ``backends``: the kinds there are.
    """
    # Under a broken role file the packaged one is taken for judging the rest: one mistake is told once.
    roles = load_roles(ops, previous=load_roles({}).known)
    formulas = load_formulas(ops, roles=roles.known, checks=checks)
    problems = [*roles.problems, *formulas.problems]
    files = {file.name: (file.path, file.text) for file in lookup("agents", ops)[0]}
    owners = dict.fromkeys(formulas.broken, "") | {name: formula.role for name, formula in formulas.formulas.items()}
    problems += check_roles(roles.known, files, owners)
    text = ops.get(PATH)
    if text is None:
        problems.append(Problem(PATH, None, "is missing", "`factory init` writes one"))
    else:
        problems += check_file(PATH, text)
        filled = filled_roles(host[1]) if host is not None else frozenset()
        problems += check_factory(text, PATH, roles=roles.known, backends=backends, filled=filled)
    if host is not None:
        problems += check_file(*host)
        problems += check_host(host[1], host[0], text) if text is not None else ()
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.path, p.line or 0)))
