"""The boundary between a file and a value: strict shapes (pydantic), and their errors as problems people can act on."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from factory.config.described import descriptions
from factory.config.source import Document
from factory.errors import ConfigInvalid, Problem


class Shape(BaseModel):
    """Base of all file shapes: nothing coerced, nothing unknown accepted; field docstrings reach the JSON Schema
    (``described``). A shape's validator is built when a first file is read by it."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


S = TypeVar("S", bound=Shape)


def shaped(
    document: Document, shape: type[S], judged: Callable[[Document], list[Problem]]
) -> tuple[S | None, list[Problem]]:
    """The document as a shape, or every problem at once, by line: its syntax, its shape, and what ``judged`` finds.

    ``judged`` sees the raw data (also of a document with other problems, so that no problem hides another) and must
    expect anything in it. There is a value exactly when there is no problem.
    """
    problems = list(document.problems)
    if document.data is None:
        return None, problems
    value: S | None = None
    try:
        value = shape.model_validate(document.data)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_context=True):
            # After a line was left out, what seems missing probably stands on it.
            if detail["type"] != "missing" or not document.problems:
                problems.append(_problem(document, shape, detail))
    problems += judged(document)
    problems.sort(key=lambda p: p.line or 0)
    return (None if problems else value), problems


def table(data: object, *place: str | int) -> dict[str, Any]:
    """The table at a key path of raw data; empty when there is none."""
    found = _walk(data, place)
    return found if isinstance(found, dict) else {}


def tables(data: object, *place: str | int) -> list[tuple[int, dict[str, Any]]]:
    """The tables in the array at a key path of raw data, with their indexes."""
    found = _walk(data, place)
    return [(n, item) for n, item in enumerate(found) if isinstance(item, dict)] if isinstance(found, list) else []


def texts(data: object, *place: str | int) -> list[tuple[int, str]]:
    """The texts in the array at a key path of raw data, with their indexes."""
    found = _walk(data, place)
    return [(n, item) for n, item in enumerate(found) if isinstance(item, str)] if isinstance(found, list) else []


def _walk(data: object, place: Sequence[str | int]) -> object:
    for part in place:
        if isinstance(data, dict):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


class Findings:
    """Collects problems of one document by key path."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []

    def add(
        self, place: Sequence[str | int], message: str, hint: str | None = None, *, line: int | None = None
    ) -> None:
        """Note a problem at a key path; ``line`` overrides the path's own line."""
        where = self.document.lines.of(place) if line is None else line
        self.problems.append(Problem(self.document.path, where, message, hint))


def refused(path: str, problems: Sequence[Problem]) -> ConfigInvalid:
    """The error that carries all problems of one file."""
    many = f"{len(problems)} problems" if len(problems) != 1 else "1 problem"
    return ConfigInvalid(f"reading {path}: {many}", tuple(problems), hint="correct the lines named above")


def near(word: str, known: Iterable[str]) -> str | None:
    """The known name a person most likely meant, or None."""
    names = sorted(known)
    folded = {name.replace("_", "-").lower(): name for name in names}
    found = get_close_matches(word.replace("_", "-").lower(), folded, 1, 0.6)
    return folded[found[0]] if found else None


def meant(word: str, known: Iterable[str], what: str = "known here") -> str:
    """A hint for an unknown name: the closest known one, else all of them."""
    names = sorted(known)
    guess = near(word, names)
    listed = f"{what}: {', '.join(names) or 'none'}"
    return f'did you mean "{guess}"? {listed}' if guess else listed


def spelled(path: Sequence[str | int]) -> str:
    """A key path as people write it: ``steps[2].needs[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the file"


def _problem(document: Document, shape: type[Shape], detail: ErrorDetails) -> Problem:
    place = tuple(part for part in detail["loc"] if part != "[key]")
    name = spelled(place)
    line = document.lines.of(place)
    kind = detail["type"]
    value = detail["input"]
    known: tuple[str, ...] = ()
    if kind == "missing":
        line = document.lines.of(place[:-1])
        return Problem(document.path, line, f"{name} is missing", _described(shape, place))
    if kind == "extra_forbidden":
        return Problem(document.path, line, f"{name} is not a known key", _misplaced(shape, place))
    if kind == "literal_error":
        known = tuple(str(c) for c in _choices(shape, place))
        hint = meant(value, known, "one of") if isinstance(value, str) else f"one of: {', '.join(known)}"
        return Problem(document.path, line, f"{name} is {_shown(value)}, which it may not be", hint)
    if kind in _WANTED:
        wanted = _WANTED[kind]
        return Problem(document.path, line, f"{name} must be {wanted}, not {_named(value)}", _example(kind, value))
    context = detail.get("ctx", {})
    for bound, words in _BOUNDS.items():
        if bound in context:
            return Problem(document.path, line, f"{name} is {_shown(value)}; it must be {words} {context[bound]}")
    if kind == "value_error":
        return Problem(document.path, line, f"{name} is {_shown(value)}: {context.get('error', detail['msg'])}")
    if kind == "too_long":
        return Problem(document.path, line, f"{name} has too many entries; at most {context.get('max_length')}")
    if kind in ("string_too_short", "too_short"):
        return Problem(document.path, line, f"{name} is empty")
    if kind == "string_too_long":
        return Problem(document.path, line, f"{name} is too long; at most {context.get('max_length')} characters")
    if kind == "string_pattern_mismatch":
        return Problem(document.path, line, f"{name} is {_shown(value)}, which it may not be", _described(shape, place))
    return Problem(document.path, line, f"{name}: {detail['msg'].lower()}", _described(shape, place))


_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "finite_number": "a finite number",
}
_BOUNDS = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}


def _named(value: object) -> str:
    if isinstance(value, bool):
        return f"the truth value {str(value).lower()}"
    if isinstance(value, str):
        return f"the text {_shown(value)}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a table"
    return f"a {type(value).__name__}"


def _shown(value: object) -> str:
    if not isinstance(value, str):
        return str(value)[:80]
    text = value if len(value) <= 60 else value[:57] + "..."
    return '"' + text.encode("unicode_escape").decode("ascii").replace('"', '\\"') + '"'


def _example(kind: str, value: object) -> str | None:
    if kind == "list_type" and isinstance(value, str):
        return f"write a list: [{_shown(value)}]"
    if kind == "string_type" and isinstance(value, int | float):
        return f'write it in quotes: "{str(value).lower()}"'
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return f"write it without quotes: {value}"
    if kind == "bool_type" and isinstance(value, str) and value.lower() in ("true", "false"):
        return f"write it without quotes: {value.lower()}"
    return None


def _misplaced(shape: type[Shape], place: Sequence[str | int]) -> str:
    """Did-you-mean for an unknown key; it may also be a known key that stands in the wrong table."""
    key = str(place[-1])
    here = _table(shape, place[:-1])
    names = _keys(here) if here else []
    if not near(key, names):
        if len(place) > 1 and key in _keys(shape):
            return f'"{key}" belongs to the top of the file, above the first [table]'
        for field in _keys(shape):
            table = _table(shape, (field,))
            if table and table is not here and key in _keys(table):
                return f'"{key}" belongs under [{field}]'
    return meant(key, names)


def _keys(shape: type[BaseModel]) -> list[str]:
    return [info.alias or name for name, info in shape.model_fields.items()]


def _unwrapped(annotation: Any) -> Any:
    """The one interesting member of ``Annotated[X, ...]`` and ``X | None``."""
    while True:
        origin = get_origin(annotation)
        if origin in (Union, types.UnionType):
            annotation = next((a for a in get_args(annotation) if a is not type(None)), None)
        elif hasattr(annotation, "__metadata__"):
            annotation = get_args(annotation)[0]
        else:
            return annotation


def _annotation(shape: type[BaseModel], place: Sequence[str | int]) -> Any:
    """The declared type at a key path, or None."""
    current: Any = shape
    for part in place:
        current = _unwrapped(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            info = next((i for n, i in current.model_fields.items() if (i.alias or n) == part), None)
            current = info.annotation if info else None
        elif get_origin(current) is list and isinstance(part, int):
            current = get_args(current)[0]
        elif get_origin(current) is dict:
            current = get_args(current)[1]
        else:
            return None
    return _unwrapped(current)


def _table(shape: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    found = _annotation(shape, place)
    if get_origin(found) is list:
        found = _unwrapped(get_args(found)[0])
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _choices(shape: type[BaseModel], place: Sequence[str | int]) -> tuple[object, ...]:
    return get_args(_annotation(shape, place))


def _described(shape: type[BaseModel], place: Sequence[str | int]) -> str | None:
    """What the shape says of a field, as a hint; of an item, what it says of the list."""
    while place and isinstance(place[-1], int):
        place = place[:-1]
    table = _table(shape, place[:-1]) if place else None
    for name, info in table.model_fields.items() if table else ():
        if (info.alias or name) == place[-1]:
            return descriptions(table).get(name) or None
    return None
