"""How a value may be written so that a reader still gets it back: the twelve forms that are looked for. Pure.

Only what we know is looked for: the exact values that a run was given. A value cut into pieces, or enciphered, is
found by nobody; the broker and the typed result are what keeps that from getting far.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_from_bytes, quote_plus

RAW, B64, B64URL, B32, HEX, HEX_UPPER = "raw", "base64", "base64url", "base32", "hex", "hex upper"
PERCENT, PERCENT_TWICE, JSON, ESCAPES, REVERSED, GZIP = (
    "percent", "percent twice", "json", "unicode escapes", "reversed", "gzip base64",
)  # fmt: skip
ENCODINGS = (RAW, B64, B64URL, B32, HEX, HEX_UPPER, PERCENT, PERCENT_TWICE, JSON, ESCAPES, REVERSED, GZIP)
SHORTEST = 6
"""Bytes of a value or of its written form that are worth looking for; what is shorter is everywhere by chance."""
LINE = 16
"""Bytes from which one line of a longer value counts as a value: a key's text is shown line by line."""
MAX_UNPACKED = 256 * 1024 * 1024
"""Bytes of one gzip stream that are looked into."""
WINDOW, OVERLAP = 1024 * 1024, 4096
_GZIP_RUN = re.compile(rb"H4sI[A-Za-z0-9+/_-]{16,}")
_BLANKS = b" \t\r\n\v\f\0"
_RULES = b":-,;'\"|"


@lru_cache(maxsize=256)
def patterns(value: bytes) -> Mapping[str, tuple[bytes, ...]]:
    """Encoding -> what to look for, for a value (its line ends do not count). Empty for one that is too short."""
    found: dict[str, dict[bytes, None]] = {name: {} for name in ENCODINGS}
    for part in _parts(value):
        for name, form in _forms(part):
            if len(form) >= SHORTEST:
                found[name][form] = None
    plain = set(found[RAW])
    return {name: tuple(form for form in forms if name == RAW or form not in plain) for name, forms in found.items()}


def _parts(value: bytes) -> Iterator[bytes]:
    whole = value.strip(b"\r\n")
    if len(whole) >= SHORTEST:
        yield whole
    lines = whole.splitlines()
    yield from (line.strip() for line in lines if len(lines) > 1 and len(line.strip()) >= LINE)


def _forms(value: bytes) -> Iterator[tuple[str, bytes]]:
    yield RAW, value
    for skip in range(3):
        core = _sextets(value, skip)
        yield B64, core
        yield B64URL, core.translate(bytes.maketrans(b"+/", b"-_"))
    for skip in range(5):
        core = _quintets(value, skip)
        yield B32, core
        yield B32, core.lower()
    yield HEX, value.hex().encode()
    yield HEX_UPPER, value.hex().upper().encode()
    once = {quote_from_bytes(value, safe="").encode(), quote_from_bytes(value).encode(), _plus(value), _each(value)}
    for percent in sorted(once | set(map(_lower, once))):
        yield PERCENT, percent
        yield PERCENT_TWICE, quote(percent, safe="").encode()
        yield PERCENT_TWICE, percent.replace(b"%", b"%25")
    text = value.decode("utf-8", "surrogateescape")
    if not any("\udc80" <= char <= "\udcff" for char in text):
        for form in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
            yield JSON, form.encode()
            yield JSON, form.replace("/", "\\/").encode()
            yield JSON, json.dumps(form)[1:-1].encode()
    units = [int.from_bytes(pair, "big") for pair in _pairs(text.encode("utf-16-be", "surrogatepass"))]
    for style in ("\\u{:04x}", "\\u{:04X}", "&#x{:x};", "&#x{:X};", "&#{};"):
        yield ESCAPES, "".join(style.format(unit) for unit in units).encode()
    for style in ("\\x{:02x}", "\\x{:02X}", "\\{:03o}"):
        yield ESCAPES, "".join(style.format(byte) for byte in value).encode()
    yield REVERSED, value[::-1]


def _sextets(value: bytes, skip: int) -> bytes:
    """The letters of base64 that only ``value`` decides, when ``skip`` bytes of others stand before it."""
    text = base64.b64encode(b"\0" * skip + value)
    return text[(skip * 8 + 5) // 6 : (skip + len(value)) * 8 // 6]


def _quintets(value: bytes, skip: int) -> bytes:
    text = base64.b32encode(b"\0" * skip + value)
    return text[(skip * 8 + 4) // 5 : (skip + len(value)) * 8 // 5]


def _plus(value: bytes) -> bytes:
    return quote_plus(value).encode()


def _each(value: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in value)


def _lower(form: bytes) -> bytes:
    return re.sub(rb"%[0-9A-F]{2}", lambda match: match.group().lower(), form)


def _pairs(data: bytes) -> Iterator[bytes]:
    return (data[at : at + 2] for at in range(0, len(data), 2))


def squeezed(data: bytes) -> bytes:
    """Without blanks and NULs: what was wrapped at a column or written as UTF-16 is one piece again."""
    return data.translate(None, _BLANKS)


def bare(data: bytes) -> bytes:
    """Without the marks between groups of digits, too."""
    return data.translate(None, _BLANKS + _RULES)


def unpacked(data: bytes) -> Iterator[bytes]:
    """What gzip streams in it say, as they are or in base64, in overlapping pieces and within bounds."""
    at = data.find(b"\x1f\x8b\x08")
    tries = 0
    while at >= 0 and tries < 20:
        yield from _gunzip(data[at:])
        at, tries = data.find(b"\x1f\x8b\x08", at + 3), tries + 1
    for match in list(_GZIP_RUN.finditer(data))[:50]:
        run = match.group().translate(bytes.maketrans(b"-_", b"+/"))
        try:
            yield from _gunzip(base64.b64decode(run[: len(run) // 4 * 4]))
        except binascii.Error:
            continue


def _gunzip(data: bytes) -> Iterator[bytes]:
    """As much as can be had: a stream that is cut off says what it said until then."""
    machine = zlib.decompressobj(wbits=31)
    held, total = b"", 0
    while total < MAX_UNPACKED and not machine.eof:
        try:
            piece = machine.decompress(data, WINDOW)
        except zlib.error:
            return
        if not piece:
            return
        data, total = machine.unconsumed_tail, total + len(piece)
        yield held + piece
        held = piece[-OVERLAP:]
