"""Issues as a person files and reads them; what stands in their way is what the last tick decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.deployment import Deployment
from factory.app.explaining import Seen, explained, newest
from factory.app.people import as_person
from factory.app.projects import account
from factory.app.services import require_forge, running
from factory.errors import FactoryError, UsageError
from factory.forge.values import Issue, RepoName
from factory.plan.labels import ALL, START


def token_from(file: Path | None) -> str | None:
    """A person's token, read for this one command and kept nowhere. Raises UsageError."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"reading a token from {file}: {why}") from error
    if not token or "\n" in token:
        raise UsageError(f"reading a token from {file}: it must hold one line, the token")
    return token


def file_issue(
    deployment: Deployment,
    title: str,
    body: str,
    *,
    project: str | None = None,
    labels: Sequence[str] = (),
    depends_on: Sequence[int] = (),
    start: bool = False,
    token: str | None = None,
) -> dict[str, Any]:
    """File an issue as a person: the one whose ``token`` it is, else the founder (embedded forge only).

    The start label comes last, so that nothing starts before its dependencies are there. Raises ForgeError,
    PolicyDenied (a forge elsewhere without a token), UsageError (an empty title, a dependency that does not exist).
    """
    repo, _ = project_of(deployment, project)
    if not title.strip():
        raise UsageError("filing an issue: it needs a title", hint='factory issue file "What is wanted"')
    login = founder_of(deployment, repo)
    with as_person(deployment, login, token) as person:
        known = {label.name for label in person.labels(repo)}
        if unknown := sorted(set(labels) - known):
            raise UsageError(
                f"filing an issue in {repo}: there is no label {unknown[0]!r}",
                hint=f"labels there: {', '.join(sorted(known or ALL))}",
            )
        for number in depends_on:
            person.issue(repo, number)
        by = person.me().login
        made = person.create_issue(repo, title=title.strip(), body=body, labels=[x for x in labels if x != START])
        try:
            for number in depends_on:
                person.add_dependency(repo, made.number, (repo, number))
            if start or START in labels:
                person.add_labels(repo, made.number, [START])
            made = person.issue(repo, made.number)
        except FactoryError as error:
            error.hint = f"issue #{made.number} is filed but not complete: {made.url}"
            raise
    up = any(service.name == "daemon" and service.pid is not None for service in running(deployment))
    return {**_facts(made), "project": str(repo), "by": by, "depends_on": list(depends_on), "up": up}


def list_issues(deployment: Deployment, *, project: str | None = None, state: str = "open") -> dict[str, Any]:
    """The project's issues, oldest first, each with the first thing in its way where the last tick knew it."""
    repo, _ = project_of(deployment, project)
    require_forge(deployment)
    forge = deployment.forge(account(deployment.state, repo, "factory"))
    rows = []
    seen = newest(deployment, repo)
    for issue in forge.issues(repo, state=state):
        why = _why(deployment, repo, issue.number, seen)
        rows.append({**_facts(issue), "standing": why["state"] if why else None, "way": why["reason"] if why else None})
    return {"project": str(repo), "issues": rows}


def show_issue(deployment: Deployment, number: int, *, project: str | None = None) -> dict[str, Any]:
    """One issue with its dependencies, comments and the explanation of where it stands."""
    repo, _ = project_of(deployment, project)
    require_forge(deployment)
    forge = deployment.forge(account(deployment.state, repo, "factory"))
    issue = forge.issue(repo, number)
    return {
        **_facts(issue),
        "project": str(repo),
        "body": issue.body,
        "depends_on": [
            {"repo": str(d.repo), "number": d.number, "state": d.state.value, "title": d.title}
            for d in forge.dependencies(repo, number)
        ],
        "comments": [
            {"by": c.author.login, "at": c.created_at.isoformat(), "body": c.body}
            for c in forge.comments(repo, number)
        ],
        "explanation": _why(deployment, repo, number, newest(deployment, repo)),
    }  # fmt: skip


def _why(deployment: Deployment, repo: RepoName, number: int, seen: Seen | None) -> dict[str, Any] | None:
    """None where no tick has seen it yet."""
    if seen is None:
        return None
    try:
        return explained(deployment, "issue", number, project=str(repo), seen=seen)
    except UsageError:
        return None


def _facts(issue: Issue) -> dict[str, Any]:
    return {
        "number": issue.number,
        "title": issue.title,
        "url": issue.url,
        "state": issue.state.value,
        "labels": sorted(issue.labels),
        "author": issue.author.login,
        "created_at": issue.created_at.isoformat(),
    }
