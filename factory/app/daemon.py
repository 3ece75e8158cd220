"""The daemon of one host: its tickers wired, then turning until it is told to stop."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from factory.app import projects
from factory.app.deployment import Deployment
from factory.app.opsrepo import factory_signature, mirror
from factory.app.places import control_socket, vault_home
from factory.app.services import VaultProcesses, ensure_forge, ensure_gateway, folder, running, stop
from factory.app.telling import Watching, courier_of, teller
from factory.app.vault_mirroring import Mirroring
from factory.app.webhooks import received
from factory.backends import found_on_host
from factory.config.home import write_private
from factory.config.host import host_path, load_host
from factory.config.surroundings import inherited
from factory.daemon.board import Board
from factory.daemon.executor import LocalExecutor
from factory.daemon.heartbeat import Heartbeat
from factory.daemon.loop import Beat, Loop
from factory.daemon.meter import Cost, Meter, Remembered
from factory.daemon.observe import Observer, Place
from factory.daemon.ports import HostGates, Launching, OpsWrites, QuarantinePushes, VaultRequests
from factory.daemon.records import OpsRecords
from factory.daemon.rules import Rules
from factory.daemon.tick import Ticker
from factory.daemon.wake import Wake
from factory.daemon.worlds import WorldStore
from factory.effects.markers import Markers
from factory.effects.perform import Performer
from factory.effects.ports import Ports
from factory.effects.spool import Spool
from factory.errors import ConfigInvalid, UsageError
from factory.forge.searches import Searches
from factory.forge.snapshot import Snapshot
from factory.forge.values import RepoName
from factory.gateway.control import GatewayControl
from factory.notify.courier import Courier
from factory.process import spawn
from factory.process.lock import try_hold
from factory.process.service import registered
from factory.session.folders import RunFolders
from factory.vault.watch.wake import Poke, poke
from factory.web.pages import build
from factory.web.serve import WebServer

REST_S = 3.0
"""So long a stop waits for a message that is under way."""


def run_daemon(
    deployment: Deployment, *, say: Callable[[str], None] | None = None, stop_all: bool = False
) -> None:
    """Turn until SIGTERM, SIGINT or SIGHUP; ``stop_all``: then stop the services, whatever ended it.

    Raises UsageError when another daemon of this home runs, whose services are left alone, or the web port is taken.
    """
    state = deployment.state
    lock = try_hold(state / "daemon.lock")
    if lock is None:
        raise UsageError(f"starting the factory in {deployment.home}: it runs already", hint="factory status")
    wake = Wake()
    known = nullcontext() if stop_all else registered("daemon", folder(state))
    with lock, known, wake.on_signals():
        try:
            loop = loop_of(deployment, wake, partial(_said, say or _to_log))
            with WebServer(_pages(deployment, loop, wake), host="127.0.0.1", port=deployment.host.web_port):
                loop.run()
        finally:
            if stop_all:
                stop(deployment)


def loop_of(deployment: Deployment, wake: Wake, said: Callable[[str], None]) -> Loop:
    """The loop of this host, with real adapters; it has not turned yet."""
    state = deployment.state
    executor = LocalExecutor(
        deployment.home, [sys.executable, "-m", "factory", "session", "exec"], inherited(deployment.home)
    )
    calls = Remembered(lambda: _model_calls(deployment))
    meter = Meter(lambda: Cost(sum(client.requests for client in deployment.clients()), spawn.started(), calls()))
    searches, courier = Searches(), courier_of(deployment, said)
    tickers = tuple(
        ticker(deployment, project, ops, executor, meter, said, searches, courier)
        for project, ops in deployment.projects()
    )
    host_file, vault = _HostFile(deployment, tickers, said), VaultProcesses(deployment, said)
    mirrors = Mirroring(deployment, said)
    return Loop(
        tickers=tickers,
        begin=searches.begin,
        wake=wake,
        filenos=executor.filenos,
        meter=meter,
        services=lambda: _services(deployment, said, host_file, vault, mirrors, courier),
        beat=lambda beat: _write_beat(state, beat, deployment),
        said=said,
        now=lambda: datetime.now(UTC),
        rest=lambda: _rest(courier, said),
        watch=Watching(deployment, courier),
    )


def _rest(courier: Courier, said: Callable[[str], None]) -> None:
    if not courier.settled(REST_S):
        said("a notification is still under way: it is sent again with the next start")


def _said(say: Callable[[str], None], line: str) -> None:
    # A log on a full disk, or a terminal that is gone, is no reason to stop; what it would have said is in `status` and
    # on the health page.
    with suppress(OSError):
        say(line)


def _to_log(line: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
    sys.stderr.flush()


class _HostFile:
    """host.toml while the daemon runs: ``hire`` changes it, and its agents, slots and sandbox are in force at once.

    One that is not valid leaves the last good one in force and is told once. Addresses and ports need a restart.
    """

    def __init__(self, deployment: Deployment, tickers: Iterable[Ticker], said: Callable[[str], None]) -> None:
        self._deployment, self._tickers, self._said = deployment, tuple(tickers), said
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        try:
            found = host_path(self._deployment.home).stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def refresh(self) -> None:
        """Read it again if it changed."""
        now = self._stamp()
        if now == self._seen:
            return
        self._seen = now
        try:
            fresh = load_host(self._deployment.home)
        except ConfigInvalid as error:
            for problem in error.problems or (error.message,):
                self._said(f"problem: {problem}; the last good host.toml stays in force")
            return
        self._deployment.host = replace(
            self._deployment.host, backends=fresh.backends, slots=fresh.slots, sandbox=fresh.sandbox,
            tool_mounts=fresh.tool_mounts, ledger_mirror=fresh.ledger_mirror, runs=fresh.runs,
            channels=fresh.channels,
        )  # fmt: skip
        for ticker in self._tickers:
            ticker.observer.host = self._deployment.host
            ticker.observer.trouble_of = _Troubles(self._deployment)
        self._said("host.toml changed: its agents are in force")


def _services(
    deployment: Deployment, said: Callable[[str], None], host_file: _HostFile, vault: VaultProcesses,
    mirrors: Mirroring, courier: Courier,
) -> None:  # fmt: skip
    """Have forge and gateway running: one that was killed is started again. Costs no request while both live."""
    host_file.refresh()
    alive = {service.name for service in running(deployment) if service.pid is not None}
    if "forge" not in alive and ensure_forge(deployment.host):
        said("the embedded forge was not running: started")
    if "gateway" not in alive and ensure_gateway(deployment.host):
        said("the gateway was not running: started")
    vault.keep(alive)
    mirrors.keep()
    courier.keep()


def _model_calls(deployment: Deployment) -> int:
    return GatewayControl(control_socket(deployment.state)).hurried().totals()["model_calls"]


def _write_beat(state: Path, beat: Beat, deployment: Deployment) -> None:
    told: Mapping[str, Any] = {"pid": os.getpid(), "web": deployment.web_url, **beat.as_dict()}
    write_private(state / "daemon.json", json.dumps(told, default=str).encode())


def ticker(
    deployment: Deployment,
    project: RepoName,
    ops: RepoName,
    executor: LocalExecutor,
    meter: Meter,
    said: Callable[[str], None],
    searches: Searches | None = None,
    courier: Courier | None = None,
) -> Ticker:
    """One project's ticker with real adapters; ``searches`` and ``courier`` are those of the loop that turns it with
    others."""
    known = projects.load(deployment.state, project)
    if known is None:
        raise ConfigInvalid(f"starting {project}: its set-up is not complete", hint="run the same `factory init` again")
    state = deployment.state
    name = f"{project.owner}.{project.name}"
    factory = known.account("factory")
    spool = Spool(state / "spool" / name)

    def path() -> Path:
        return mirror(deployment, ops)

    gates = HostGates(state / "pauses")
    observer = Observer(
        place=Place(project, ops, known.base_ref, known.seed, known.account_ids),
        host=deployment.host,
        snapshot=Snapshot(
            deployment.forge(factory), project, ops, state / "snapshots" / f"{name}.json", searches=searches
        ),
        sentinel=deployment.forge(known.account("sentinel")),
        executor=executor,
        mirror=path(),
        fetch_mirror=lambda: _refreshed(deployment, ops),
        trouble_of=_Troubles(deployment),
        locked=spool.locked,
        muted=spool.muted,
        web_url=deployment.web_url,
        rules=Rules(state / "authority" / f"{name}.json"),
    )
    performer = Performer(
        Ports(
            forge=deployment.forge,
            records=OpsRecords(
                path, deployment.remote(factory, ops), deployment.host.host, factory_signature,
                lambda: datetime.now(UTC),
            ),
            branches=QuarantinePushes(deployment.home, deployment.remote),
            launcher=Launching(executor),
            ops=OpsWrites(path, deployment.remote(factory, ops), factory_signature, deployment.host.host),
            gates=gates,
            now=lambda: datetime.now(UTC),
            requests=VaultRequests(path, lambda account: deployment.remote(account, ops), factory_signature),
            may_write=lambda repo, login: _may_write(deployment, known, repo, login),
        ),
        spool,
        Markers(deployment.secret("markers")),
    )  # fmt: skip
    for problem in performer.load():
        said(f"problem: {problem}")
    board = Board(
        mirror=path,
        remote=deployment.remote(factory, ops),
        author=factory_signature,
        host=deployment.host.host,
        forge_url=deployment.host.forge_url,
        idle=meter.invoice,
        health=lambda: (),
        said=said,
    )
    heartbeat = Heartbeat(path, deployment.remote(factory, ops), deployment.host.host, said)
    return Ticker(
        observer, performer, gates, WorldStore(state / "worlds" / name), board, heartbeat, said,
        wake_vault=partial(poke, vault_home(state), Poke.WHOLE),
        tell=teller(deployment, courier or courier_of(deployment, said), observer, said),
    )  # fmt: skip


def _may_write(deployment: Deployment, known: projects.ProjectState, repo: str, login: str) -> bool:
    """Whether this person has write there now, as the sentinel reads it at this moment."""
    sentinel = deployment.forge(known.account("sentinel"))
    return sentinel.permission(RepoName.parse(repo), login) in ("write", "admin", "owner")


def _refreshed(deployment: Deployment, ops: RepoName) -> None:
    mirror(deployment, ops, refresh=True)


class _Troubles:
    """Why an agent cannot be started on this host; asked once per daemon, because the answer costs processes."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self._known: dict[str, str | None] = {}

    def __call__(self, agent: str) -> str | None:
        if agent not in self._known:
            self._known[agent] = self._look(agent)
        return self._known[agent]

    def _look(self, agent: str) -> str | None:
        entry = self._deployment.host.backends.get(agent)
        if entry is None:
            return "this host has no backend entry for it"
        if entry.key_file is not None and not entry.replay and not entry.key_file.exists():
            return f"its key is missing: `factory hire {entry.kind} --name {agent} --key-file FILE`"
        found = found_on_host(entry.kind, entry.path)
        return None if found.installed else found.detail


def _pages(deployment: Deployment, loop: Loop, wake: Wake) -> Any:
    def log_of(run: str) -> Path | None:
        folders = RunFolders(deployment.home, run)
        known = any(record.run == run for record in loop.runs())
        return folders.log if known else None

    def on_hook(headers: Mapping[str, str], body: bytes) -> bool:
        if not received(deployment, headers, body):
            return False
        wake.now()
        if not any(ticker.merging for ticker in loop.tickers):
            poke(vault_home(deployment.state))
        return True

    return build(
        log_of=log_of,
        runs=lambda: [
            {"run": r.run, "formula": r.formula, "subject": str(r.subject), "state": r.state.value}
            for r in reversed(loop.runs())
        ],
        health=lambda: loop.last_beat.as_dict(),
        on_hook=on_hook,
        hosts=("127.0.0.1", "localhost"),
    )
