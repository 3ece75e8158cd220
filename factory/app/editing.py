"""A person's change of the ops repo: judged whole, then written directly or proposed as a pull request to approve."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from factory.app.choosing import founder_of, project_of, state_of
from factory.app.configuration import CHECK_NAMES, check_vault, ops_files
from factory.app.deployment import Deployment
from factory.app.explaining import newest
from factory.app.opsrepo import factory_signature, mirror, ops_write
from factory.app.projects import account
from factory.backends import BACKENDS
from factory.checks.secrets import guard
from factory.config.factory import PATH, load_factory, with_mode
from factory.config.host import host_path
from factory.config.model import Mode
from factory.errors import ConfigInvalid, Conflict, PolicyDenied, Problem
from factory.forge.client import ForgejoClient
from factory.forge.values import ItemState, RepoName
from factory.formula.check import check_deployment
from factory.formula.file import check_file
from factory.git import objects
from factory.ops.edit import CannotEdit, Edit, content_problems
from factory.ops.proposal import Proposal, propose, slug_of
from factory.ops.routes import Route, refuse_evidence, route
from factory.vault.policy import PATH as POLICY

MAIN = "refs/heads/main"


@dataclass(frozen=True)
class Opened:
    """A file of the ops repo as a person found it. ``text`` None: there is none yet."""

    project: RepoName
    ops: RepoName
    path: str
    route: Route
    text: bytes | None


def open_file(deployment: Deployment, path: str, *, project: str | None = None) -> Opened:
    """The file at the tip of the ops repo. Raises PolicyDenied (not a plain path, or one with a route of its own)."""
    repo, ops = project_of(deployment, project)
    way = route(path)
    if path.startswith("vault/actions/"):
        raise PolicyDenied(f"editing {path}: a vault action is requested, not edited", hint="factory vault request")
    refuse_evidence(path)
    copy = mirror(deployment, ops, refresh=True)
    return Opened(repo, ops, path, way, objects.read_file(copy, MAIN, path))


def judge(deployment: Deployment, opened: Opened, text: bytes) -> tuple[Problem, ...]:
    """What is wrong with the new content: in the file itself, or newly in the whole configuration because of it."""
    own = check_file(opened.path, text, checks=CHECK_NAMES) or content_problems(opened.path, text, guard)
    if opened.path == POLICY:
        bots = frozenset(state_of(deployment, opened.project).account_ids.values())
        own = (*own, *check_vault({**ops_files(deployment, opened.ops)[0], POLICY: text}, bots, opened.text))
    if own:
        return tuple(dict.fromkeys(own))
    files, _ = ops_files(deployment, opened.ops)
    path = host_path(deployment.home)
    host = (str(path), path.read_bytes())
    before = _whole(files, host)
    after = _whole({**files, opened.path: text}, host)
    return tuple(problem for problem in after if _same(problem) not in {_same(old) for old in before})


def _whole(files: Mapping[str, bytes], host: tuple[str, bytes]) -> tuple[Problem, ...]:
    return check_deployment(files, checks=CHECK_NAMES, backends=BACKENDS, host=host)


def _same(problem: Problem) -> tuple[str, str]:
    """A problem without its line, which any edit above it moves."""
    return problem.path, problem.message


def change_file(
    deployment: Deployment, opened: Opened, text: bytes, *, requested_by: str | None = None
) -> dict[str, Any]:
    """Write or propose the new content. ``route``: ``direct`` (it is in), ``person`` (to be approved) or ``none``.

    Raises ConfigInvalid with all problems at once, Conflict when somebody changed the file meanwhile, ForgeError.
    """
    facts = {"path": opened.path, "ops": str(opened.ops), "route": "none", "url": None, "commit": None, "number": None}
    if text == opened.text:
        return facts
    problems = judge(deployment, opened, text)
    if problems:
        raise ConfigInvalid(f"editing {opened.path}: it is not valid, so nothing was changed", problems)
    login = requested_by or founder_of(deployment, opened.project)
    if opened.route is Route.PERSON:
        return facts | share(deployment, opened.ops, [_edit(opened, text)], f"Edit {opened.path}", login)
    done = ops_write(deployment, opened.ops, [_edit(opened, text)], f"Edit {opened.path} for {login}")
    if done.problems:
        raise Conflict(f"editing {opened.path}: {done.problems[0].message}", hint=f"factory edit {opened.path}")
    url = f"{_forge(deployment)}/{opened.ops}/commit/{done.commit}" if done.commit else None
    return facts | {"route": "direct", "commit": done.commit, "url": url}


def _edit(opened: Opened, text: bytes) -> Edit:
    def apply(old: bytes | None) -> bytes | None:
        if old != opened.text:
            raise CannotEdit(Problem(opened.path, None, "somebody changed it meanwhile", "edit it again"))
        return text

    return Edit(opened.path, apply)


def share(
    deployment: Deployment,
    ops: RepoName,
    edits: list[Edit],
    title: str,
    requested_by: str,
    *,
    slug: str | None = None,
    body: str = "",
    replaces: bool = False,
) -> dict[str, Any]:
    """Propose edits of an ops repo: factory-bot pushes the branch and opens the pull request; a listed person approves.

    ``replaces``: older proposals of the same slug are closed, the newer wish stands. Raises Conflict, ForgeError.
    """
    name = slug_of(slug or title)
    made = propose(
        deployment.remote(account(deployment.state, ops, "factory"), ops),
        mirror(deployment, ops),
        edits,
        slug=name,
        title=title,
        author=factory_signature(),
        requested_by=requested_by,
        body=body,
    )
    forge = deployment.forge(account(deployment.state, ops, "factory"))
    if made is None:
        if replaces:
            _close_older(deployment, forge, ops, name, None)
        return {"route": "none"}
    if made.problems:
        raise Conflict(f"proposing {title!r}: {made.problems[0]}", hint="look at the file as it is now, and try again")
    pull = _opened_pull(forge, ops, made)
    if replaces:
        _close_older(deployment, forge, ops, name, pull["number"])
    return pull


def _opened_pull(forge: ForgejoClient, ops: RepoName, made: Proposal) -> dict[str, Any]:
    pull = forge.create_pull(ops, head=made.branch, base="main", title=made.title, body=made.body)
    return {"route": "person", "number": pull.number, "url": pull.url, "commit": made.commit, "branch": made.branch}


def _close_older(deployment: Deployment, forge: ForgejoClient, ops: RepoName, slug: str, kept: int | None) -> None:
    older = re.compile(rf"edit/{re.escape(slug)}(-\d+)?")
    ours = account(deployment.state, ops, "factory")
    for pull in forge.pulls(ops):
        mine = pull.author.login == ours and pull.state is ItemState.OPEN
        if mine and pull.number != kept and older.fullmatch(pull.head_ref):
            forge.edit_pull(ops, pull.number, state="closed")


def mode_facts(deployment: Deployment, *, project: str | None = None) -> dict[str, Any]:
    """The mode in the ops repo, and the one the last tick acted by (an approved change takes effect with the next)."""
    repo, ops = project_of(deployment, project)
    files, stale = ops_files(deployment, ops)
    seen = newest(deployment, repo)
    return {
        "project": str(repo),
        "mode": _mode_in(files),
        "in_force": seen.world.config.mode.value if seen is not None else None,
        "stale": stale,
    }


def _mode_in(files: Mapping[str, bytes]) -> str | None:
    return load_factory(files[PATH]).mode.value if PATH in files else None


def change_mode(deployment: Deployment, mode: Mode, *, project: str | None = None) -> dict[str, Any]:
    """Propose another mode. Raises ConfigInvalid when factory.toml is not valid as it is, or would not be."""
    title = f"Set the mode to {mode.value}"
    return change_config(deployment, lambda text: with_mode(text, mode), title, "mode", project=project)


def change_config(
    deployment: Deployment, change: Callable[[str], str], title: str, slug: str, *, project: str | None = None
) -> dict[str, Any]:
    """Propose a change of factory.toml made by code; an older open proposal of the same slug is replaced."""
    opened = open_file(deployment, PATH, project=project)
    if opened.text is None:
        raise ConfigInvalid(f"reading {PATH} of {opened.ops}: it is not there", hint="factory check")
    changed = change(opened.text.decode()).encode()
    problems = judge(deployment, opened, changed) if changed != opened.text else ()
    if problems:
        raise ConfigInvalid(f"changing {PATH}: it would not be valid, so nothing was changed", problems)
    login = founder_of(deployment, opened.project)

    def apply(old: bytes | None) -> bytes | None:
        # On what is there now, not on what we read: a change of another line meanwhile is kept.
        return None if old is None else change(old.decode()).encode()

    facts = share(deployment, opened.ops, [Edit(PATH, apply)], title, login, slug=slug, replaces=True)
    return {"project": str(opened.project), "ops": str(opened.ops), "path": PATH, "url": None, "number": None, **facts}


def _forge(deployment: Deployment) -> str:
    return deployment.host.forge_url.rstrip("/")
