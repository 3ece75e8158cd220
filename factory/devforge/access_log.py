"""access.log: one JSON line per request. The count of an idle factory's requests is taken from here."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_log = logging.getLogger("factory.devforge")

MAX_BYTES = 50 * 1024 * 1024
"""Then the log becomes ``access.log.1`` (one older file is kept) and a new one begins."""


class AccessLog:
    """Appends in whole lines, without buffering: what was answered is in the log, also after a kill."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max = max_bytes
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._fd).st_size

    def write(self, line: Mapping[str, Any]) -> None:
        try:
            if self._size > self._max:
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                os.close(self._fd)
                self._open()
            self._size += os.write(self._fd, json.dumps(line).encode() + b"\n")
        except OSError:
            _log.exception("writing %s", self._path)  # a full disk must not stop the answers

    def close(self) -> None:
        os.close(self._fd)
