"""Server-sent events: written for clients, read from providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_EVENT = 8_000_000
"""Bytes of one event of a provider; more is a broken stream."""


def event(name: str | None, data: Any) -> bytes:
    head = f"event: {name}\n" if name else ""
    body = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"{head}data: {body}\n\n".encode()


class Splitter:
    """Cuts a byte stream into events. ``feed`` yields (raw bytes of the event, its data lines joined)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, str]]:
        self._rest = (self._rest + chunk).replace(b"\r\n", b"\n")
        while (end := self._rest.find(b"\n\n")) >= 0:
            raw, self._rest = self._rest[: end + 2], self._rest[end + 2 :]
            lines = raw.decode("utf-8", "replace").split("\n")
            yield raw, "\n".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
        if len(self._rest) > MAX_EVENT:
            raise ValueError("an event of the provider's stream is too long")
