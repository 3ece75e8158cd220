"""Which project a command is about, and the person it acts for, when the command line does not say."""

from __future__ import annotations

from factory.app import projects
from factory.app.deployment import Deployment
from factory.app.projects import ProjectState
from factory.errors import ConfigInvalid, UsageError
from factory.forge.values import RepoName


def project_of(deployment: Deployment, name: str | None = None) -> tuple[RepoName, RepoName]:
    """(project, ops repo): the only one, or the one named ``owner/name``, ``owner/name-ops`` or just ``name``.

    Raises UsageError when there are several and none is named, or the name is none of them.
    """
    served = deployment.projects()
    if name is None and len(served) == 1:
        return served[0]
    known = ", ".join(str(project) for project, _ in served)
    if name is None:
        raise UsageError(f"this host serves {len(served)} projects: {known}", hint=f"add --project {served[0][0]}")
    for project, ops in served:
        if name in (str(project), str(ops), project.name):
            return project, ops
    raise UsageError(f"this host does not serve {name!r}", hint=f"it serves: {known}")


def state_of(deployment: Deployment, project: RepoName) -> ProjectState:
    """What ``init`` noted of the project. Raises ConfigInvalid when it did not get as far."""
    known = projects.load(deployment.state, project)
    if known is None:
        raise ConfigInvalid(
            f"reading what is known of {project}: its set-up is not complete", hint="run the same `factory init` again"
        )
    return known


def founder_of(deployment: Deployment, project: RepoName) -> str:
    """The person who set the project up; commands at this machine act for them unless a token says otherwise."""
    return state_of(deployment, project).founder
