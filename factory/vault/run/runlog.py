"""A run's whole log: kept on this host alone (0600), cleaned of what the run was given; outside stands its digest.

Its first line is random, so that a run cannot choose what the digest will be and say something by it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from pathlib import Path

from factory.vault.run.redact import Hit, Redactor, Stream

MAX_BYTES = 8 * 1024 * 1024


class RunLog:
    """Append-only; safe from several threads. ``printed`` takes a run's own output, ``line`` our words about it."""

    def __init__(self, path: Path, redactor: Redactor) -> None:
        if not path.parent.is_dir():
            try:
                path.parent.mkdir(parents=True, mode=0o700)
            except FileExistsError as error:  # made meanwhile, or no folder
                if not path.parent.is_dir():
                    raise NotADirectoryError(error.errno, f"{path.parent} is no folder") from None
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._sink = open(os.open(path, flags, 0o600), "wb", buffering=0)  # noqa: SIM115 - closed by ``end``
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._redactor, self._streams = redactor, {}  # type: tuple[Redactor, dict[int, Stream]]
        self._written = 0
        self._write(f"log {secrets.token_hex(16)}\n".encode())

    @property
    def full(self) -> bool:
        """Whether no more of the run's output is kept: it says too much."""
        return self._written > MAX_BYTES

    def printed(self, source: int, data: bytes) -> None:
        """What came on one of the run's streams."""
        with self._lock:
            if not self.full:
                self._write(self._streams.setdefault(source, Stream(self._redactor)).feed(data))

    def line(self, text: str) -> None:
        """A line of ours."""
        cleaned, left = self._redactor.withheld(text.encode("utf-8", "replace"))
        with self._lock:
            self._write((b"[withheld]" if left else cleaned).replace(b"\n", b" ") + b"\n")

    def end(self) -> str:
        """Close it; its SHA-256, hex."""
        with self._lock:
            for stream in self._streams.values():
                self._write(stream.end())
            self._streams.clear()
            self._sink.close()
        return self._digest.hexdigest()

    @property
    def hits(self) -> tuple[Hit, ...]:
        """What the run tried to print."""
        with self._lock:
            return tuple(sorted({hit for one in self._streams.values() for hit in one.hits}, key=str))

    def _write(self, data: bytes) -> None:
        self._written += len(data)
        self._digest.update(data)
        self._sink.write(data)
