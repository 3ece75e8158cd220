"""The background processes of a deployment: embedded forge, gateway, sentinel, dispatcher, daemon; in a home
that is the vault's alone, its keeper instead of a daemon. Each is found again or started."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from factory.app.deployment import Deployment, is_free
from factory.app.places import beat_file, control_socket
from factory.backends import backend as backend_of
from factory.config.home import write_private
from factory.config.model import BackendHost, HostConfig
from factory.config.surroundings import inherited
from factory.errors import FactoryError, ForgeUnavailable, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.retry import Backoff
from factory.gateway.control import GatewayControl
from factory.process import service

START_S = 30.0
AGAIN_S = 30.0
"""Until a process of the vault that could not be started is tried again."""
KEEPER = "keeper"
SERVICES = ("daemon", KEEPER, "gateway", "dispatcher", "sentinel", "forge")
"""In the order in which they are stopped."""
VAULT = ("sentinel", "dispatcher")
"""Those of the vault."""
BY_HOME = {
    "all": ("daemon", "gateway", "dispatcher", "sentinel", "forge"),
    "daemon": ("daemon", "gateway", "forge"),
    "vault": (KEEPER, "dispatcher", "sentinel"),
    "nothing": (),
}
"""Which of them run, by what the home runs."""


@dataclass(frozen=True)
class Service:
    """One service and its process; ``pid`` None: it does not run."""

    name: str
    pid: int | None


def folder(state: Path) -> Path:
    """Where pid files, locks and logs of the services are."""
    return state / "services"


def running(deployment: Deployment) -> tuple[Service, ...]:
    """The services of this deployment, running or not."""
    names = [name for name in BY_HOME[deployment.host.runs] if name != "forge" or deployment.host.embedded]
    return tuple(Service(name, service.status(name, folder(deployment.state)).pid) for name in names)


def require_forge(deployment: Deployment) -> None:
    """Raise ForgeUnavailable, saying how to start it, when the embedded forge does not run. Costs no request."""
    host = deployment.host
    if host.embedded and service.status("forge", folder(host.state)).pid is None:
        raise ForgeUnavailable(
            f"reaching the forge at {host.forge_url}: the embedded forge does not run", hint="factory up --detach"
        )


def forge_home(state: Path) -> Path:
    """Where the embedded forge keeps its database and repos."""
    return state / "forge"


def ensure_forge(host: HostConfig) -> bool:
    """Have the embedded forge running; True when this call started it. Does nothing for a forge elsewhere."""
    if not host.embedded:
        return False
    place = folder(host.state)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    if service.status("forge", place).pid is None and not is_free(host.forge_port or 0):
        raise UsageError(
            f"starting the embedded forge on port {host.forge_port}: another program has that port",
            hint="stop that program, or choose another port: set `port` and `url` of [forge] in host.toml",
        )
    made = service.ensure(
        "forge",
        [
            sys.executable,
            "-m",
            "factory.devforge",
            "--home",
            str(forge_home(host.state)),
            "--port",
            str(host.forge_port),
        ],
        state_dir=place,
        env=inherited(host.home),
        ready=lambda: _answers(host.forge_url),
        timeout_s=START_S,
    )
    return made.started


def _answers(url: str) -> bool:
    try:
        # Not repeated in there: whoever waits asks again sooner than a client for a forge in trouble would.
        with ForgejoClient(url, timeout_s=2, reads=Backoff(total=0)) as client:
            client.version()
    except FactoryError:
        return False
    return True


def gateway_config(host: HostConfig) -> Path:
    """Write what the gateway is told: where each hired agent's model answers, and the file its key is in."""
    place = host.state / "gateway"
    told = {
        "home": str(place),
        "control_socket": str(control_socket(host.state)),
        "backends": [_told(name, entry) for name, entry in sorted(host.backends.items())],
    }
    path = place / "config.json"
    write_private(path, json.dumps(told, indent=2).encode())
    return path


def _told(name: str, entry: BackendHost) -> dict[str, object]:
    price = None
    if entry.price_input is not None and entry.price_output is not None:
        price = {"input_per_mtok": entry.price_input, "output_per_mtok": entry.price_output}
    return {
        "name": name,
        "api": backend_of(entry.kind).api,
        "url": None if entry.replay else entry.url,
        "key_file": str(entry.key_file) if entry.key_file and not entry.replay else None,
        "slots": entry.slots,
        "price": price,
        "replay": str(entry.replay) if entry.replay else None,
        # Each run is pinned to its model by its grant; factory.toml may name another one than this host was hired with.
        "models": None,
    }


def ensure_gateway(host: HostConfig) -> bool:
    """Have the gateway running with the current configuration; True when this call started it."""
    place = folder(host.state)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = gateway_config(host)
    control = GatewayControl(control_socket(host.state), patience_s=0.0)

    def ready() -> bool:
        try:
            control.health()
        except FactoryError:
            return False
        return True

    made = service.ensure(
        "gateway",
        [sys.executable, "-m", "factory.gateway", "--config", str(config)],
        state_dir=place,
        env=inherited(host.home),
        ready=ready,
        timeout_s=START_S,
    )
    return made.started


def reload_gateway(host: HostConfig) -> None:
    """Tell a running gateway about changed agents; one that does not run reads them when it starts."""
    gateway_config(host)
    if service.status("gateway", folder(host.state)).pid is not None:
        GatewayControl(control_socket(host.state)).reload()


def ensure_daemon(host: HostConfig) -> bool:
    """Have the daemon running in the background, in the vault's home its keeper; True when this call started it."""
    place = folder(host.state)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    name, beat = "daemon", host.state / "daemon.json"
    if host.runs == "vault":
        name, beat = KEEPER, beat_file(host.state, KEEPER)
    made = service.ensure(
        name,
        [sys.executable, "-m", "factory", "up", "--foreground"],
        state_dir=place,
        env=inherited(host.home),
        ready=lambda: _beats(beat, place, name),
        timeout_s=START_S,
    )
    return made.started


def ensure_watch(host: HostConfig, name: str) -> bool:
    """Have a process of the vault (one of ``VAULT``) running; True when this call started it."""
    place = folder(host.state)
    place.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = service.ensure(
        name,
        [sys.executable, "-m", f"factory.app.{name}", "--home", str(host.home)],
        state_dir=place,
        env=inherited(host.home),
        ready=lambda: _beats(beat_file(host.state, name), place, name),
        timeout_s=START_S,
    )
    return made.started


class VaultProcesses:
    """The vault's processes. Without them nothing risky starts, and all else goes on: one that cannot be started is
    told once and tried again a little later."""

    def __init__(self, deployment: Deployment, said: Callable[[str], None]) -> None:
        self._deployment, self._said = deployment, said
        self._troubles: dict[str, str] = {}
        self._again: dict[str, float] = {}

    def keep(self, alive: Iterable[str]) -> None:
        """Have them running, where they are this home's."""
        for name in VAULT if self._deployment.host.has_vault else ():
            if name in alive or time.monotonic() < self._again.get(name, 0.0):
                continue
            try:
                if ensure_watch(self._deployment.host, name):
                    self._said(f"the {name} was not running: started")
                self._troubles.pop(name, None)
            except FactoryError as error:
                self._again[name] = time.monotonic() + AGAIN_S
                if self._troubles.get(name) != error.message:
                    self._troubles[name] = error.message
                    self._said(f"problem: {error.message}")


def _beats(beat: Path, place: Path, name: str = "daemon") -> bool:
    """Whether the service that lives now has written its beat; an earlier one's, or nobody's, does not count."""
    try:
        pid = json.loads(beat.read_bytes()).get("pid")
    except (FileNotFoundError, ValueError):
        return False
    return isinstance(pid, int) and pid == service.status(name, place).pid


def stop_one(deployment: Deployment, name: str) -> bool:
    """Stop one service; False when it did not run."""
    return service.stop(name, folder(deployment.state))


def stop(deployment: Deployment) -> tuple[str, ...]:
    """Stop all that runs, the daemon first and the embedded forge last; names those that ran."""
    place = folder(deployment.state)
    return tuple(name for name in SERVICES if place.is_dir() and service.stop(name, place))
