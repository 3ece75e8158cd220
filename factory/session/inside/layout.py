"""Where things are inside, and how a sandbox without a root of its own says that they are elsewhere."""

from __future__ import annotations

import json
import os
import re

WORK = "/work"
IN = "/run/factory/in"
OUT = "/run/factory/out"
BIN = "/run/factory/bin"
HOME = "/home/agent"
OBJECTS = "/run/factory/objects"

MAP_VARIABLE = "FACTORY_PATHS"
"""Set by the sandbox ``none``: a JSON object from the fixed places to real ones."""


def path_map() -> dict[str, str]:
    """The places that are elsewhere; empty in a real sandbox."""
    text = os.environ.get(MAP_VARIABLE)
    return dict(json.loads(text)) if text else {}


def place(path: str, moved: dict[str, str] | None = None) -> str:
    """Where ``path`` really is: the longest moved folder it lies in decides; other text is returned as it is."""
    moved = path_map() if moved is None else moved
    for prefix in sorted(moved, key=len, reverse=True):
        if path == prefix or path.startswith(prefix + "/"):
            there = moved[prefix] + path[len(prefix) :]
            # A real path of this host may begin like a fixed place: what exists only as it stands is meant as it
            # stands.
            return path if os.path.lexists(path) and not os.path.lexists(there) else there
    return path


def address(text: str, ports: dict[int, int]) -> str:
    """``text`` with the loopback addresses of these ports replaced by those they have here."""
    return re.sub(r"\b127\.0\.0\.1:(\d+)\b", lambda found: f"127.0.0.1:{ports.get(int(found[1]), int(found[1]))}", text)
