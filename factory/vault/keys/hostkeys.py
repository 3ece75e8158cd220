"""The dispatcher's keys as the trusted part asks for them (``ports.Keys``): admins' signatures, the host's own.

A ledger entry signed by the host key shows an auditor which host wrote it; that the entry counts follows from the
ledger's branch rule alone, so a host without the key goes on without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from factory.errors import FactoryError
from factory.vault.keys import agekey, sshsig
from factory.vault.keys.approving import Approvals, Letter
from factory.vault.keys.errors import KeyMissing
from factory.vault.ports import Unclear

NAMESPACE = "ledger@1"


def host_key(state: Path) -> Path:
    return state / "vault" / "host_key"


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

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        try:
            return Approvals(self.state / "vault", self.letters).signers(statement, pulls)
        except (FactoryError, OSError) as error:
            raise Unclear(f"looking for signatures on pull request {', '.join(map(str, pulls))}: {error}") from error

    def sign(self, data: bytes) -> str:
        """The host key's armored signature; empty where this host has no such key."""
        path = host_key(self.state)
        try:
            return sshsig.sign(path, NAMESPACE, data).strip() if path.exists() else ""
        except KeyMissing as error:
            raise Unclear(f"signing the ledger's entries: {error.message}") from error
