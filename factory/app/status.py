"""What runs, waits and costs, read from what this host keeps: it answers without the forge and the daemon."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from factory.app import beats
from factory.app.deployment import Deployment
from factory.app.explaining import Seen, newest
from factory.app.places import mirror_path, vault_folder
from factory.app.runs import is_alive
from factory.app.services import KEEPER, VAULT, running
from factory.daemon import pauses
from factory.daemon.board import facts_of
from factory.errors import FactoryError, UsageError
from factory.forge.values import RepoName
from factory.git import objects
from factory.ops.dashboard_facts import DashboardFacts
from factory.plan.model import World
from factory.plan.vault import BRAKE
from factory.vault.watch import frozen

MERGED_SHOWN = 5


def status(deployment: Deployment) -> dict[str, Any]:
    """The facts of ``factory status``. Raises ConfigInvalid where there is no project yet."""
    host = deployment.host
    services = [{"name": service.name, "pid": service.pid} for service in running(deployment)]
    main = KEEPER if host.runs == "vault" else "daemon"
    up = any(service["name"] == main and service["pid"] is not None for service in services)
    beat = beats.read(deployment.state, KEEPER) if main == KEEPER else _beat(deployment)
    problems = beat.get("problems", {})
    # Of what the vault's own home knows nothing, nothing is said there.
    projects = [
        {**_project(deployment, project, ops), "problems": problems.get(str(project), [])}
        for project, ops in deployment.projects() if host.runs in ("all", "daemon")
    ]  # fmt: skip
    return {
        "home": str(host.home),
        "host": host.host,
        "sandbox": host.sandbox,
        "runs": host.runs,
        "up": up,
        "services": services,
        "daemon": {
            "started": beat.get("started") if up else None,
            "ticks": beat.get("ticks", 0),
            "last_tick": beat.get("last_tick"),
            "trouble": beat.get("trouble", "") if up else "",
        },
        "recent_ticks": beat.get("recent_ticks", []),
        "vault": [_watch(deployment, service) for service in services if service["name"] in VAULT],
        "ledger_mirrors": [found for _, ops in deployment.projects() if (found := _mirror(deployment, ops))],
        "notify": _channels(deployment),
        "addresses": {"forge": host.forge_url, "web": deployment.web_url},
        "projects": projects,
        "needs_you": sum(len(project["needs_you"]) for project in projects),
    }


def _mirror(deployment: Deployment, ops: RepoName) -> dict[str, Any] | None:
    from factory.app.vault_mirroring import last_look  # what it needs is not needed where none is set

    if deployment.host.ledger_mirror is None or not deployment.host.has_vault:
        return None
    return last_look(deployment, ops, datetime.now(UTC))


def _channels(deployment: Deployment) -> list[dict[str, Any]]:
    if not deployment.host.channels:
        return []
    from factory.app.notify_channels import listed  # what it needs is not needed where none is set

    return listed(deployment)


def _beat(deployment: Deployment) -> dict[str, Any]:
    """What the daemon wrote after its last tick; empty before there was one."""
    try:
        told = json.loads((deployment.state / "daemon.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _watch(deployment: Deployment, service: Mapping[str, Any]) -> dict[str, Any]:
    """What a process of the vault says of itself, and what its looks cost; apart from the daemon's ticks."""
    beat = beats.read(deployment.state, service["name"])
    up = service["pid"] is not None and beat.get("pid") == service["pid"]
    counted = ("polls", "asked", "requests", "git", "appended", "poll_seconds")
    kept: dict[str, Any] = {key: beat[key] for key in counted if key in beat}
    return {
        "service": service["name"],
        "up": up,
        "started": beat.get("started") if up else None,
        "at": beat.get("at"),
        "trouble": beat.get("trouble", "") if up else _frozen(deployment) if service["name"] == "dispatcher" else "",
    } | kept


def _frozen(deployment: Deployment) -> str:
    """What the dispatcher would say first: why the vault is frozen on this host alone."""
    told = [(ops, frozen.told(vault_folder(deployment.state, str(ops)))) for _, ops in deployment.projects()]
    return "; ".join(f"{ops}: {why}" for ops, why in told if why)


def _project(deployment: Deployment, project: RepoName, ops: RepoName) -> dict[str, Any]:
    forge = deployment.host.forge_url.rstrip("/")
    facts: dict[str, Any] = {
        "project": str(project),
        "ops": str(ops),
        "url": f"{forge}/{project}",
        "dashboard": f"{forge}/{ops}",
        "mode": None,
        "tick": None,
        "as_of": None,
        "same_plan": None,
        "trouble": None,
        "needs_you": [],
        "vault": [],
        "running": [],
        "waiting": [],
        "merged": [],
        "paused": [
            {"scope": p.scope, "by": p.by, "reason": p.reason} for p in pauses.local(deployment.state / "pauses")
        ],
        "spending": {},
        "agents": [],
    }
    try:
        seen = newest(deployment, project)
    except UsageError as error:
        return facts | {"trouble": error.message}
    if seen is None:
        return facts | {"trouble": "no tick has looked at it yet"}
    return facts | _seen(deployment, ops, seen)


def _seen(deployment: Deployment, ops: RepoName, seen: Seen) -> dict[str, Any]:
    world = seen.world
    tree = _prerequisites(deployment, ops)
    board = facts_of(world, seen.plan, deployment.host.forge_url, tree, None, ())
    paused = pauses.stricter(pauses.local(deployment.state / "pauses"), world.pauses)
    return {
        "mode": world.config.mode.value,
        "tick": seen.tick.number,
        "as_of": seen.tick.at.isoformat(),
        "same_plan": seen.same,
        "needs_you": [_plain(asdict(need)) for need in board.needs],
        "vault": list(_standing(world, f"{deployment.host.forge_url.rstrip('/')}/{ops}")),
        "running": _running(deployment, world, board),
        "waiting": [_plain(asdict(item)) for item in board.waiting],
        "merged": [_plain(asdict(item)) for item in board.merged[:MERGED_SHOWN]],
        "paused": [{"scope": p.scope, "by": p.by, "reason": p.reason} for p in paused],
        "spending": {
            budget.name: {"spent_usd": round(budget.spent_usd, 4), "limit_usd": budget.limit_usd}
            for budget in board.budgets
        },
        "agents": [
            {"name": agent.name, "model": agent.model, "roles": sorted(agent.roles), "trouble": agent.trouble}
            for _, agent in sorted(world.host.agents.items())
        ],
    }


def _standing(world: World, ops_url: str) -> Iterator[str]:
    """What holds up the whole vault, or will change what it goes by, as of the last tick."""
    if world.vault.frozen:
        yield f"frozen: {world.vault.frozen}; an admin lets it go on: factory vault unfreeze --reason ..."
    for one in world.vault.cooling:
        yield f"a change of the policy is {one.words}: {ops_url}/pulls/{one.pull}; {BRAKE}"


def _running(deployment: Deployment, world: World, board: DashboardFacts) -> list[dict[str, Any]]:
    records = {run.run: run for run in world.runs}
    rows = []
    for item in board.running:
        record = records[item.run]
        here = record.host == deployment.host.host
        rows.append(
            {**_plain(asdict(item)), "host": record.host, "alive": is_alive(deployment, record) if here else None}
        )
    return rows


def _prerequisites(deployment: Deployment, ops: RepoName) -> bytes | None:
    try:
        return objects.read_file(mirror_path(deployment.home, str(ops)), "refs/heads/main", "prerequisites.md")
    except FactoryError:
        return None  # the copy of the ops repo is a cache: it may be gone, and comes again with the next tick


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in item.items()}
