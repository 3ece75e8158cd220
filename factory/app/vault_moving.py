"""The vault moves to a home of its own, which another user of this machine owns, and back.

Three steps, each by the user whose home it is, so that nobody needs root and no file is ever readable by both: give
(``move-out`` writes a parcel to a pipe), take (``move-in`` reads it), forget (``move-out --received NUMBER``). Before
anything is handed out host.toml says that the vault is not of this home any more, so nothing of it starts here; the
originals go only when the other side has said the parcel's number, which it says once all is on its disk. Each step
may be repeated after a crash.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.app import projects
from factory.app.deployment import APART, Deployment
from factory.app.places import vault_home
from factory.app.services import folder
from factory.app.vault_parcel import Origin, Parcel, collect, number_of, read
from factory.config.home import create_home, write_private
from factory.config.host import host_path, load_host, write_host
from factory.config.model import DEFAULT_ACCOUNTS, HostConfig, LedgerMirror
from factory.errors import Conflict, UsageError
from factory.process import service
from factory.process.lock import is_held, try_hold

MOVED, COPIED = ("dispatcher", "release"), ("sentinel",)
"""Duties whose account's token goes with the vault; the sentinel's can only read, and the daemon reads with it who may
write."""
GIVEN, TAKEN = "vault-given.json", "vault-taken.json"
GONE = "-"
"""In the list of parcels taken in: all before it have moved on."""
AFTER = {"all": "daemon", "vault": "nothing"}
"""What a home runs once the vault has left it."""
_HOW = "docs/how-to/two-users.md"


def give(deployment: Deployment) -> bytes:
    """The vault as a parcel; from now on nothing of it starts here. Asked again before it was received, the same bytes.

    Raises UsageError (no vault here, an account has duties on both sides), Conflict (something of it still runs)."""
    doing, host = "moving the vault out", deployment.host
    with _alone(deployment, doing):
        given = _given(host)
        if given is None and host.runs not in AFTER:
            raise UsageError(f"{doing}: it is not in this home", hint=APART[host.runs])
        _refuse_received(doing, given)
        data = _parcel(deployment, doing).write()
        if given is not None and given["number"] != number_of(data):
            why = "something of it was changed since it was handed out, and not received"
            raise Conflict(f"{doing}: {why}", hint="factory vault move-out --cancel, then again")
        if given is None:
            write_private(host.state / GIVEN, _record(number_of(data), host.runs))
        _say(deployment, runs=AFTER[given["runs"] if given else host.runs])
        return data


def forget(deployment: Deployment, number: str) -> dict[str, Any]:
    """The other side has it all: remove what this home still has of it. Raises UsageError for another number."""
    doing, host = "forgetting the vault that moved out", deployment.host
    with _alone(deployment, doing):
        given = _given(host)
        if given is None:
            raise UsageError(f"{doing}: none was handed out that is not forgotten yet", hint=_HOW)
        if given["number"] != number.strip():
            why = "that is not the number of what was handed out here"
            raise UsageError(f"{doing}: {why}", hint="as the other user the same `move-in` again says it")
        write_private(host.state / GIVEN, _record(**{**given, "received": "yes"}))
        for login in _logins(deployment, MOVED) | (_logins(deployment, COPIED) if given["runs"] == "vault" else set()):
            (host.state / "tokens" / login).unlink(missing_ok=True)
        for place in (vault_home(host.state), host.cache / "vault"):
            if place.exists():
                shutil.rmtree(place)
        _say(deployment, runs=AFTER[given["runs"]], ledger_mirror=None)
        # A parcel that was taken in here before this one left is an old one from now on.
        seen = _taken(host.state)
        if seen and seen[-1] != GONE:
            write_private(host.state / TAKEN, json.dumps([*seen, GONE]).encode())
        _sync(host.state)
        (host.state / GIVEN).unlink()
        return _told(deployment.host, given["number"])


def cancel(deployment: Deployment) -> dict[str, Any]:
    """The vault stays here after all. Only for a parcel that nobody has taken in. Raises UsageError."""
    doing, host = "keeping the vault here", deployment.host
    with _alone(deployment, doing):
        given = _given(host)
        if given is None:
            raise UsageError(f"{doing}: it was not handed out, or has gone already", hint=_HOW)
        _refuse_received(doing, given)
        _say(deployment, runs=given["runs"])
        (host.state / GIVEN).unlink()
        return _told(deployment.host, given["number"])


def take(home: Path, data: bytes) -> dict[str, Any]:
    """Have the vault in this home: one of its own that is made here, or the home it left. Taken in before: nothing is
    changed, its number is said again.

    Raises UsageError (no parcel, of another deployment, a vault is here), ConfigInvalid, Conflict."""
    doing, parcel, number = "taking the vault in", read(data), number_of(data)
    host = load_host(home) if host_path(home).exists() else None
    if host is None:
        create_home(home)
    with _held(home / "state", doing):
        seen = _taken(home / "state")
        if host is not None and _given(host) is not None:
            hint = "factory vault move-out --received NUMBER, or --cancel"
            raise UsageError(f"{doing}: what moved out of {home} is not known to be received", hint=hint)
        if number in seen and seen[-1] != number:
            raise UsageError(f"{doing}: this parcel was taken in here before, and the vault has moved on since")
        if number in seen and host is not None and host.has_vault:
            return _told(host, number)
        before = host.runs if host is not None else "nothing"
        if before not in AFTER.values():
            raise UsageError(f"{doing}: there is a vault in {home} already", hint="FACTORY_HOME=... for another home")
        if host is not None and (host.host, host.forge_url) != (parcel.origin.host, parcel.origin.forge_url):
            was = f"{parcel.origin.host} at {parcel.origin.forge_url}"
            raise UsageError(f"{doing}: it is of {was}, this home of {host.host} at {host.forge_url}")
        state = home / "state"
        for name, content in sorted(parcel.moved.items()):
            write_private(state / name, content)
        for name, content in sorted(parcel.copied.items()) if before == "nothing" else ():
            write_private(state / name, content)
        if number not in seen:
            write_private(state / TAKEN, json.dumps([*seen, number]).encode())
        # Last: before it says so, nothing of the vault starts here.
        write_host(_host(home, parcel.origin, host))
        return _told(load_host(home), number)


def _told(host: HostConfig, number: str) -> dict[str, Any]:
    return {"home": str(host.home), "runs": host.runs, "number": number}


def _host(home: Path, origin: Origin, there: HostConfig | None) -> HostConfig:
    token = home / "state" / origin.mirror_token if origin.mirror_token else None
    mirror = LedgerMirror(origin.mirror_url, origin.mirror_login, token) if origin.mirror_url else None
    if there is not None and there.runs == "daemon":
        return replace(there, runs="all", ledger_mirror=mirror)
    return HostConfig(
        home=home, host=origin.host, forge_url=origin.forge_url, embedded=False, forge_port=None, web_port=0,
        ops_repos=origin.ops_repos, sandbox=origin.sandbox, ledger_mirror=mirror, runs="vault",
    )  # fmt: skip


def _parcel(deployment: Deployment, doing: str) -> Parcel:
    host, state = deployment.host, deployment.state
    shared = _logins(deployment, MOVED) & _logins(deployment, tuple(d for d in DEFAULT_ACCOUNTS if d not in MOVED))
    if shared:
        why = f"{min(shared)} is the account of the vault and of another duty as well ([accounts] in factory.toml)"
        raise UsageError(f"{doing}: {why}", hint="two users need accounts apart: give that duty one of its own")
    moved = collect(state)
    moved |= {f"tokens/{login}": deployment.token(login).encode() + b"\n" for login in _logins(deployment, MOVED)}
    copied = {f"tokens/{login}": deployment.token(login).encode() + b"\n" for login in _logins(deployment, COPIED)}
    for kind in ("projects", "authority"):
        copied |= {f"{kind}/{path.name}": path.read_bytes() for path in (state / kind).glob("*.json")}
    mirror = host.ledger_mirror
    file = mirror.token_file if mirror is not None else None
    inside = file.relative_to(state) if file is not None and file.is_relative_to(state) else file
    origin = Origin(
        host.host, host.forge_url, host.sandbox, host.ops_repos, mirror.url if mirror else "",
        mirror.login if mirror else "", str(inside or ""),
    )  # fmt: skip
    return Parcel(origin, moved, copied)


def _logins(deployment: Deployment, duties: tuple[str, ...]) -> set[str]:
    known = projects.every(deployment.state)
    return {project.account(duty) for project in known for duty in duties}


def _say(deployment: Deployment, **changed: Any) -> None:
    fresh = replace(load_host(deployment.home), **changed)
    if fresh != load_host(deployment.home):
        write_host(fresh)
    deployment.host = load_host(deployment.home)


def _record(number: str, runs: str, received: str = "no") -> bytes:
    return json.dumps({"number": number, "runs": runs, "received": received}).encode()


def _refuse_received(doing: str, given: dict[str, str] | None) -> None:
    """A part of it may be removed already. Raises Conflict."""
    if given is not None and given["received"] == "yes":
        hint = f"factory vault move-out --received {given['number']}"
        raise Conflict(f"{doing}: the other user has it, and it is being removed here", hint=hint)


def _given(host: HostConfig) -> dict[str, str] | None:
    """What was handed out and not forgotten yet. What is there and cannot be read is told as it is."""
    try:
        told = json.loads((host.state / GIVEN).read_bytes())
        return {key: str(told[key]) for key in ("number", "runs", "received")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise Conflict(f"reading {host.state / GIVEN}: it is not what was written there", hint=_HOW) from None


def _taken(state: Path) -> list[str]:
    try:
        return [str(number) for number in json.loads((state / TAKEN).read_bytes())]
    except FileNotFoundError:
        return []


@contextmanager
def _alone(deployment: Deployment, doing: str) -> Iterator[None]:
    """While nothing that is the vault's, or would start it, runs in this home. Raises Conflict."""
    with _held(deployment.state, doing):
        place = folder(deployment.state)
        runs = [name for name in ("dispatcher", "sentinel") if service.status(name, place).pid is not None]
        slots = vault_home(deployment.state) / "slots"
        if runs or any(is_held(lock) for lock in slots.glob("*.lock")):
            raise Conflict(f"{doing}: the {runs[0] if runs else 'dispatcher'} still runs", hint="factory down")
        yield


@contextmanager
def _held(state: Path, doing: str) -> Iterator[None]:
    held = try_hold(state / "daemon.lock")
    if held is None:
        raise Conflict(f"{doing}: the factory runs in {state.parent}", hint="factory down")
    with held:
        yield


def _sync(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
