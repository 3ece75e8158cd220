"""TOML text with its lines: reading that finds every syntax error it can, and a locator from key path to line.

Neither tomllib nor tomlkit says where a key stands, and a problem without a line is one somebody has to search for.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from factory.errors import Problem

KeyPath = tuple[str | int, ...]

MAX_BYTES = 1_000_000
"""No file a person writes by hand is larger; beyond it reading costs more than it says."""

_PLAIN_PAIR = re.compile(r"""\s*[A-Za-z0-9_"'][^=\[\]{}]*=""")
_AT_LINE = re.compile(r" ?\(at line (\d+), column (\d+)\)$")


@dataclass(frozen=True)
class Lines:
    """Where things stand in one TOML text. Lines count from 1."""

    marks: Mapping[KeyPath, int] = field(default_factory=dict)
    starts: Mapping[KeyPath, int] = field(default_factory=dict)
    """First line of the *content* of a string value (a multi-line string starts below its opening quotes)."""
    last: int = 1

    def of(self, path: Sequence[str | int]) -> int:
        """Line of a key path, or of the nearest table or array around it; 1 for the file itself."""
        wanted = tuple(path)
        while wanted:
            if wanted in self.marks:
                return self.marks[wanted]
            wanted = wanted[:-1]
        return 1

    def within(self, path: Sequence[str | int], line: int) -> int:
        """Line of the file that is line ``line`` (from 1) of the string value at ``path``."""
        start = self.starts.get(tuple(path), self.of(path))
        return min(start + max(line, 1) - 1, self.last)


@dataclass(frozen=True)
class Document:
    """One TOML file as read: its data (None: nothing usable), its lines and its syntax problems."""

    path: str
    data: dict[str, Any] | None
    lines: Lines
    problems: tuple[Problem, ...]


def read(text: bytes, path: str) -> Document:
    """Decode and parse; a broken ``key = value`` line is noted and left out, so that one typo hides no other.

    When anything was left out, ``data`` is only good for finding further problems, never for use.
    """
    if len(text) > MAX_BYTES:
        why = f"the file has {len(text):,} bytes; at most {MAX_BYTES:,} are read"
        return Document(path, None, Lines(), (Problem(path, 1, why),))
    try:
        source = text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        wrong = Problem(path, line, f"byte 0x{text[error.start]:02x} is not UTF-8", "save the file as UTF-8")
        return Document(path, None, Lines(), (wrong,))
    rows = source.replace("\r\n", "\n").split("\n")
    last = max(len(rows) - (rows[-1] == "" and len(rows) > 1), 1)
    problems: list[Problem] = []
    for _ in range(20):
        try:
            data = tomllib.loads("\n".join(rows))
        except tomllib.TOMLDecodeError as error:
            line, words = _where(str(error), last)
            line, hint, is_alone = _advice(rows, line, words)
            problems.append(Problem(path, line, f"not valid TOML: {words}", hint))
            if not is_alone:
                return Document(path, None, Lines(last=last), tuple(problems))
            rows[line - 1] = ""
        except RecursionError:
            deep = Problem(path, 1, "not valid TOML: nested too deeply", "no file of the factory nests that much")
            return Document(path, None, Lines(last=last), (*problems, deep))
        else:
            return Document(path, data, _locate("\n".join(rows), last), tuple(problems))
    return Document(path, None, Lines(last=last), tuple(problems))


def _where(message: str, last: int) -> tuple[int, str]:
    found = _AT_LINE.search(message)
    if found is None:
        return last, message.replace(" (at end of document)", ", at the end of the file").lower()
    words = message[: found.start()]
    return min(int(found[1]), last), f"{words[:1].lower()}{words[1:]} (column {found[2]})"


def _advice(rows: Sequence[str], line: int, words: str) -> tuple[int, str | None, bool]:
    """The line that is really meant, a hint, and whether the mistake is that line's alone.

    An open bracket, an open text or a broken header changes the meaning of all that follows: what comes after it could
    only be guessed, and is not judged.
    """
    row = rows[line - 1]
    if words.startswith("unclosed"):
        opened = next((n for n in range(line, 0, -1) if re.search(r"=\s*[\[{]", rows[n - 1])), line)
        return line, f"what opens in line {opened} lacks a closing bracket, or a comma between two entries", False
    if words.startswith("expected") and words.endswith("end of the file"):
        marks = [n for n, text in enumerate(rows, 1) if (text.count('"""') + text.count("'''")) % 2]
        where = f"the long text that opens in line {marks[-1]} is not closed" if marks else None
        return marks[-1] if marks else line, where, False
    if words.startswith("expected '=' after a key"):
        return line, "write key = value, or begin a comment with #", not any(q in row for q in "\"'[]{}")
    is_pair = _PLAIN_PAIR.match(row) is not None
    if "overwrite" in words or "twice" in words:
        return line, "a key or table may be given only once", is_pair
    if not is_pair:
        return line, None, False
    value = row.partition("=")[2].strip()
    if any(q in value for q in "“”„‘’"):
        return line, "use straight quotes", True
    if words.startswith("illegal character '\\n'"):
        return line, "the text is not closed on its line", True
    if words.startswith("unescaped"):
        return line, "write the backslash twice, or put the text in single quotes", True
    if value.lower() in ("true", "false", "yes", "no", "on", "off"):
        return line, "write true or false", True
    if re.fullmatch(r"[A-Za-z][^\"'\[{]*", value) and value not in ("inf", "nan"):
        return line, f'write text in quotes: "{value}"', True
    return line, None, True


def _locate(source: str, last: int) -> Lines:
    scanner = _Scanner(source)
    try:
        scanner.document()
    except (RecursionError, IndexError):
        # Only reached by text stranger than any file of ours; the marks found so far still help.
        pass
    return Lines(scanner.marks, scanner.starts, last)


class _Scanner:
    """A walk over text that tomllib already accepted, which therefore need not judge it, only say where keys stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.marks: dict[KeyPath, int] = {}
        self.starts: dict[KeyPath, int] = {}
        self._breaks = [i for i, c in enumerate(text) if c == "\n"]
        self._counts: dict[KeyPath, int] = {}

    def document(self) -> None:
        prefix: KeyPath = ()
        while True:
            self._blank()
            if self.at >= len(self.text):
                return
            if self.text[self.at] == "[":
                prefix = self._header()
            else:
                self._pair(prefix)

    def _line(self, at: int | None = None) -> int:
        return bisect_right(self._breaks, (self.at if at is None else at) - 1) + 1

    def _blank(self) -> None:
        """Skip white space, newlines and comments."""
        text, end = self.text, len(self.text)
        while self.at < end:
            if text[self.at] in " \t\r\n":
                self.at += 1
            elif text[self.at] == "#":
                stop = text.find("\n", self.at)
                self.at = end if stop < 0 else stop
            else:
                return

    def _mark(self, path: KeyPath, line: int) -> None:
        for size in range(1, len(path) + 1):
            self.marks.setdefault(path[:size], line)

    def _header(self) -> KeyPath:
        line = self._line()
        many = self.text.startswith("[[", self.at)
        self.at += 2 if many else 1
        keys = self._key()
        self._blank()
        self.at += 2 if many else 1
        path: KeyPath = ()
        for n, key in enumerate(keys):
            path = (*path, key)
            if path in self._counts and not (many and n == len(keys) - 1):
                path = (*path, self._counts[path] - 1)
        if many:
            index = self._counts.get(path, 0)
            self._counts[path] = index + 1
            path = (*path, index)
        self._mark(path, line)
        # A table named before only through its children gets the line of its own header.
        self.marks[path] = line
        return path

    def _key(self) -> list[str]:
        """A dotted key up to (not including) ``=`` or ``]``."""
        keys: list[str] = []
        while True:
            self._blank()
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
                keys.append(tomllib.loads(f"k = {self.text[start : self.at]}")["k"])
            else:
                while self.text[self.at] not in " \t.=]":
                    self.at += 1
                keys.append(self.text[start : self.at])
            self._blank()
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _pair(self, prefix: KeyPath) -> None:
        line = self._line()
        path = prefix + tuple(self._key())
        self._mark(path, line)
        self.marks[path] = line
        self._blank()
        self.at += 1  # =
        self._blank()
        self._value(path)

    def _value(self, path: KeyPath) -> None:
        opening = self.text[self.at]
        if opening in "\"'":
            start = self.at
            self._string()
            below = self.text.startswith((opening * 3 + "\n", opening * 3 + "\r\n"), start)
            self.starts[path] = self._line(start) + (1 if below else 0)
        elif opening in "[{":
            self.at += 1
            index = 0
            while True:
                self._blank()
                if self.text[self.at] in "]}":
                    self.at += 1
                    return
                if opening == "{":
                    self._pair(path)
                else:
                    self.marks[(*path, index)] = self._line()
                    self._value((*path, index))
                    index += 1
                self._blank()
                if self.text[self.at] == ",":
                    self.at += 1
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}\n#":
                self.at += 1

    def _string(self) -> None:
        """Step over one string of any of the four kinds."""
        text, quote = self.text, self.text[self.at]
        long = text.startswith(quote * 3, self.at)
        closing = quote * 3 if long else quote
        self.at += len(closing)
        while not text.startswith(closing, self.at):
            self.at += 2 if quote == '"' and text[self.at] == "\\" else 1
        self.at += len(closing)
        if long:  # a long string may end in up to two quotes of its own
            for _ in range(2):
                if self.at < len(text) and text[self.at] == quote:
                    self.at += 1
