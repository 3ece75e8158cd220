"""The ops repo from this host: its mirror, direct writes, proposals of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from factory.app.deployment import Deployment
from factory.app.places import mirror_path
from factory.app.projects import account
from factory.app.services import require_forge
from factory.config.model import DEFAULT_ACCOUNTS
from factory.daemon.landing import recorded
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.objects import init_bare
from factory.git.transport import fetch
from factory.git.values import Signature
from factory.ops.edit import Edit, Guard, whole
from factory.ops.writer import Written, write

REFS = ("+refs/heads/*:refs/heads/*", "+refs/factory/*:refs/factory/*")


def factory_signature(now: datetime | None = None) -> Signature:
    """The factory's own name on a commit."""
    login = DEFAULT_ACCOUNTS["factory"]
    return Signature(login, f"{login}@factory.invalid", int((now or datetime.now(UTC)).timestamp()), 0)


def reader(deployment: Deployment, ops: RepoName) -> str:
    """The account that reads an ops repo for whoever asks at this home: the factory's own; in the vault's home, which
    has no token of that, the dispatcher's."""
    return account(deployment.state, ops, "dispatcher" if deployment.host.runs == "vault" else "factory")


def mirror(deployment: Deployment, ops: RepoName, *, refresh: bool = False) -> Path:
    """The bare mirror of an ops repo, made when it is not there; with ``refresh`` brought up to date."""
    path = mirror_path(deployment.home, str(ops))
    if not objects.is_repo(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        init_bare(path)
    # One that was made while the forge was away has nothing in it.
    if refresh or objects.read_ref(path, "refs/heads/main") is None:
        require_forge(deployment)
        fetch(path, deployment.remote(reader(deployment, ops), ops), REFS)
    return path


def ops_edit(deployment: Deployment, ops: RepoName, files: Mapping[str, bytes | None], message: str) -> str | None:
    """Write whole files by a direct route (None deletes); the commit, or None when nothing changed."""
    return ops_write(deployment, ops, [whole(path, content) for path, content in files.items()], message).commit


def ops_write(
    deployment: Deployment, ops: RepoName, edits: Sequence[Edit], message: str, *, now: datetime | None = None,
    guard: Guard | None = None,
) -> Written:  # fmt: skip
    """Apply edits by a direct route, listed on the journal as every commit of the factory's on ``main``. Raises
    PolicyDenied, Conflict, ForgeError."""
    remote, copy = deployment.remote(account(deployment.state, ops, "factory"), ops), mirror(deployment, ops)
    author = factory_signature(now)
    land = recorded(remote, copy, deployment.host.host, author)
    return write(remote, copy, edits, message=message, author=author, guard=guard, land=land)


def ops_file(deployment: Deployment, ops: RepoName, path: str) -> bytes | None:
    """A file at the tip of the ops repo's main, as last seen by this host."""
    return objects.read_file(mirror(deployment, ops), "refs/heads/main", path)
