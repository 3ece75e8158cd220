"""Taking secrets out of what is kept or shown, and finding them in what must not be kept."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MARK = "[redacted]"
SHAPES = tuple(
    re.compile(pattern)
    for pattern in (
        r"sk-[A-Za-z0-9_\-]{20,}",
        *(rf"gh{kind}_[A-Za-z0-9]{{30,}}" for kind in "pousr"),
        r"github_pat_[A-Za-z0-9_]{30,}",
        r"AKIA[0-9A-Z]{16}",
        *(rf"xox{kind}-[A-Za-z0-9-]{{10,}}" for kind in "abprs"),
        r"AGE-SECRET-KEY-1[0-9A-Z]{50,}",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----",
        r"fgw-[A-Za-z0-9_\-]{30,}",
    )
)
"""Well-known shapes of keys, ours among them. Each begins with plain letters, so that searching megabytes of a hostile
session's text takes milliseconds; that a key begins a word is checked at the hit."""


class Redactor:
    """Removes the given values and anything shaped like a key. Works on whole, reassembled text."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._values = sorted({value for value in values if len(value) >= 8}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for value in self._values:
            text = text.replace(value, MARK)
        for shape in SHAPES:
            text = shape.sub(_at_word_start, text)
        return text

    def exact(self, raw: bytes) -> bytes:
        """Only the given values, in bytes on their way to a session (whose text must stay as it is otherwise)."""
        for value in self._values:
            raw = raw.replace(value.encode(), MARK.encode())
        return raw

    def deep(self, value: Any) -> Any:
        """Every text in a JSON value, names included. Never the encoded form: ``\\n`` before a key hides its start."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self(name): self.deep(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.deep(item) for item in value]
        return value

    def finds(self, value: Any) -> bool:
        """Whether a JSON value holds something to remove."""
        return bool(self.deep(value) != value)


def _at_word_start(found: re.Match[str]) -> str:
    """``task-force-of-the-twelve`` is not a key."""
    before = found.string[found.start() - 1 : found.start()]
    return found[0] if before.isalnum() else MARK
