"""This host's age key: what secrets are encrypted to. Its private half never leaves ``state/vault/age.key``.

The file may hold several keys, newest first: while a new one waits for its approval, secrets are still encrypted to the
one before it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from pyrage import IdentityError, x25519

from factory.config.home import write_private
from factory.vault.keys.errors import KeyMissing

Identities = tuple[x25519.Identity, ...]


def path_of(state: Path) -> Path:
    return state / "vault" / "age.key"


def make(state: Path) -> str:
    """Make a key where this host has none; the public half of its newest. Raises KeyMissing for a file without one."""
    if not os.path.lexists(path_of(state)):
        _write(state, (x25519.Identity.generate(),))
    return public(state)[0]


def add(state: Path) -> str:
    """Make a new key, put before those that are there; its public half."""
    _write(state, (x25519.Identity.generate(), *read(state)))
    return public(state)[0]


def keep(state: Path, keys: Sequence[str]) -> tuple[str, ...]:
    """Forget every key but the newest and those with one of these public halves; returns the forgotten ones'."""
    newest, *others = read(state)
    kept = (newest, *(identity for identity in others if str(identity.to_public()) in keys))
    gone = tuple(str(one.to_public()) for one in others if str(one.to_public()) not in keys)
    if gone:
        _write(state, kept)
    return gone


def _write(state: Path, identities: Identities) -> None:
    lines = [f"# public key: {identity.to_public()}\n{identity}\n" for identity in identities]
    write_private(path_of(state), "".join(lines).encode())


def read(state: Path) -> Identities:
    """The host's keys, newest first. Raises KeyMissing when there is none, or other users could read it."""
    path = path_of(state)
    doing = f"reading this host's age key {path}"
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        hint = "the first `factory secret set` makes one; a lost one comes back from your backup"
        raise KeyMissing(f"{doing}: it is not there", hint=hint) from None
    except OSError as error:
        raise KeyMissing(f"{doing}: {error.strerror}", hint="it must be a plain file") from None
    with os.fdopen(handle, "rb") as file:
        mode = os.fstat(handle).st_mode
        text = file.read(10_000) if stat.S_ISREG(mode) else b""
    if not stat.S_ISREG(mode) or stat.S_IMODE(mode) & 0o077:
        hint = f"chmod 600 {path}; if others could read it, make a new one: factory secret rotate --key"
        raise KeyMissing(f"{doing}: it is not a plain file of yours alone", hint=hint)
    lines = [line.strip() for line in text.decode("ascii", "replace").splitlines()]
    try:
        found = tuple(x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#"))
    except IdentityError:
        found = ()  # the reason is not told: it would quote the key
    if not found:
        raise KeyMissing(f"{doing}: it holds no age key", hint="put the file from your backup back")
    return found


def public(state: Path) -> tuple[str, ...]:
    """Their public halves, newest first. Raises as ``read``."""
    return tuple(str(identity.to_public()) for identity in read(state))
