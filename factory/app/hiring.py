"""Hiring an agent: its entry on this host, its key with the gateway, a smoke test, and the proposal that shares it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.app.choosing import founder_of
from factory.app.configuration import ops_files
from factory.app.deployment import Deployment
from factory.app.editing import share
from factory.app.places import control_socket
from factory.app.services import ensure_gateway, folder, reload_gateway
from factory.backends import BACKENDS, found_on_host
from factory.backends import backend as backend_of
from factory.config.factory import PATH, load_factory, with_agent
from factory.config.home import write_private
from factory.config.host import load_host, write_host
from factory.config.model import AgentEntry, BackendHost, HostConfig
from factory.errors import FactoryError, UsageError
from factory.gateway import smoke
from factory.gateway.control import GatewayControl
from factory.ops.edit import Edit
from factory.process import service

PRESETS: dict[str, tuple[str, str | None, str]] = {
    # what a person asks for: (backend kind, default URL, default model)
    "claude-code": ("claude-code", "https://api.anthropic.com", "claude-opus-4-8"),
    "anthropic": ("native", "https://api.anthropic.com", "claude-opus-4-8"),
    "openai": ("native-openai", "https://api.openai.com/v1", "gpt-5.5"),
    "llama": ("native-openai", None, "local"),
    "native": ("native", None, "scripted"),
    "native-openai": ("native-openai", None, "local"),
}
ROLES = ("dev", "reviewer")
"""Active roles; the others exist as definitions."""


@dataclass(frozen=True)
class Wish:
    """What a person asked ``hire`` for. ``backend`` may also be the name of an agent hired before: then it changes."""

    backend: str
    name: str | None = None
    roles: tuple[str, ...] = ()
    model: str | None = None
    url: str | None = None
    key_file: Path | None = None
    replay: Path | None = None
    slots: int | None = None
    price_input: float | None = None
    price_output: float | None = None


@dataclass(frozen=True)
class Hired:
    """An agent as it was hired, and what its smoke test said."""

    name: str
    kind: str
    model: str
    roles: tuple[str, ...]
    version: str | None
    seconds: float
    changed: bool = False
    """It had been hired before."""
    priced: bool = True
    """Whether its calls can be counted in money."""
    replay: bool = False


def hire(deployment: Deployment, wish: Wish) -> Hired:
    """Write the agent into host.toml; it is in force on this host at once. Raises UsageError, ConfigInvalid.

    What the wish leaves open stays as it was for an agent hired before, else is what ``factory.toml`` says of an agent
    of that name, else the backend's default. Where the gateway refuses the entry, nothing is changed.
    """
    began = time.monotonic()
    host = load_host(deployment.home)
    before = host.backends.get(wish.backend) if wish.name is None else None
    if wish.backend not in PRESETS and before is None:
        agents = f"; agents to change: {', '.join(sorted(host.backends))}" if host.backends else ""
        raise UsageError(
            f"hiring {wish.backend!r}: there is no such backend",
            hint=f"backends: {', '.join(sorted(PRESETS))}{agents}",
        )
    name = wish.backend if before is not None else wish.name or _free_name(wish.backend, host.backends)
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?", name):
        raise UsageError(f"hiring {name!r}: a name is lower-case letters, digits and dashes")
    kind, url, model = (before.kind, before.url, before.model) if before is not None else PRESETS[wish.backend]
    if before is None and name in host.backends and host.backends[name].kind == kind:
        before = host.backends[name]
    assert kind in BACKENDS
    found = found_on_host(kind, before.path if before is not None else None)
    if not found.installed:
        raise UsageError(f"hiring {wish.backend}: it is not installed here", hint=found.detail)
    known = before or _shared(deployment, name, kind) or BackendHost(kind, model)
    roles = wish.roles or tuple(known.roles) or _open_roles(name, host.backends)
    if unknown := sorted(set(roles) - set(ROLES)):
        raise UsageError(
            f"hiring {name} for {unknown[0]!r}: there is no such active role", hint=f"roles: {', '.join(ROLES)}"
        )
    replay = _keep_script(deployment, name, wish.replay) or (None if wish.url else known.replay)
    entry = BackendHost(
        kind=kind,
        model=wish.model or known.model or model,
        roles=frozenset(roles),
        url=wish.url or known.url or url,
        key_file=_keep_key(deployment, name, wish.key_file) or known.key_file,
        auth=known.auth,
        slots=wish.slots or known.slots,
        replay=replay,
        price_input=known.price_input if wish.price_input is None else wish.price_input,
        price_output=known.price_output if wish.price_output is None else wish.price_output,
        path=found.path,
    )
    if entry.replay is None and entry.url is None:
        raise UsageError(
            f"hiring {name}: where does its model answer?",
            hint=f"give --url (its address) or --replay (a recording): factory hire {wish.backend} --help",
        )
    _put(deployment, replace(host, backends={**host.backends, name: entry}), host)
    return Hired(
        name,
        kind,
        entry.model,
        tuple(sorted(roles)),
        found.version,
        time.monotonic() - began,
        changed=before is not None,
        priced=entry.price_input is not None and entry.price_output is not None,
        replay=entry.replay is not None,
    )


def _put(deployment: Deployment, host: HostConfig, before: HostConfig) -> None:
    """Write host.toml and tell the gateway; as it was before when the gateway refuses."""
    write_host(host)
    deployment.host = load_host(deployment.home)
    try:
        reload_gateway(deployment.host)
    except FactoryError:
        undo(deployment, before)
        raise


def undo(deployment: Deployment, before: HostConfig) -> None:
    """Put the agents back as they were in ``before``."""
    now = load_host(deployment.home)
    write_host(replace(now, backends=before.backends))
    deployment.host = load_host(deployment.home)
    reload_gateway(deployment.host)


def hired(deployment: Deployment, wish: Wish, *, test: bool = True, tell: bool = True) -> dict[str, Any]:
    """All of ``factory hire``: the entry, one question to the model, the pull request that shares it.

    ``test`` False keeps the agent unasked. Raises what ``hire`` raises; GatewayRefused when the model did not answer
    (the hire is then undone). A forge that does not answer leaves the agent hired here and is told as ``unshared``.
    """
    before = load_host(deployment.home)
    keys = _keys(deployment)
    done = hire(deployment, wish)
    asked = None
    if test and not done.replay:
        try:
            asked = _smoke(deployment, done)
        except FactoryError as error:
            undo(deployment, before)
            _put_keys(deployment, keys)
            error.hint = "nothing is changed; check --url, --model and --key-file, or hire it unasked with --no-test"
            raise
    shared: list[dict[str, Any]] = []
    unshared = None
    waits = done.changed and _shared(deployment, done.name, done.kind) is not None
    if tell:
        try:
            shared = _share(deployment, done)
        except FactoryError as error:
            unshared = error.message
    return {
        "name": done.name,
        "backend": done.kind,
        "model": done.model,
        "roles": list(done.roles),
        "version": done.version,
        "changed": done.changed,
        "priced": done.priced,
        "replay": done.replay,
        "smoke_test": (
            {
                "seconds": round(asked.seconds, 1),
                "input_tokens": asked.input_tokens,
                "output_tokens": asked.output_tokens,
                "cost_usd": asked.cost_usd,
            }
            if asked is not None
            else None
        ),
        "shared": shared,
        "unshared": unshared,
        # What factory.toml says of an agent holds until a person approved something else.
        "waits_for_approval": waits and any(told["number"] for told in shared),
    }  # fmt: skip


def _smoke(deployment: Deployment, done: Hired) -> smoke.Smoke:
    """Through a gateway that is started for it where none runs, and stopped again."""
    started = ensure_gateway(deployment.host)
    try:
        control = GatewayControl(control_socket(deployment.state))
        return smoke.ask(control, done.name, done.model, backend_of(done.kind).api)
    finally:
        if started:
            service.stop("gateway", folder(deployment.state))


def _share(deployment: Deployment, done: Hired) -> list[dict[str, Any]]:
    """A pull request per ops repo that does not name the agent so yet."""
    if not deployment.host.ops_repos:
        return []
    agent = AgentEntry(done.name, done.kind, done.model, frozenset(done.roles))

    def apply(old: bytes | None) -> bytes | None:
        return None if old is None else with_agent(old.decode(), agent).encode()

    told = []
    for project, ops in deployment.projects():
        title = f"{'Change' if done.changed else 'Hire'} {done.name} ({done.kind}, {done.model})"
        body = f"{done.name} works here as {', '.join(done.roles)} on host {deployment.host.host} already."
        facts = share(
            deployment, ops, [Edit(PATH, apply)], title, founder_of(deployment, project),
            slug=f"hire-{done.name}", body=body, replaces=True,
        )  # fmt: skip
        told.append({"ops": str(ops), "url": None, "number": None, **facts})
    return told


def _shared(deployment: Deployment, name: str, kind: str) -> BackendHost | None:
    """What the factory.toml of a project of this host says of an agent of that name and kind."""
    if not deployment.host.ops_repos:
        return None
    for _, ops in deployment.projects():
        try:
            files, _stale = ops_files(deployment, ops)
            agents = load_factory(files[PATH]).agents if PATH in files else ()
        except FactoryError:
            continue  # nothing is known of it: the defaults hold
        for agent in agents:
            if agent.name == name and agent.backend == kind:
                return BackendHost(kind, agent.model, agent.roles)
    return None


def _free_name(backend: str, taken: Mapping[str, BackendHost]) -> str:
    base = {"claude-code": "cc"}.get(backend, backend)
    number = 1
    while f"{base}-{number}" in taken:
        number += 1
    return f"{base}-{number}"


def _open_roles(name: str, backends: Mapping[str, BackendHost]) -> tuple[str, ...]:
    """All active roles that no other agent of this host fills."""
    filled = {role for other, entry in backends.items() if other != name for role in entry.roles}
    return tuple(role for role in ROLES if role not in filled) or ROLES


def _keep_key(deployment: Deployment, name: str, file: Path | None) -> Path | None:
    if file is None:
        return None
    try:
        key = file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"reading the key of {name} from {file}: {error.strerror}") from error
    if not key or b"\n" in key:
        raise UsageError(f"reading the key of {name} from {file}: it must hold one line, the key")
    kept = deployment.state / "gateway" / "keys" / name
    write_private(kept, key + b"\n")
    return kept


def _keys(deployment: Deployment) -> dict[Path, bytes]:
    place = deployment.state / "gateway" / "keys"
    return {file: file.read_bytes() for file in place.iterdir()} if place.is_dir() else {}


def _put_keys(deployment: Deployment, before: Mapping[Path, bytes]) -> None:
    for file in _keys(deployment):
        if file not in before:
            file.unlink()
    for file, content in before.items():
        write_private(file, content)


def _keep_script(deployment: Deployment, name: str, file: Path | None) -> Path | None:
    """Scripts are copied: the demo's survives an upgrade of the package, a person's the move of their file."""
    if file is None:
        return None
    if not file.is_file():
        raise UsageError(f"hiring {name}: there is no recording at {file}")
    kept = deployment.state / "gateway" / "scripts" / f"{name}.toml"
    kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    shutil.copyfile(file, kept)
    return kept
