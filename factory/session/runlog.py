"""The log of one run, as a person reads it: one line per fact, secrets masked, bounded in size."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

MAX_BYTES = 4_000_000
OWN_BYTES = 200_000
"""Beyond that, for our own lines: how a run ended is said however much it printed."""


class RunLog:
    """Appends lines with seconds since the start. ``secrets`` are masked by exact value wherever they occur."""

    def __init__(self, path: Path, secrets: Sequence[str] = ()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._began = time.monotonic()
        self._secrets = [s for s in secrets if s]
        self._left = MAX_BYTES
        self._own_left = OWN_BYTES
        self._cut = False

    def hide(self, secret: str) -> None:
        """Mask this value from now on."""
        if secret:
            self._secrets.append(secret)

    def line(self, text: str) -> None:
        """One line, prefixed with the seconds since the run's start."""
        data = self._masked(f"[{time.monotonic() - self._began:7.2f}] {text}")
        if len(data) <= self._left:
            self._left -= len(data)
        elif len(data) <= self._own_left:
            self._own_left -= len(data)
        else:
            return
        os.write(self._fd, data)

    def raw(self, text: str) -> None:
        """One line as it came from the sandbox."""
        data = self._masked(text)
        if not self._cut and len(data) > self._left:
            self._cut, self._left = True, 0
            os.write(self._fd, b"[log] cut: the log reached its size limit\n")
        if not self._cut:
            self._left -= len(data)
            os.write(self._fd, data)

    def _masked(self, text: str) -> bytes:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text.encode("utf-8", "replace") + b"\n"

    def close(self) -> None:
        os.close(self._fd)


def tail(path: Path, max_bytes: int = 6000) -> str:
    """The last ``max_bytes`` of a text file, whole lines only."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - max_bytes))
            data = file.read()
    except FileNotFoundError:
        return ""
    if size > max_bytes:
        _, _, data = data.partition(b"\n")
    return data.decode("utf-8", "replace")
