"""Leases: refs in the ops repo that say which host runs what, moved only by compare-and-swap pushes.

A lease is a commit without parents whose message is JSON; its object id is the fencing token, unique by a nonce.
Leases save work, they never carry safety: whoever can write code in the ops repo can delete or forge them
(security-rules.md), so what they say is read as a claim, and what cannot be read is reported, not trusted.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from factory.errors import GitFailed, LeaseHeld, RefMoved, UsageError
from factory.git import objects
from factory.git.refs import need_ref
from factory.git.transport import RefUpdate, Remote, fetch, ls_remote, push
from factory.git.values import Signature

LEASES = "refs/factory/leases/"
HOSTS = "refs/factory/hosts/"

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MAX_MESSAGE = 4096
_ATTEMPTS = 3


@dataclass(frozen=True)
class Lease:
    """A claim as its commit states it: ``run`` on ``host`` (in the boot ``boot``) holds ``ref`` since ``at``."""

    ref: str
    oid: str
    run: str
    host: str
    epoch: int
    boot: str
    at: datetime

    @property
    def key(self) -> str:
        """The last part of the ref."""
        return self.ref.rpartition("/")[2]


@dataclass(frozen=True)
class Leases:
    """All leases read at once; ``unreadable`` maps a ref to what is wrong with its commit."""

    held: Mapping[str, Lease]
    unreadable: Mapping[str, str]


def lease_ref(key: str) -> str:
    """The ref of the lease ``key`` (letters, digits, ``._-``)."""
    return need_ref(LEASES + _need_key(key))


def host_ref(host: str) -> str:
    """The ref of a host's heartbeat."""
    return need_ref(HOSTS + _need_key(host))


def lease_update(
    repo: Path, ref: str, *, run: str, host: str, epoch: int, boot: str, at: datetime, previous: str | None
) -> RefUpdate:
    """Write the lease commit into ``repo`` and return the ref update that claims ``ref``, for a push of one or more.

    ``previous`` is the object id the ref must have (None: none). ``at`` must be aware.
    """
    if at.tzinfo is None:
        raise UsageError("a lease needs a time with a zone")
    record = {
        "run": run,
        "host": host,
        "epoch": epoch,
        "boot": boot,
        "at": at.astimezone(UTC).isoformat(),
        # Two claims made in the same second must differ, else the loser's push would look as if it had landed.
        "nonce": secrets.token_hex(8),
    }
    who = Signature("factory", "factory@localhost", int(at.timestamp()))
    message = json.dumps(record, sort_keys=True)
    oid = objects.build_commit(repo, parent=None, changes={}, message=message, author=who, committer=who)
    return RefUpdate(ref, oid, previous)


def read(repo: Path, ref: str, oid: str) -> Lease:
    """The lease a commit in ``repo`` states. Raises GitFailed when it is absent or states none."""
    return _parse(ref, oid, objects.commit_info(repo, oid).message)


def read_all(repo: Path, remote: Remote, refs: Mapping[str, str]) -> Leases:
    """Read the leases and heartbeats among ``refs`` (name -> object id, as from ``ls_remote`` or a snapshot).

    Commits not yet in ``repo`` are fetched by id in one request.
    """
    mine = {ref: oid for ref, oid in refs.items() if ref.startswith((LEASES, HOSTS))}
    missing = sorted({oid for oid in mine.values() if not objects.exists(repo, oid)})
    if missing:
        fetch(repo, remote, missing)
    held: dict[str, Lease] = {}
    unreadable: dict[str, str] = {}
    for ref, oid in mine.items():
        try:
            held[ref] = read(repo, ref, oid)
        except GitFailed as error:
            unreadable[ref] = error.message
    return Leases(held, unreadable)


def acquire(repo: Path, remote: Remote, ref: str, *, run: str, host: str, boot: str, at: datetime) -> Lease:
    """Take a free lease. Raises LeaseHeld, naming the holder and since when, and what ``push`` raises."""
    return _claim(repo, remote, ref, run=run, host=host, epoch=1, boot=boot, at=at, previous=None)


def renew(repo: Path, remote: Remote, lease: Lease, *, at: datetime) -> Lease:
    """The same claim with a new time. Raises LeaseHeld when it is no longer ours."""
    return _claim(
        repo,
        remote,
        lease.ref,
        run=lease.run,
        host=lease.host,
        epoch=lease.epoch,
        boot=lease.boot,
        at=at,
        previous=lease.oid,
    )


def takeover(repo: Path, remote: Remote, dead: Lease, *, run: str, host: str, boot: str, at: datetime) -> Lease:
    """Claim what a dead holder left, with the next epoch. Raises LeaseHeld when somebody (or it) moved meanwhile."""
    return _claim(repo, remote, dead.ref, run=run, host=host, epoch=dead.epoch + 1, boot=boot, at=at, previous=dead.oid)


def release(repo: Path, remote: Remote, lease: Lease) -> None:
    """Give the lease back; already gone is fine. Raises LeaseHeld when another holds it."""
    try:
        push(repo, remote, [RefUpdate(lease.ref, None, lease.oid)])
    except RefMoved as error:
        raise held_by(repo, remote, lease.ref) or error from error


def held_by(repo: Path, remote: Remote, ref: str) -> LeaseHeld | None:
    """Read who holds ``ref`` now, as the error that says so; None when nobody does."""
    refs = ls_remote(remote, (ref,))
    if ref not in refs:
        return None
    leases = read_all(repo, remote, {ref: refs[ref]})
    lease = leases.held.get(ref)
    if lease is None:
        return LeaseHeld(f"{ref} is taken by something unreadable: {leases.unreadable[ref]}")
    since = lease.at.isoformat(timespec="seconds")
    return LeaseHeld(f"{ref} is held by run {lease.run} on host {lease.host} since {since} (epoch {lease.epoch})")


def _claim(
    repo: Path,
    remote: Remote,
    ref: str,
    *,
    run: str,
    host: str,
    epoch: int,
    boot: str,
    at: datetime,
    previous: str | None,
) -> Lease:
    for attempt in range(1, _ATTEMPTS + 1):
        update = lease_update(repo, ref, run=run, host=host, epoch=epoch, boot=boot, at=at, previous=previous)
        assert update.new is not None
        try:
            push(repo, remote, [update])
        except RefMoved as error:
            holder = held_by(repo, remote, ref)
            if holder is not None:
                raise holder from error
            if previous is not None:
                raise LeaseHeld(f"{ref} was released by somebody else while run {run} held it") from error
            if attempt == _ATTEMPTS:
                raise
            continue  # it was held a moment ago and is free again
        return read(repo, ref, update.new)
    raise AssertionError("unreachable")


def _parse(ref: str, oid: str, message: str) -> Lease:
    try:
        record = json.loads(message[:_MAX_MESSAGE])
        at = datetime.fromisoformat(record["at"])
        texts = {name: record[name] for name in ("run", "host", "boot")}
        epoch = record["epoch"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise GitFailed(f"reading {ref} at {oid[:12]}: it states no lease ({error})") from error
    if at.tzinfo is None or type(epoch) is not int or not all(_is_word(text) for text in texts.values()):
        raise GitFailed(f"reading {ref} at {oid[:12]}: it states no lease (a field has the wrong form)")
    return Lease(ref=ref, oid=oid, epoch=epoch, at=at, **texts)


def _is_word(text: object) -> bool:
    return isinstance(text, str) and len(text) <= 200 and text.isprintable()


def _need_key(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise UsageError(f"{key!r} cannot be a lease key: letters, digits and ._- only")
    return key
