"""The whole deployment checked at once: all files of an ops repo, the packaged ones below it, and this host's part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from factory.config.check import check_factory, check_host, check_roles
from factory.config.factory import PATH, load_factory
from factory.config.role import load_role, load_roles
from factory.config.shadow import lookup
from factory.errors import ConfigInvalid, Problem
from factory.formula.catalog import load_formulas
from factory.formula.load import load_formula


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
    roles = load_roles(ops)
    formulas = load_formulas(ops, roles=roles.known, checks=checks)
    problems = [*roles.problems, *formulas.problems]
    files = {file.name: (file.path, file.text) for file in lookup("agents", ops)[0]}
    owners = dict.fromkeys(formulas.broken, "") | {name: formula.role for name, formula in formulas.formulas.items()}
    problems += check_roles(roles.known, files, owners)
    text = ops.get(PATH)
    if text is None:
        problems.append(Problem(PATH, None, "is missing", "`factory init` writes one"))
    else:
        problems += _refused(lambda: load_factory(text))
        problems += check_factory(text, PATH, roles=roles.known, backends=backends)
    if host is not None and text is not None:
        problems += check_host(host[1], host[0], text)
    return tuple(sorted(dict.fromkeys(problems), key=lambda p: (p.path, p.line or 0)))


def check_file(path: str, text: bytes, *, checks: frozenset[str] | None = None) -> tuple[Problem, ...]:
    """The problems of one file of an ops repo by its path there; none for files of another kind.

    Fits ``ops.edit.Guard``: a change that would break the configuration is refused before it is proposed.
    """
    folder, _, file = path.rpartition("/")
    if path == PATH:
        return tuple(_refused(lambda: load_factory(text)))
    if not file.endswith(".toml"):
        return ()
    if folder == "agents":
        return tuple(_refused(lambda: load_role(text, path)))
    if folder == "formulas":
        known = load_roles({}).known
        return tuple(_refused(lambda: load_formula(text, path, roles=known, checks=checks)))
    return ()


def _refused(load: Callable[[], object]) -> list[Problem]:
    try:
        load()
    except ConfigInvalid as error:
        return list(error.problems)
    return []
