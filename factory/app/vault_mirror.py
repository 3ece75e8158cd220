"""``factory vault mirror``: naming another machine for a copy of the ledger, and looking at it now."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror as ops_copy
from factory.app.places import vault_folder
from factory.app.vault_mirroring import facts_of, look_at, sides
from factory.config.home import write_private
from factory.config.host import ADDRESSES, is_address, load_host, write_host
from factory.config.model import LedgerMirror
from factory.errors import UsageError
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.plumbing import git
from factory.vault.watch import marks, mirroring
from factory.vault.watch.mirroring import Look

KEPT = "mirror.token"
NONE = "no mirror of the ledger is set"
HOW = "factory vault mirror set user@another-machine:ledger.git (docs/how-to/mirror-the-ledger.md)"


def checked(deployment: Deployment, now: datetime) -> list[dict[str, Any]]:
    """Look now, for each ops repo of this host. Raises UsageError where no mirror is set, ForgeError."""
    mirror = deployment.host.ledger_mirror
    if mirror is None:
        raise UsageError(f"looking at the ledger's mirror: {NONE}", hint=HOW)
    return [_now(deployment, ops, mirror, now) for _, ops in deployment.projects()]


def _now(deployment: Deployment, ops: RepoName, mirror: LedgerMirror, now: datetime) -> dict[str, Any]:
    ops_copy(deployment, ops, refresh=True)
    return facts_of(ops, look_at(deployment, ops, mirror, now))


def set_mirror(
    deployment: Deployment, url: str, now: datetime, *, login: str = "", token_file: Path | None = None
) -> dict[str, Any]:
    """Copy the ledgers of this host there, and from now on whenever they grow. Nothing is set where that fails.

    Raises UsageError (no such address, no token in the file), ForgeError and GitFailed (it cannot be reached or
    written), Conflict."""
    doing = "setting the ledger's mirror"
    if not is_address(url):  # not said again: there may be a password in it
        raise UsageError(f"{doing}: that is not an address it may have", hint=ADDRESSES)
    if token_file is not None and not url.startswith("http"):
        raise UsageError(f"{doing}: a token is for http(s); over ssh this user's own key counts", hint="--token-file")
    kept = deployment.state / "vault" / KEPT
    before = kept.read_bytes() if kept.exists() else None
    if token_file is not None:
        write_private(kept, _token(doing, token_file))
    mirror = LedgerMirror(url, login, kept if token_file is not None else None)
    try:
        made = _made(url)
        found = [_tried(deployment, ops, mirror, now) for _, ops in deployment.projects()]
    except BaseException:
        kept.unlink(missing_ok=True)
        if before is not None:
            write_private(kept, before)
        raise
    if token_file is None:
        kept.unlink(missing_ok=True)
    write_host(replace(load_host(deployment.home), ledger_mirror=mirror))
    deployment.host = load_host(deployment.home)
    return {"url": url, "made": made, "near": near(deployment, url), "ledgers": found}


def _tried(deployment: Deployment, ops: RepoName, mirror: LedgerMirror, now: datetime) -> dict[str, Any]:
    """As ``look_at``, but what is in the way is raised."""
    ops_copy(deployment, ops, refresh=True)
    folder = vault_folder(deployment.state, str(ops))
    tip = marks.tip(folder / marks.MARK)
    found = Look(mirror.url, now, tip, mirroring.look(sides(deployment, ops, mirror), tip))
    mirroring.write(folder, found)
    return facts_of(ops, found)


def _token(doing: str, file: Path) -> bytes:
    try:
        token = file.read_bytes().strip()
    except OSError as error:
        raise UsageError(f"{doing}: reading the token from {file}: {error.strerror}") from None
    if not token or b"\n" in token:
        raise UsageError(f"{doing}: {file} must hold one line, the token")
    return token + b"\n"


def _made(url: str) -> bool:
    """Make the repo at an absolute path where there is nothing yet: one that takes no rewriting."""
    path = Path(url)
    if not url.startswith("/") or path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        objects.init_bare(path)
    except OSError as error:
        doing = f"making the ledger's mirror at {path}"
        raise UsageError(f"{doing}: {error.strerror}", hint="is that disk there?") from None
    for name in ("receive.denyNonFastForwards", "receive.denyDeletes", "receive.fsckObjects"):
        git(path, "config", name, "true")
    return True


def unset_mirror(deployment: Deployment) -> dict[str, Any]:
    """Copy no more; what is at the mirror stays there. Raises UsageError where none is set."""
    mirror = deployment.host.ledger_mirror
    if mirror is None:
        raise UsageError(f"taking the ledger's mirror away: {NONE}", hint=HOW)
    write_host(replace(load_host(deployment.home), ledger_mirror=None))
    (deployment.state / "vault" / KEPT).unlink(missing_ok=True)
    return {"url": mirror.url}


def near(deployment: Deployment, url: str) -> str:
    """Why a mirror at this address is lost together with what it is a copy of; empty: nothing says so."""
    host = deployment.host
    parts, forge = urlsplit(url), urlsplit(host.forge_url)
    if url.startswith("/"):
        there = next((path for path in (Path(url), *Path(url).parents) if path.exists()), Path("/"))
        same = there.stat().st_dev == host.home.stat().st_dev
        return f"{url} is on the same disk as {host.home}" if same else ""
    name = parts.hostname if parts.scheme in ("http", "https", "ssh") else url.partition(":")[0].rpartition("@")[2]
    if name in ("localhost", "127.0.0.1", "::1"):
        return f"{name} is this machine"
    return f"{name} is the machine of the forge itself" if name == forge.hostname else ""


def only(deployment: Deployment, project: str | None) -> tuple[RepoName, RepoName, LedgerMirror]:
    """The project, its ops repo and the mirror. Raises UsageError."""
    repo, ops = project_of(deployment, project)
    if deployment.host.ledger_mirror is None:
        raise UsageError(f"looking at the ledger's mirror: {NONE}", hint=HOW)
    return repo, ops, deployment.host.ledger_mirror
