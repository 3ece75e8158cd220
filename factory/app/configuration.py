"""The files of a deployment that configure it, as this host sees them, and everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror
from factory.backends import BACKENDS
from factory.checks import CHECKS
from factory.config.factory import PATH
from factory.config.home import packaged
from factory.config.host import host_path
from factory.config.role import load_roles
from factory.config.source import read
from factory.errors import ForgeError, Problem, UsageError
from factory.forge.values import RepoName
from factory.formula.check import check_deployment
from factory.formula.file import KINDS, check_file, kind_of
from factory.git import objects
from factory.vault.people.checking import check_policy
from factory.vault.people.rules import read_rules
from factory.vault.policy import PATH as POLICY

FOLDERS = ("agents", "formulas")
CHECK_NAMES = frozenset(CHECKS)


@dataclass(frozen=True)
class Checked:
    """What was looked at, and what was found."""

    places: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    """What limits the answer, for people."""


def ops_files(deployment: Deployment, ops: RepoName) -> tuple[dict[str, bytes], str | None]:
    """The configuration at the tip of an ops repo's main, path -> content.

    The second value is why it is only as this host last saw it; None: it is fresh. Raises ForgeError when there is
    nothing to look at.
    """
    stale = None
    try:
        path = mirror(deployment, ops, refresh=True)
    except ForgeError as error:
        path = mirror(deployment, ops)
        stale = f"{ops} as this host last saw it ({error.message})"
    main = "refs/heads/main"
    found: dict[str, bytes] = {}
    for folder in FOLDERS:
        if objects.find_entry(path, main, folder) is not None:
            for entry in objects.list_tree(path, main, folder, recursive=True):
                found[entry.path] = objects.read_file(path, main, entry.path) or b""
    for name in (PATH, POLICY):
        text = objects.read_file(path, main, name)
        if text is not None:
            found[name] = text
    return found, stale


def tree_files(folder: Path) -> dict[str, bytes]:
    """The same of a working copy of an ops repo."""
    files = [folder / PATH, folder / POLICY, *(f for name in FOLDERS for f in sorted((folder / name).rglob("*")))]
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in files if f.is_file()}


def check_all(deployment: Deployment) -> Checked:
    """Every project that this host serves, and its own host.toml."""
    path = host_path(deployment.home)
    host = (str(path), path.read_bytes())
    places, notes, problems = [str(path)], [], list(check_file(*host))
    for _, ops in deployment.projects():
        files, stale = ops_files(deployment, ops)
        places.append(str(ops))
        notes += [stale] if stale else []
        found = (*check_deployment(files, checks=CHECK_NAMES, backends=BACKENDS, host=host), *check_vault(files))
        problems += [p if p.path == host[0] else replace(p, path=f"{ops}:{p.path}") for p in found]
    return Checked(tuple(places), tuple(dict.fromkeys(problems)), tuple(notes))


def check_vault(
    files: Mapping[str, bytes], bots: frozenset[int] = frozenset(), before: bytes | None = None
) -> tuple[Problem, ...]:
    """What is wrong with the vault's policy, if the ops repo has one. ``bots``: accounts that may not be listed;
    ``before``: the policy it is to follow."""
    policy = files.get(POLICY)
    if policy is None:
        return ()
    own = {path.rpartition("/")[2].removesuffix(".toml"): text for path, text in files.items()
           if path.startswith("formulas/")}  # fmt: skip
    return check_policy(POLICY, policy, read_rules(policy, {**packaged("formulas"), **own}), bots, before)


def check_paths(paths: Iterable[Path]) -> Checked:
    """Files, and folders that are working copies of an ops repo. Raises UsageError for what is neither."""
    places: list[str] = []
    problems: list[Problem] = []
    for path in paths:
        places.append(str(path))
        if path.is_dir() and path.absolute().name in FOLDERS and not (path / PATH).exists():
            problems += check_paths(sorted(path.glob("*.toml"))).problems
            continue
        if path.is_dir():
            files = tree_files(path)
            found = (*check_deployment(files, checks=CHECK_NAMES, backends=BACKENDS), *check_vault(files))
            problems += [replace(p, path=(path / p.path).as_posix()) for p in found]
            continue
        try:
            text = path.read_bytes()
        except OSError as error:
            raise UsageError(f"reading {path}: {error.strerror}") from error
        name = path.as_posix()
        if kind_of(name if path.is_absolute() else path.absolute().as_posix(), text) is None:
            known = ", ".join(f"{kind} ({what})" for kind, what in KINDS.items())
            none = Problem(name, 1, "is none of the factory's files", f"it reads TOML files: {known}")
            problems += read(text, name).problems if name.endswith(".toml") else ()
            problems += () if problems and problems[-1].path == name else (none,)
            continue
        beside = path.absolute().parent.parent
        known_roles = load_roles(_agents(beside) if (beside / PATH).is_file() else {}).known
        found = check_file(path.absolute().as_posix(), text, roles=known_roles, checks=CHECK_NAMES)
        problems += [replace(p, path=name) for p in found]
    return Checked(tuple(places), tuple(problems))


def _agents(ops: Path) -> Mapping[str, bytes]:
    return {path: text for path, text in tree_files(ops).items() if path.startswith("agents/")}
