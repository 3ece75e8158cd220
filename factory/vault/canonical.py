"""Texts and files of the vault in the one form that counts: strict TOML in; canonical TOML, JSON and digests out; what
may stand in a value.

Part of the trusted part. A file that counts must be byte for byte what ``toml`` writes for what it says: then no two
parsers can read it differently, and what a reviewer sees is all there is (vault-security.md, attacks 19 to 22).
"""

import hashlib
import json
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

MAX_BYTES = 16 * 1024
MAX_INT = 2**53
_ONE = rb'(?:-?[0-9]+|true|false|[0-9TZ:-]{20}|"(?:[^"\\]|\\["\\])*")'
_LINE = re.compile(rb"|\[[a-z][a-z0-9_]*\]|[a-z][a-z0-9_]* = (?:%s|\[(?:%s(?:, %s)*)?\])" % (_ONE, _ONE, _ONE))
ANY = re.compile(r"(?s).*")
_KINDS = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_BLANKS = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x180E),
                              *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))  # fmt: skip


class Refused(Exception):
    """The vault says no: ``code`` is a fixed word, ``words`` say it to a person."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code}: {words}")
        self.code, self.words = code, words


class Unclear(Exception):
    """What is needed cannot be had now (forge, network, disk): nothing starts, and it is asked again."""


def must(good: object, code: str, words: str) -> None:
    """Raises Refused unless it is so."""
    if not good:
        raise Refused(code, words)


def named(accounts: Iterable[int]) -> str:
    """Accounts in words, by their ids."""
    return f"account {', '.join(map(str, sorted(accounts)))}"


def trouble(text: str, limit: int) -> str | None:
    """Why a text could mislead who reads it, or None: control, invisible or unassigned characters, a form that is not
    Unicode's composed one (NFC), more than ``limit`` characters."""
    if len(text) > limit:
        return f"has {len(text)} characters, more than {limit}"
    for char in text:
        if unicodedata.category(char) in _KINDS or char in _BLANKS or (char.isspace() and char != " "):
            return f"holds the character U+{ord(char):04X}, which a reader does not see"
    return None if unicodedata.normalize("NFC", text) == text else "is not in Unicode's composed form (NFC)"


def plain(text: str, limit: int = 500) -> str:
    """The text as it may stand in a file: what ``trouble`` refuses replaced, what is too long cut."""
    shown = unicodedata.normalize("NFC", text)
    shown = "".join("?" if trouble(c, 1) and not unicodedata.combining(c) else c for c in shown.replace("\n", " "))
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def load(data: bytes, *, limit: int = MAX_BYTES) -> dict[str, Any]:
    """The TOML file as plain values. Each line must have a form that ``toml`` writes, which keeps dotted keys, comments
    and nesting (slow or ambiguous elsewhere) from ever reaching the parser. Raises Refused."""
    must(len(data) <= limit, "too-large", f"it has {len(data)} bytes, more than {limit}")
    for number, line in enumerate(data.split(b"\n"), 1):
        must(_LINE.fullmatch(line), "not-canonical", f"line {number} is not in the form the factory writes")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except ValueError as error:
        utf8 = not isinstance(error, UnicodeDecodeError)
        raise Refused("not-toml" if utf8 else "not-utf8", plain(str(error), 200)) from None


def toml(values: Mapping[str, Any]) -> bytes:
    """Values as TOML in the one form: keys as they come, tables last. Raises TypeError for what has no such form."""
    lines = [f"{key} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{k} = {_value(v)}" for k, v in value.items())]
    return ("\n".join(lines) + "\n").encode()


def _value(value: object) -> str:
    if isinstance(value, bool | int | str):  # what JSON escapes and ``load`` refuses stands in no file that counts
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, list | tuple) and not any(isinstance(item, list | tuple | Mapping) for item in value):
        return "[" + ", ".join(map(_value, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no canonical TOML form")


def stamp(moment: datetime) -> str:
    """A moment in UTC to the second."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(value: object) -> datetime | None:
    """A TOML moment that is in UTC and whole seconds; None for anything else."""
    good = isinstance(value, datetime) and value.tzinfo is not None and value.utcoffset() == UTC.utcoffset(None)
    return value.astimezone(UTC) if good and isinstance(value, datetime) and not value.microsecond else None


def json_bytes(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


# A form says in a table what may stand in a value. It is a pattern (a text that all of it matches), a range (a whole
# number), a set (one of these texts), a type, a list of one form (any number of such), a mapping (a table with these
# keys and no other; a key ending in ``?`` may be absent), or a pair of pattern and form (a table with any such keys).


def fits(value: object, form: Any) -> bool:
    """Whether the value is of the form."""
    return not wrong(value, form)


def wrong(value: object, form: Any, at: str = "it") -> list[str]:
    """Everything that is not of its form, in words with its place; empty: all is."""
    good: object
    beginning = "" if at == "it" else f"{at}."
    if isinstance(form, re.Pattern):
        good, words = isinstance(value, str) and form.fullmatch(value), "text of its form"
    elif isinstance(form, range):
        good = isinstance(value, int) and not isinstance(value, bool) and form.start <= value < form.stop
        words = f"a whole number from {form.start} to {form.stop - 1}"
    elif isinstance(form, frozenset):
        good, words = isinstance(value, str) and value in form, f"one of {', '.join(sorted(form))}"
    elif isinstance(form, type):
        good, words = isinstance(value, form), {bool: "true or false", str: "text"}.get(form, "a table")
    elif isinstance(form, list) and isinstance(value, list):
        return [why for number, item in enumerate(value) for why in wrong(item, form[0], f"{at}[{number}]")]
    elif isinstance(form, list):
        good, words = False, "a list"
    elif not isinstance(value, dict):
        good, words = False, "a table"
    elif isinstance(form, tuple):
        bad = [f"{beginning}{str(key)[:60]!r} is no name of its form" for key in value if not fits(key, form[0])]
        return bad + [why for key, item in value.items() for why in wrong(item, form[1], f"{beginning}{str(key)[:60]}")]
    else:
        known: Mapping[str, Any] = {key.removesuffix("?"): inner for key, inner in form.items()}
        bad = [f"{beginning}{key} is missing" for key in form if not key.endswith("?") and key not in value]
        bad += [f"{beginning}{str(key)[:60]} is unknown" for key in value if key not in known]
        both = known.keys() & value.keys()
        return bad + [why for key in both for why in wrong(value[key], known[key], f"{beginning}{key}")]
    return [] if good else [f"{at} must be {words}"]


def table(data: bytes, limit: int, form: Any, code: str) -> dict[str, Any]:
    """A TOML file that an admin's approval stands for, as plain values of its form. Raises Refused with ``code`` and
    all that is wrong."""
    must(len(data) <= limit, code, f"it has {len(data)} bytes, more than {limit}")
    try:
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refused(code, f"not TOML: {str(error)[:200]}") from None
    bad = sorted(wrong(values, form))
    must(not bad, code, "; ".join(bad)[:2000])
    return values
