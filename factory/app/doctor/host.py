"""This host's part: who may read its files, its services, the gateway, the agents hired here."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from factory.app.agents import trouble_of
from factory.app.deployment import Deployment
from factory.app.doctor import apart
from factory.app.doctor.apart import name_of, owner
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.places import control_socket
from factory.app.services import KEEPER, running
from factory.errors import FactoryError
from factory.gateway.control import GatewayControl

AREA = "host"
_PRIVATE = ("tokens/*", "gateway/keys/*", "vault/*key", "vault/*.token", "notify/*")
SILENT = timedelta(minutes=5)
"""A daemon that lives ticks at least every poll; longer than this it hangs."""


def look(deployment: Deployment, now: datetime) -> Iterator[Finding]:
    """This host: who may read its state, what runs, whether each agent can start."""
    yield from _private(deployment)
    pids = {service.name: service.pid for service in running(deployment)}
    if deployment.host.runs == "all":
        yield separation({name: owner(pid) for name, pid in pids.items() if pid is not None}, me())
    else:
        yield from apart.look(deployment, me())
    up = any(pids.get(name) is not None for name in ("daemon", KEEPER))
    for name, pid in pids.items():
        if pid is not None:
            yield ok(AREA, name, f"runs (process {pid})")
        elif up:
            main = "keeper" if deployment.host.runs == "vault" else "daemon"
            yield problem(AREA, name, f"does not run, though the {main} does", "factory up --detach")
        else:
            yield note(AREA, name, "does not run", "factory up --detach")
    if pids.get("daemon") is not None:
        yield _beat(deployment, now)
    if pids.get("gateway") is not None:
        yield _gateway(deployment)
    for name, entry in sorted(deployment.host.backends.items()):
        trouble = trouble_of(deployment.host, name)
        what = f"{entry.kind}, {entry.model or 'no model named'}"
        yield problem(AREA, f"agent {name}", trouble) if trouble else ok(AREA, f"agent {name}", what)
        if entry.auth == "ambient":
            yield note(AREA, f"agent {name}", "holds a login of its own: it may not merge, and could use that login")
    if not deployment.host.backends and "daemon" in pids:
        yield note(AREA, "agents", "nobody is hired on this host", "factory hire claude-code")


def me() -> str:
    """Who runs this, by name where they have one."""
    return name_of(os.getuid())


def separation(users: Mapping[str, str], me: str) -> Finding:
    """What the walls between our own processes are worth: ``users`` by service that runs; the others run as ``me``."""
    daemon, dispatcher = (users.get(name) or me for name in ("daemon", "dispatcher"))
    if daemon != dispatcher:
        return ok(AREA, "separation", f"the dispatcher runs as {dispatcher}, the daemon as {daemon}")
    return note(
        AREA, "separation",
        f"daemon and dispatcher, and all else of the factory here, run as {daemon}: the separation guards against bugs "
        "and against sessions, not against a compromised daemon, nor against who is this user already",
    )  # fmt: skip


def _private(deployment: Deployment) -> Iterator[Finding]:
    """Keys and tokens are below ``state``: nobody else may even look into it."""
    open_to_others = [
        path
        for path in (deployment.state, *(file for kind in _PRIVATE for file in deployment.state.glob(kind)))
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        first = open_to_others[0]
        yield problem(AREA, "privacy", f"other users can get at {first}", f"chmod -R go-rwx {deployment.state}")
    else:
        yield ok(AREA, "privacy", f"{deployment.state} is readable by its owner only")


def _beat(deployment: Deployment, now: datetime) -> Finding:
    try:
        beat = json.loads((deployment.state / "daemon.json").read_bytes())
        last = datetime.fromisoformat(beat["last_tick"]) if beat.get("last_tick") else None
        trouble = str(beat.get("trouble", ""))
    except (OSError, ValueError, TypeError):
        return problem(AREA, "ticks", "what the daemon wrote of its last tick cannot be read", "factory up --detach")
    if trouble:
        return problem(AREA, "ticks", f"the last tick did not work: {trouble}", "factory status")
    if last is not None and now - last > SILENT:
        log = deployment.state / "services" / "daemon.log"
        return problem(AREA, "ticks", f"none since {last.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC", f"look at {log}")
    return ok(AREA, "ticks", f"{beat.get('ticks', 0)} since {beat.get('started', '?')}")


def _gateway(deployment: Deployment) -> Finding:
    try:
        health = GatewayControl(control_socket(deployment.state), patience_s=2.0).health()
    except FactoryError as error:
        return problem(AREA, "gateway answers", error.message, error.hint)
    missing = sorted(set(deployment.host.backends) - set(health.get("backends", ())))
    if missing:
        return problem(AREA, "gateway answers", f"it does not know {', '.join(missing)}", f"factory hire {missing[0]}")
    return ok(AREA, "gateway answers", f"it serves {', '.join(health['backends']) or 'nobody'}")
