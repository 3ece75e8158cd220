"""Who works here: hired agents with backend, model, roles, state, cost and last run; roles with what they may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from factory.app.configuration import ops_files
from factory.app.deployment import Deployment
from factory.app.explaining import newest
from factory.app.runs import journal
from factory.backends import BACKENDS, found_on_host
from factory.config.factory import PATH, load_factory
from factory.config.model import AgentEntry, HostConfig, RoleDefinition
from factory.config.role import load_roles
from factory.daemon.observe import effective
from factory.errors import ConfigInvalid, ForgeError, UsageError
from factory.plan.model import AgentFacts
from factory.runs.model import RunRecord


def trouble_of(host: HostConfig, agent: str) -> str | None:
    """Why an agent cannot be started on this host; None: it can. May cost a process (asking a program its version)."""
    entry = host.backends.get(agent)
    if entry is None:
        return "this host has no backend entry for it"
    if entry.kind not in BACKENDS:
        return f"its backend {entry.kind!r} does not exist"
    if entry.key_file is not None and not entry.replay and not entry.key_file.exists():
        return f"its key is missing: `factory hire {agent} --key-file FILE`"
    if entry.replay is not None and not entry.replay.exists():
        return f"its recording is missing: `factory hire {agent} --replay FILE`"
    found = found_on_host(entry.kind, entry.path)
    return None if found.installed else found.detail


@dataclass
class _Known:
    """What the projects of this host say together."""

    agents: dict[str, AgentEntry] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)
    roles: dict[str, RoleDefinition] = field(default_factory=dict)
    resting: dict[str, AgentFacts] = field(default_factory=dict)
    runs: list[RunRecord] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def agents(deployment: Deployment) -> dict[str, Any]:
    """The facts of ``factory agents``, over all projects of this host. Raises ConfigInvalid without a project."""
    known = _known(deployment)
    return {
        "agents": [_agent(deployment.host, known, agent) for _, agent in sorted(known.agents.items())],
        "roles": [_role(known, role) for _, role in sorted(known.roles.items(), key=lambda r: (not r[1].active, r[0]))],
        "notes": known.notes,
    }


def _known(deployment: Deployment) -> _Known:
    known = _Known()
    for project, ops in deployment.projects():
        try:
            files, stale = ops_files(deployment, ops)
        except ForgeError as error:
            known.notes.append(f"{ops} cannot be read: {error.message}")
            files, stale = {}, None
        known.notes += [stale] if stale else []
        known.roles |= load_roles(files, previous=load_roles({}).known).known
        known.agents |= {agent.name: agent for agent in _entries(deployment.host, files, known)}
        try:
            read = journal(deployment, str(project))
            known.runs += read.runs
            seen = newest(deployment, project)
            known.resting |= dict(seen.world.host.agents) if seen is not None else {}
        except (ForgeError, UsageError) as error:
            known.notes.append(error.message)
    return known


def _entries(host: HostConfig, files: Mapping[str, bytes], known: _Known) -> tuple[AgentEntry, ...]:
    here = tuple(AgentEntry(n, e.kind, e.model, e.roles) for n, e in sorted(host.backends.items()))
    try:
        config = load_factory(files[PATH]) if PATH in files else None
    except ConfigInvalid as error:
        known.notes.append(f"{error.message}: see `factory check`")
        config = None
    if config is None:
        return here
    known.shared |= {agent.name for agent in config.agents}
    return effective(config, host).agents


def _agent(host: HostConfig, known: _Known, agent: AgentEntry) -> dict[str, Any]:
    mine = [run for run in known.runs if run.agent == agent.name]
    last = max(mine, key=lambda run: run.started_at, default=None)
    working = [run.run for run in mine if not run.state.is_terminal]
    entry = host.backends.get(agent.name)
    rest = known.resting.get(agent.name)
    trouble = trouble_of(host, agent.name)
    state = "cannot start" if trouble else "working" if working else "ready"
    if not trouble and rest is not None and rest.quota_until is not None:
        state, trouble = "resting", f"out of quota until {rest.quota_until:%Y-%m-%d %H:%M} UTC"
    return {
        "name": agent.name,
        "backend": agent.backend,
        "model": agent.model,
        "roles": sorted(agent.roles),
        "state": state,
        "trouble": trouble,
        "shared": agent.name in known.shared,
        "replay": entry is not None and entry.replay is not None,
        "holds_login": entry is not None and entry.auth == "ambient",
        "slots": entry.slots if entry is not None else 0,
        "running": working,
        "runs": len(mine),
        "cost_usd": round(sum(run.usage.cost_usd for run in mine), 4),
        "scripted": any(run.usage.scripted for run in mine),
        "last_run": {"run": last.run, "state": last.state.value, "at": last.started_at.isoformat()} if last else None,
    }


def _role(known: _Known, role: RoleDefinition) -> dict[str, Any]:
    return {
        "name": role.name,
        "active": role.active,
        "description": role.description,
        "account": role.account,
        "formulas": list(role.formulas),
        "schedule": role.schedule,
        "origin": role.origin,
        "agents": [agent.name for _, agent in sorted(known.agents.items()) if role.name in agent.roles],
    }
