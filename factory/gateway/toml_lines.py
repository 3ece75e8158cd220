"""Line numbers in a TOML file, which ``tomllib`` does not keep: enough for tables, arrays of tables and their keys."""

from __future__ import annotations

import re
from collections.abc import Sequence

_HEADER = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_\-.\"' ]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_\-]+|\"[^\"]+\"|'[^']+')\s*(?:\.|=)")

Place = tuple[str | int, ...]


class Lines:
    """Where each table and key of ``source`` (valid TOML) begins."""

    def __init__(self, source: str) -> None:
        self._lines: dict[Place, int] = {}
        self._counts: dict[Place, int] = {}
        here: Place = ()
        closing: str | None = None
        for number, line in enumerate(source.splitlines(), 1):
            if closing is not None:
                # Inside a multi-line string nothing is a header; its text may well look like one.
                rest = line.split(closing, 1)
                closing = None if len(rest) == 2 else closing
                continue
            if header := _HEADER.match(line):
                here = self._enter([part.strip(" \"'") for part in header[2].split(".")], header[1] == "[[")
                self._lines.setdefault(here, number)
            elif key := _KEY.match(line):
                self._lines.setdefault((*here, key[1].strip("\"'")), number)
            closing = _opens(line)

    def of(self, place: Sequence[str | int]) -> int | None:
        """The line of ``place``, or of the nearest table around it."""
        for size in range(len(place), 0, -1):
            if (line := self._lines.get(tuple(place[:size]))) is not None:
                return line
        return None

    def _enter(self, names: list[str], is_array: bool) -> Place:
        place: Place = ()
        for n, name in enumerate(names):
            place = (*place, name)
            if n == len(names) - 1 and is_array:
                self._counts[place] = self._counts.get(place, -1) + 1
            if place in self._counts:
                place = (*place, self._counts[place])
        return place


def _opens(line: str) -> str | None:
    """The quotes that close a multi-line string left open on this line."""
    n = 0
    while n < len(line):
        for quotes in ('"""', "'''"):
            if line.startswith(quotes, n):
                end = line.find(quotes, n + 3)
                if end < 0:
                    return quotes
                n = end + 2
                break
        else:
            if line[n] in "\"'":
                quote = line[n]
                n += 1
                while n < len(line) and line[n] != quote:
                    n += 2 if line[n] == "\\" and quote == '"' else 1
            elif line[n] == "#":
                return None
        n += 1
    return None
