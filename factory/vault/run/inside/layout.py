"""Fixed places inside, and what the two ends say to each other."""

from __future__ import annotations

import base64

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
RUN = "run"
"""The name that goes with the token of a run."""


def proxy(token: str) -> str:
    """The broker's address as programs take it from their environment."""
    return f"http://{RUN}:{token}@127.0.0.1:{PORT}"


def proof(token: str) -> str:
    """What they then say to it with every request (Proxy-Authorization)."""
    return f"Basic {base64.b64encode(f'{RUN}:{token}'.encode()).decode()}"
