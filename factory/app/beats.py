"""What the vault's processes write about themselves while they run, and how that is read back."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.app.places import beat_file
from factory.config.home import write_private


class BeatFile:
    """Written by the process itself. A full disk does not end it: an old beat only says less."""

    def __init__(self, state: Path, service: str) -> None:
        self._path = beat_file(state, service)
        self._started = datetime.now(UTC)

    def write(self, facts: Mapping[str, Any]) -> None:
        told = {"pid": os.getpid(), "started": self._started.isoformat(), "at": datetime.now(UTC).isoformat(), **facts}
        try:
            write_private(self._path, json.dumps(told).encode())
        except OSError as error:
            to_log(f"writing {self._path}: {error}")


def read(state: Path, service: str) -> dict[str, Any]:
    """The last beat; empty before there was one."""
    try:
        told = json.loads(beat_file(state, service).read_bytes())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def to_log(line: str) -> None:
    """One line of a service's log, which is its stderr. On a full disk it is lost; the beat says the same."""
    with suppress(OSError):
        sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}\n")
        sys.stderr.flush()
