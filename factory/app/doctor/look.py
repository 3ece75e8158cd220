"""All of doctor's looks, in order; what cannot be looked at is a finding, never an end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

from factory.app.configuration import check_all
from factory.app.deployment import Deployment
from factory.app.doctor import forge, host, machine, mirror, notify, project, secrets, vault
from factory.app.doctor.finding import Finding, State, note, ok, problem
from factory.config.host import host_path
from factory.errors import ConfigInvalid, FactoryError
from factory.forge.values import RepoName


def look(home: Path, now: datetime) -> Iterator[Finding]:
    """Findings as they come. Nothing is changed and nothing is started, but the attacker in the sandbox."""
    try:
        deployment = Deployment.open(home)
    except ConfigInvalid as error:
        yield from machine.look(home, "bubblewrap")
        if not host_path(home).exists():
            yield note("host", "deployment", f"there is no factory in {home} yet", "factory init PATH")
        for found in error.problems:
            yield problem("host", "host.toml", str(found))
        return
    with closing(deployment):
        yield from machine.look(home, deployment.host.sandbox)
        yield from _deployment(deployment, now)


def _deployment(deployment: Deployment, now: datetime) -> Iterator[Finding]:
    yield from _guarded("host", host.look(deployment, now))
    yield from notify.look(deployment)
    reachable = list(forge.answers(deployment))
    yield from reachable
    if not deployment.host.ops_repos:
        yield note("host", "projects", "this factory has no project yet", "factory init PATH")
        return
    if any(found.name == forge.REACHABLE and found.state is not State.OK for found in reachable):
        return
    runs = deployment.host.runs
    if runs in ("all", "daemon"):
        yield from _guarded("project", _configuration(deployment))
    yield from vault.processes(deployment)
    for name, ops in deployment.projects() if runs != "nothing" else ():
        if runs == "vault":
            yield from _vault(deployment, name, ops, now)
            continue
        try:
            config = project.config_of(deployment, ops)
        except FactoryError as error:
            yield problem("project", str(ops), error.message, error.hint)
            continue
        yield from _guarded("forge", forge.look(deployment, name, ops, config))
        yield from _guarded("project", project.look(deployment, name))
        if runs == "all":
            yield from _vault(deployment, name, ops, now)


def _vault(deployment: Deployment, name: RepoName, ops: RepoName, now: datetime) -> Iterator[Finding]:
    """What the home that has the vault can see of it."""
    yield from _guarded("vault", secrets.look(deployment, name))
    yield from _guarded("vault", vault.look(deployment, name, ops, now))
    yield from _guarded("vault", mirror.look(deployment, ops, now))


def _guarded(area: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    try:
        yield from findings
    except FactoryError as error:
        yield problem(area, "not looked at", error.message, error.hint)


def _configuration(deployment: Deployment) -> Iterator[Finding]:
    done = check_all(deployment)
    for found in done.problems:
        yield problem("project", "configuration", str(found).partition("\n")[0], found.hint or "factory check")
    if not done.problems:
        yield ok("project", "configuration", f"valid: {', '.join(done.places)}")
