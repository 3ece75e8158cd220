"""Where on this host a thing is, by name alone. Imports nothing, so that a command that only looks starts fast."""

from __future__ import annotations

from pathlib import Path


def control_socket(state: Path) -> Path:
    """Where the gateway of this host listens for its own processes."""
    return state / "gateway" / "control.sock"


def mirror_path(home: Path, ops: str) -> Path:
    """The bare mirror of an ops repo on this host."""
    return home / "cache" / "mirrors" / f"{ops.replace('/', '.')}.git"


def vault_home(state: Path) -> Path:
    """What the vault's processes keep on this host: keys, sockets, one folder for each ops repo."""
    return state / "vault"


def vault_folder(state: Path, ops: str) -> Path:
    """The vault's folder of one ops repo: the ledger's high-water mark, the sentinel's record, locks, logs, the
    dispatcher's own copy of the repo."""
    return vault_home(state) / ops.replace("/", ".")


def sentinel_door(state: Path) -> Path:
    """Where the sentinel of this host answers."""
    return vault_home(state) / "sentinel.sock"


def beat_file(state: Path, service: str) -> Path:
    """What a process of the vault last wrote about itself."""
    return vault_home(state) / f"{service}.beat.json"
