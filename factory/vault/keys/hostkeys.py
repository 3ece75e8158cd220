"""The dispatcher's keys as the trusted part asks for them (``ports.Keys``): admins' signatures, the host's own.

A ledger entry signed by the host key shows an auditor which host wrote it; that the entry counts follows from the
ledger's branch rule alone, so a host without the key goes on without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import FactoryError
from factory.git.hardened import Git
from factory.vault.keys import agekey, sshsig
from factory.vault.keys.approving import Approvals, Letter
from factory.vault.keys.errors import KeyMissing
from factory.vault.keys.listed import changes
from factory.vault.ports import Unclear

NAMESPACE = "ledger@1"


def host_key(state: Path) -> Path:
    return state / "vault" / "host_key"


def next_key(state: Path) -> Path:
    """The one that takes its place on each ledger as soon as it is in force there; absent when none is to."""
    return state / "vault" / "host_key.new"


def wanted(state: Path) -> str:
    """Public half of the key with which this host is to sign from now on; empty without OpenSSH or a key. Raises
    KeyMissing for one that cannot be used."""
    found = [path for path in (next_key(state), host_key(state)) if path.exists()]
    try:
        sshsig.program()
    except KeyMissing:
        return ""
    return sshsig.public_of(found[0]) if found else ""


def make_next(state: Path, host: str) -> str:
    """Make a key to come, unless there is one; its public half, empty without OpenSSH. Raises KeyMissing."""
    try:
        sshsig.program()
    except KeyMissing:
        return ""
    return sshsig.make_key(next_key(state), f"dispatcher@{host}")


def forget_old(state: Path) -> str:
    """The key to come is the only one from now on; the public half of the one before."""
    old = sshsig.public_of(host_key(state)) if host_key(state).exists() else ""
    for name in (".pub", ""):  # the private half last: until then nothing is lost
        there = next_key(state).with_name(next_key(state).name + name)
        if there.exists():  # it was cut off after the first
            there.replace(host_key(state).with_name(host_key(state).name + name))
    return old


@dataclass(frozen=True)
class Public:
    """The public halves of a host's keys; ``ssh`` is empty where OpenSSH is not installed."""

    age: str
    ssh: str


def make_keys(state: Path, host: str) -> Public:
    """Make what is missing of this host's keys. Raises KeyMissing for one that is there and cannot be used."""
    age = agekey.make(state)
    try:
        sshsig.program()
    except KeyMissing:
        return Public(age, "")
    return Public(age, sshsig.make_key(host_key(state), f"dispatcher@{host}"))


@dataclass(frozen=True)
class HostKeys:
    """``ports.Keys`` of one host."""

    state: Path
    letters: Callable[[tuple[int, ...]], Iterable[Letter]]
    in_force: Callable[[], frozenset[str]] = frozenset
    """Whose signatures count on the ledger that is written, ``HOST TYPE KEY``."""

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        try:
            return Approvals(self.state / "vault", self.letters).signers(statement, pulls)
        except (FactoryError, OSError) as error:
            raise Unclear(f"looking for signatures on pull request {', '.join(map(str, pulls))}: {error}") from error

    def sign(self, data: bytes) -> str:
        """The host key's armored signature; empty where this host has no such key."""
        path, new = host_key(self.state), next_key(self.state)
        try:
            if new.exists() and sshsig.public_of(new) in {line.partition(" ")[2] for line in self.in_force()}:
                path = new
            return sshsig.sign(path, NAMESPACE, data).strip() if path.exists() else ""
        except KeyMissing as error:
            raise Unclear(f"signing the ledger's entries: {error.message}") from error

    def changes(self, git: Git, commit: str, keys: frozenset[str]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """What a TRUST of this commit adds to the hosts' keys and takes from them, as entries."""
        return changes(git, commit, keys)
