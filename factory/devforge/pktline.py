"""Git's pkt-line framing."""

from __future__ import annotations

from collections.abc import Iterator

FLUSH = b"0000"
DELIM = b"0001"
MAX_BAND = 65515
"""Payload of one side-band-64k packet."""


class BadPacket(ValueError):
    """What came is not pkt-line."""


def line(data: bytes | str) -> bytes:
    """One packet."""
    payload = data.encode() if isinstance(data, str) else data
    return b"%04x" % (len(payload) + 4) + payload


def length(head: bytes) -> int:
    """The number four hex digits stand for: 0 flush, 1 delimiter, else the packet's whole length."""
    try:
        found = int(head, 16)
    except ValueError:
        raise BadPacket(f"not a packet length: {head!r}") from None
    if len(head) != 4 or found in (2, 3) or found > 65520:
        raise BadPacket(f"not a packet length: {head!r}")
    return found


def parse(data: bytes) -> Iterator[bytes | None]:
    """Payloads in order, their line end removed; None for flush and delimiter packets."""
    at = 0
    while at < len(data):
        size = length(data[at : at + 4])
        if size < 4:
            at += 4
            yield None
            continue
        if at + size > len(data):
            raise BadPacket("a packet ends early")
        yield data[at + 4 : at + size].removesuffix(b"\n")
        at += size


def band(number: int, data: bytes) -> bytes:
    """``data`` in side-band packets."""
    out = bytearray()
    for at in range(0, len(data), MAX_BAND):
        out += line(bytes([number]) + data[at : at + MAX_BAND])
    return bytes(out)
