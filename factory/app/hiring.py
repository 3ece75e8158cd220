"""Hiring an agent: its entry on this host, its key with the gateway, a smoke test, and the proposal that shares it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from factory.app.deployment import Deployment
from factory.app.services import reload_gateway
from factory.backends import BACKENDS
from factory.backends import backend as backend_of
from factory.config.home import write_private
from factory.config.host import load_host, write_host
from factory.config.model import BackendHost
from factory.errors import UsageError

PRESETS: dict[str, tuple[str, str | None, str]] = {
    # what a person asks for: (backend kind, default URL, default model)
    "claude-code": ("claude-code", "https://api.anthropic.com", "claude-opus-4-8"),
    "anthropic": ("native", "https://api.anthropic.com", "claude-opus-4-8"),
    "openai": ("native-openai", "https://api.openai.com/v1", "gpt-5.5"),
    "llama": ("native-openai", None, "local"),
    "native": ("native", None, "scripted"),
}
ROLES = ("dev", "reviewer")
"""Active roles; the others exist as definitions."""


@dataclass(frozen=True)
class Wish:
    """What a person asked ``hire`` for."""

    backend: str
    name: str | None = None
    roles: tuple[str, ...] = ()
    model: str | None = None
    url: str | None = None
    key_file: Path | None = None
    replay: Path | None = None
    slots: int = 1
    price_input: float | None = None
    price_output: float | None = None


@dataclass(frozen=True)
class Hired:
    name: str
    kind: str
    model: str
    roles: tuple[str, ...]
    version: str | None
    seconds: float


def hire(deployment: Deployment, wish: Wish) -> Hired:
    """Write the agent into host.toml; it is in force on this host at once. Raises UsageError, ConfigInvalid."""
    began = time.monotonic()
    if wish.backend not in PRESETS:
        raise UsageError(
            f"hiring {wish.backend!r}: there is no such backend", hint=f"backends: {', '.join(sorted(PRESETS))}"
        )
    kind, url, model = PRESETS[wish.backend]
    assert kind in BACKENDS
    host = load_host(deployment.home)
    name = wish.name or _free_name(wish.backend, host.backends)
    if not re.fullmatch(r"[a-z0-9-]{1,40}", name):
        raise UsageError(f"hiring {name!r}: a name is lower-case letters, digits and dashes")
    found = backend_of(kind).probe()
    if not found.installed:
        raise UsageError(f"hiring {wish.backend}: it is not installed here", hint=found.detail)
    roles = wish.roles or _open_roles(name, host.backends)
    if unknown := sorted(set(roles) - set(ROLES)):
        raise UsageError(
            f"hiring {name} for {unknown[0]!r}: there is no such active role", hint=f"roles: {', '.join(ROLES)}"
        )
    entry = BackendHost(
        kind=kind,
        model=wish.model or model,
        roles=frozenset(roles),
        url=wish.url or url,
        key_file=_keep_key(deployment, name, wish.key_file),
        slots=wish.slots,
        replay=_keep_script(deployment, name, wish.replay),
        price_input=wish.price_input,
        price_output=wish.price_output,
    )
    if entry.replay is None and entry.url is None:
        raise UsageError(f"hiring {name}: where does its model answer?", hint=f"factory hire {wish.backend} --url URL")
    deployment.host = replace(host, backends={**host.backends, name: entry})
    write_host(deployment.host)
    reload_gateway(deployment.host)
    return Hired(name, kind, entry.model, tuple(sorted(roles)), found.version, time.monotonic() - began)


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
