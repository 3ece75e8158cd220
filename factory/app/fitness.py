"""Whether a repo on the forge can get a factory at all. Each refusal says what it is and the ways on."""

from __future__ import annotations

import tomllib
from base64 import b64decode
from shlex import quote

from factory.app.sources import Source
from factory.config.factory import PATH as FACTORY
from factory.errors import Conflict, PolicyDenied, UsageError
from factory.forge import decode
from factory.forge.calls import at
from factory.forge.client import ForgejoClient
from factory.forge.values import Repo, RepoName


def refuse_unfit(
    forge: ForgejoClient, url: str, project: RepoName, repo: Repo | None, source: Source | None, asked: str
) -> None:
    """Raise for a repo that is pulled from elsewhere or archived (PolicyDenied), has no commit and gets none
    (UsageError), or holds something else than ``source`` (Conflict).

    ``url`` is the forge's address for people. ``source`` None: the repo itself is the source. ``asked`` is how the
    person named it.
    """
    if repo is None:
        return
    if repo.name != project:
        raise Conflict(
            f"setting up {project}: it is called {repo.name} on the forge",
            hint=f"factory init {url.rstrip('/')}/{repo.name}",
        )
    _refuse_settings(forge, repo)
    if repo.empty and source is None:
        raise UsageError(
            f"setting up {project}: it has no commit yet",
            hint=f"push one, or bring a folder's: factory init PATH --name {project}",
        )
    if source is not None and not repo.empty and not has_commit(forge, project, source.first):
        raise Conflict(
            f"setting up {project}: a repo of that name is there and holds another project: the first commit of "
            f"{source.url} ({source.first[:12]}) is not in it",
            hint=f"choose another name: factory init {quote(asked)} --name {project.owner}/{project.name}-2",
        )


def has_commit(forge: ForgejoClient, repo: RepoName, oid: str) -> bool:
    """Whether the forge's repo has this commit."""
    return forge.ask("GET", at(repo, "git", "commits", oid), doing=f"looking for {oid[:12]} in {repo}").status == 200


def _refuse_settings(forge: ForgejoClient, repo: Repo) -> None:
    if repo.mirror:
        data = decode.record(forge.get(at(repo.name), doing=f"reading {repo.name}"))
        origin = decode.text(data, "original_url") or "URL"
        raise PolicyDenied(
            f"setting up {repo.name}: this repo is pulled from elsewhere ({origin}), so the forge takes no push to it",
            hint="two ways on: make it the main copy (its settings, mirror settings: convert to a regular repository) "
            "and run the same again; or give the factory a copy of its own: "
            f"factory init {origin} --name {repo.name.owner}/{repo.name.name}-factory",
        )
    if repo.archived:
        raise PolicyDenied(
            f"setting up {repo.name}: it is archived, so nothing can be written to it",
            hint="take it out of the archive in its settings, then the same again",
        )


def ops_config(forge: ForgejoClient, project: RepoName, ops: RepoName) -> bytes | None:
    """The factory.toml of the project's ops repo; None while there is none.

    Raises Conflict when a repo of that name is something else, and as ``refuse_unfit``.
    """
    there = forge.find_repo(ops)
    if there is None:
        return None
    _refuse_settings(forge, there)
    if there.empty:
        return None
    doing = f"reading {FACTORY} of {ops}"
    reply = forge.ask("GET", at(ops, "contents", FACTORY), doing=doing)
    if reply.status not in (200, 404):
        raise forge.refusal(reply, doing)
    text = b64decode(decode.text(decode.record(reply.json()), "content")) if reply.status == 200 else None
    whose = "" if text is None else _project_of(text)
    if whose is not None and whose.lower() != str(project).lower():
        is_ = f"the ops repo of {whose}" if whose else f"no ops repo (it has no {FACTORY})"
        raise Conflict(
            f"setting up {project}: {ops}, the name of its ops repo, is taken by a repo that is {is_}",
            hint="rename that one, or give the project another name: --name NAME",
        )
    return text


def _project_of(text: bytes) -> str | None:
    """Whose factory.toml this is; None when it cannot be read, which is no reason to refuse: a re-run must mend."""
    try:
        found = tomllib.loads(text.decode()).get("project")
    except (ValueError, tomllib.TOMLDecodeError):
        return None
    return found if isinstance(found, str) else None
