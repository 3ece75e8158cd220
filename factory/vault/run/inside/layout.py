"""Fixed places inside, and what the two ends say to each other."""

from __future__ import annotations

PYZ = "/run/factory/run.pyz"
CONTROL = "/run/factory/control.sock"
BROKER = "/run/factory/broker.sock"
PORT = 8791
"""Loopback port that leads to the broker."""
BIN = "/run/factory/bin"
OUT = "/run/factory/out"
TREE = "/run/factory/tree"
RESULT = f"{OUT}/result.json"
ARTIFACTS = ("archive",)
"""Files in ``OUT`` that leave, by these names and no others."""
PROGRAMS = ("archive", "collect", "command", "promote", "webhook")
GIVEN_FD = 3
FIRST_SECRET_FD = 4
MAX_ORDER = 4 * 1024 * 1024
MAX_RESULT = 64 * 1024
MAX_ARTIFACT = 256 * 1024 * 1024
