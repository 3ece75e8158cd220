"""Frozen values to JSON and back, strictly, by their own type hints.

One codec for everything the factory writes for itself (journal entries, ``spec.json``, ``result.json``, Worlds): what
a dataclass declares is what a file holds. Unknown and missing fields, wrong types, naive times and non-finite numbers
are errors that name the place (``$.steps[0].id``); a field with a default may be absent, so a new field with a default
keeps old files readable. Documents carry their schema's name and version as their only key:
``{"factory.run/v1": {...}}``.
"""

from __future__ import annotations

import json
import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from pathlib import PurePath
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from factory.errors import FactoryError
from factory.runs.model import RunRecord
from factory.runs.spec import SessionResult, SessionSpec

T = TypeVar("T")

SCHEMAS: Mapping[type, str] = {
    RunRecord: "factory.run/v1",
    SessionSpec: "factory.session-spec/v1",
    SessionResult: "factory.session-result/v1",
}
"""Name and version of each document. A change that old readers would misread gets a new version."""

MAX_DEPTH = 40


class Malformed(FactoryError):
    """A file of the factory's own does not hold what its schema says; the message names the place and the reason."""


def dumps(value: object) -> str:
    """One line of JSON for a document of ``SCHEMAS``: sorted keys, no spaces, ASCII. Equal values give equal bytes."""
    return compact({SCHEMAS[type(value)]: encode(value)})


def compact(data: object) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


def loads(kind: type[T], text: str | bytes) -> T:
    """The document of that kind. Raises Malformed for anything else, also for another version."""
    data = parse_json(text)
    name = SCHEMAS[kind]
    if not isinstance(data, dict) or list(data) != [name]:
        found = ", ".join(sorted(map(str, data)))[:200] if isinstance(data, dict) else type(data).__name__
        raise Malformed(f"reading a document: expected exactly the key {name!r}, found {found or 'nothing'}")
    return decode(kind, data[name])


def parse_json(text: str | bytes) -> object:
    """JSON, strictly: no NaN, no key twice in one object. Raises Malformed."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except RecursionError as error:
        raise Malformed("reading a document: it is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"reading a document: not valid JSON: {error}") from error


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def encode(value: object, where: str = "$", depth: int = 0) -> object:
    """Plain JSON data for a value made of dataclasses, enums, times, paths, mappings with string keys and sequences.
    Sets become sorted lists. Raises Malformed for what could not be read back."""
    if depth > MAX_DEPTH:
        raise Malformed(f"writing {where}: nested deeper than {MAX_DEPTH}")
    match value:
        case None | bool():
            return value
        case Enum():
            return encode(value.value, where, depth)
        case int() | str():
            return value
        case float():
            if not math.isfinite(value):
                raise Malformed(f"writing {where}: {value} is not a finite number")
            # A default of 20 in a float field equals 20.0, so both must have the same bytes.
            return int(value) if value.is_integer() and abs(value) < 2**53 else value
        case datetime():
            if value.tzinfo is None:
                raise Malformed(f"writing {where}: the time {value} has no time zone")
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case PurePath():
            return str(value)
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    raise Malformed(f"writing {where}: the key {key!r} is not text")
            return {str(key): encode(item, f"{where}.{key}", depth + 1) for key, item in value.items()}
        case set() | frozenset():
            items = [encode(item, where, depth + 1) for item in value]
            return sorted(items, key=compact)
        case tuple() | list():
            return [encode(item, f"{where}[{index}]", depth + 1) for index, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name), f"{where}.{f.name}", depth + 1) for f in fields(value)}
    raise Malformed(f"writing {where}: a {type(value).__name__} cannot be written")


def decode(kind: type[T], data: object, where: str = "$") -> T:
    """The value of that type that ``encode`` would write as ``data``. Raises Malformed with the place."""
    return cast(T, _decode(kind, data, where))


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _bad(where: str, expected: str, data: object) -> Malformed:
    return Malformed(f"reading a document: at {where}: expected {expected}, found {_shown(data)}")


def _shown(data: object) -> str:
    return f"{type(data).__name__} {str(data)[:60]!r}"


def _decode(kind: Any, data: object, where: str) -> object:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), data, where)
    if origin is not None:
        return _generic(origin, get_args(kind), data, where)
    if kind is object or kind is Any:
        return _json(data, where)
    if kind is None or kind is type(None):
        if data is not None:
            raise _bad(where, "null", data)
        return None
    if is_dataclass(kind):
        return _dataclass(cast(type, kind), data, where)
    return _scalar(kind, data, where)


def _scalar(kind: Any, data: object, where: str) -> object:
    if kind is float and isinstance(data, int | float) and not isinstance(data, bool):
        return float(data)
    if kind is datetime:
        return _time(data, where)
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(data)
        except ValueError as error:
            raise _bad(where, "one of " + ", ".join(str(item.value) for item in kind), data) from error
    if isinstance(kind, type) and issubclass(kind, PurePath) and isinstance(data, str):
        return kind(data)
    if kind in (int, str, bool) and type(data) is kind:
        return data
    raise _bad(where, getattr(kind, "__name__", str(kind)), data)


def _time(data: object, where: str) -> datetime:
    try:
        value = datetime.fromisoformat(data) if isinstance(data, str) else None
    except ValueError as error:
        raise _bad(where, "a time like 2026-11-21T09:00:00Z", data) from error
    if value is None or value.tzinfo is None:
        raise _bad(where, "a time with its zone, like 2026-11-21T09:00:00Z", data)
    return value.astimezone(UTC)


def _json(data: object, where: str) -> object:
    if isinstance(data, Mapping):
        return {str(key): _json(item, f"{where}.{key}") for key, item in data.items()}
    return [_json(item, where) for item in data] if isinstance(data, list) else data


def _union(options: tuple[Any, ...], data: object, where: str) -> object:
    if data is None and type(None) in options:
        return None
    problems = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _decode(option, data, where)
        except Malformed as error:
            problems.append(error)
    if len(problems) == 1:
        raise problems[0]
    raise _bad(where, "one of " + ", ".join(str(option) for option in options), data)


def _generic(origin: Any, args: tuple[Any, ...], data: object, where: str) -> object:
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(data, Mapping):
            raise _bad(where, "an object", data)
        return {str(key): _decode(args[1], item, f"{where}.{key}") for key, item in data.items()}
    if not isinstance(data, list):
        raise _bad(where, "a list", data)
    if origin is tuple and args[-1] is not Ellipsis:
        if len(data) != len(args):
            raise _bad(where, f"{len(args)} items", data)
        return tuple(_decode(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, data, strict=True)))
    items = [_decode(args[0], item, f"{where}[{index}]") for index, item in enumerate(data)]
    return items if origin is list else origin(items)


def _dataclass(kind: type, data: object, where: str) -> object:
    if not isinstance(data, Mapping):
        raise _bad(where, f"an object ({kind.__name__})", data)
    known = {f.name: f for f in fields(kind)}
    unknown = sorted(set(map(str, data)) - set(known))
    if unknown:
        raise Malformed(f"reading a document: at {where}: unknown fields {', '.join(unknown)[:200]}")
    values: dict[str, object] = {}
    for name, f in known.items():
        if name in data:
            values[name] = _decode(_hints(kind)[name], data[name], f"{where}.{name}")
        elif f.default is MISSING and f.default_factory is MISSING:
            raise Malformed(f"reading a document: at {where}: the field {name} is missing")
    return kind(**values)
