"""Taking secrets out of what is kept or shown, and finding them in what must not be kept."""

from __future__ import annotations

import re
from collections.abc import Iterable

MARK = "[redacted]"
SHAPES = re.compile(
    r"sk-ant-[A-Za-z0-9_\-]{16,}|\bsk-(?:proj-)?[A-Za-z0-9_\-]{20,}|\bgh[pousr]_[A-Za-z0-9]{30,}"
    r"|\bgithub_pat_[A-Za-z0-9_]{30,}|\bAKIA[0-9A-Z]{16}\b|\bxox[abprs]-[A-Za-z0-9-]{10,}"
    r"|\bAGE-SECRET-KEY-1[0-9A-Z]{50,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bfgw-[A-Za-z0-9_\-]{30,}"
)
"""Well-known shapes of keys, ours among them."""


class Redactor:
    """Removes the given values and anything shaped like a key. Works on whole, reassembled text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = sorted({value for value in values if len(value) >= 8}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MARK)
        return SHAPES.sub(MARK, text)

    def exact(self, raw: bytes) -> bytes:
        """Only the given values, in bytes on their way to a session (whose text must stay as it is otherwise)."""
        for value in self._values:
            raw = raw.replace(value.encode(), MARK.encode())
        return raw

    def finds(self, text: str) -> bool:
        return self(text) != text
