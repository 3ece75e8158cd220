"""What a run was given must not come out of it: found by exact value in twelve encodings, and by the known formats."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from factory.checks.secrets import find_secrets
from factory.vault.run import encodings
from factory.vault.run.encodings import GZIP, SHORTEST, bare, patterns, squeezed, unpacked

RULES = "a known format"
"""In place of an encoding: nothing we gave, but it looks like a secret."""


@dataclass(frozen=True)
class Hit:
    """That a secret stands somewhere; never the secret itself."""

    secret: str
    encoding: str

    def __str__(self) -> str:
        return f"{self.secret} ({self.encoding})"


class Redactor:
    """Knows the values that were handed out to one run. Safe from several threads."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def know(self, name: str, value: bytes) -> None:
        """From now on this value is looked for, under this name."""
        with self._lock:
            self._known[name] = value

    @property
    def longest(self) -> int:
        """Bytes that the longest written form of a known value has; 0 where none is known."""
        forms = (form for value in self._values().values() for some in patterns(value).values() for form in some)
        return max(map(len, forms), default=0)

    def _values(self) -> dict[str, bytes]:
        with self._lock:
            return dict(self._known)

    def find(self, data: bytes, *, rules: bool = False) -> tuple[Hit, ...]:
        """Every known secret in it, however it is written; with ``rules``, also what looks like one."""
        found = dict.fromkeys(self._found(data))
        if rules:
            text = data.decode("utf-8", "replace")
            found |= {Hit(kind, RULES): None for _, kind in find_secrets(text)}
        return tuple(found)

    def _found(self, data: bytes) -> Iterator[Hit]:
        known = self._values()
        if not known:
            return
        views = (data, squeezed(data), bare(data))
        for name, value in known.items():
            for encoding, forms in patterns(value).items():
                if any(_stands(form, views) for form in forms):
                    yield Hit(name, encoding)
        for inner in (text for view in views[:2] for text in unpacked(view)):
            for name, value in known.items():
                if any(form in inner for forms in patterns(value).values() for form in forms):
                    yield Hit(name, GZIP)

    def clean(self, data: bytes) -> bytes:
        """The data with every plainly written form replaced by the secret's name."""
        for name, value in self._values().items():
            forms = sorted((form for some in patterns(value).values() for form in some), key=len, reverse=True)
            for form in forms:
                data = data.replace(form, f"[{name}]".encode())
        return data

    def withheld(self, data: bytes) -> tuple[bytes, tuple[Hit, ...]]:
        """The data cleaned; or nothing of it and the reasons, where something is left that cannot be cut out."""
        cleaned = self.clean(data)
        left = self.find(cleaned)
        return (b"", left) if left else (cleaned, ())


def _stands(form: bytes, views: tuple[bytes, bytes, bytes]) -> bool:
    plain, tight, digits = views
    return form in plain or _in(squeezed(form), tight) or _in(bare(form), digits)


def _in(form: bytes, data: bytes) -> bool:
    return len(form) >= SHORTEST and form in data


class Stream:
    """Cleans what comes in pieces: nothing is given out before it is known that no secret begins in it."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = b""
        self.hits: set[Hit] = set()

    def feed(self, data: bytes) -> bytes:
        """What may be shown now."""
        return self._out(self._held + data, keep=2 * self._redactor.longest)

    def end(self) -> bytes:
        """The rest."""
        return self._out(self._held, keep=0)

    def _out(self, data: bytes, keep: int) -> bytes:
        self.hits |= set(self._redactor.find(data))
        cleaned, left = self._redactor.withheld(data)
        if left:
            self._held = b""
            return b"[withheld: " + ", ".join(map(str, left)).encode() + b"]\n"
        cut = max(0, len(cleaned) - keep)
        self._held = cleaned[cut:]
        return cleaned[:cut]


def together(values: Iterable[str]) -> bytes:
    """Texts as one, so that a secret that was cut in two and put into two of them is seen."""
    pieces = list(values)
    return "\n".join(["".join(pieces), *pieces, "".join(reversed(pieces))]).encode("utf-8", "surrogateescape")


__all__ = ["RULES", "Hit", "Redactor", "Stream", "encodings", "together"]
