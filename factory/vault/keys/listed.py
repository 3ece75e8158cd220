"""Whose signatures on the ledger count: the hosts' keys that the controlled set lists, and what a change of them is.

They stand in ``vault/secrets/recipients.toml`` beside the keys that secrets are encrypted to. A file that lists none
says nothing of them, so the last key of a ledger can be replaced, and never be revoked alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory.errors import ConfigInvalid
from factory.git.hardened import Git
from factory.vault.canonical import Refused
from factory.vault.keys.labels import RECIPIENTS, read_recipients

MAX_FILE = 256 * 1024
ADD, REVOKE = "KEY_ADD", "KEY_REVOKE"


def line(host: str, key: str) -> str:
    """A host's key as the ledger's entries have it: ``HOST TYPE KEY``."""
    return f"{host} {key}"


def listed(git: Git, commit: str) -> frozenset[str]:
    """The hosts' keys at a commit of the ops repo, each a ``line``. Raises ConfigInvalid, GitTrouble."""
    place = f"{commit}:{RECIPIENTS}"
    data = git.read([place], MAX_FILE)[0]
    if data is None and git.text("rev-parse", "--verify", "--quiet", "--end-of-options", place, codes=(0, 1, 128)):
        raise ConfigInvalid(f"reading {RECIPIENTS}: it is no file of at most {MAX_FILE} bytes")
    return frozenset(line(host, key) for host, key in read_recipients(data).host_keys.items())


def changed(wanted: frozenset[str], keys: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What makes the keys in force the wanted ones: kind and ``line``, what is added first; nothing where none are
    wanted."""
    if not wanted:
        return ()
    added, revoked = sorted(wanted - keys), sorted(keys - wanted)
    return (*((ADD, one) for one in added), *((REVOKE, one) for one in revoked))


def changes(git: Git, commit: str, keys: frozenset[str]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """The same for a TRUST of this commit, as kinds of entries and their evidence. Raises Refused ``bad-recipients``
    where nobody can tell what is wanted, GitTrouble."""
    try:
        found = changed(listed(git, commit), keys)
    except ConfigInvalid as error:
        raise Refused("bad-recipients", error.message) from None
    return tuple((kind, {"host_key": one, "commit": commit}) for kind, one in found)
