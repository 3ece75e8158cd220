"""Where on this host a thing is, by name alone. Imports nothing, so that a command that only looks starts fast."""

from __future__ import annotations

from pathlib import Path


def control_socket(state: Path) -> Path:
    """Where the gateway of this host listens for its own processes."""
    return state / "gateway" / "control.sock"


def mirror_path(home: Path, ops: str) -> Path:
    """The bare mirror of an ops repo on this host."""
    return home / "cache" / "mirrors" / f"{ops.replace('/', '.')}.git"
