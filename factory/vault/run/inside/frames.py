"""Frames on the control socket: a length, JSON of that length; after an artifact's frame its bytes."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any


def send(to: socket.socket, value: dict[str, Any]) -> None:
    """One frame."""
    data = json.dumps(value).encode()
    to.sendall(struct.pack(">I", len(data)) + data)


def receive(source: socket.socket, limit: int) -> dict[str, Any] | None:
    """The next frame; None at the end. Raises ValueError for what is none or too long."""
    head = exactly(source, 4)
    if not head:
        return None
    (size,) = struct.unpack(">I", head)
    if size > limit:
        raise ValueError(f"a frame of {size} bytes, more than {limit}")
    data = exactly(source, size)
    value = json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("a frame that is no table")
    return value


def exactly(source: socket.socket, size: int) -> bytes:
    """So many bytes, or none at a clean end. Raises ValueError when it ends in between."""
    held = bytearray()
    while len(held) < size:
        piece = source.recv(min(1 << 16, size - len(held)))
        if not piece:
            if held:
                raise ValueError("it ended in the middle")
            return b""
        held += piece
    return bytes(held)
