"""Edits of ops repo files, and what a file must be to be edited and to be written. Pure."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from factory.errors import Problem

Guard = Callable[[str, bytes], Sequence[Problem]]
"""Further checks of new content (a secret scan): path, content -> problems. A problem stops that file's change."""

MAX_FILE = 1_000_000
"""Bytes. The ops repo is read by people and by every tick."""


class CannotEdit(Exception):
    """Raised by an edit that does not understand the file as it is. The file stays; the problem is reported."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


@dataclass(frozen=True)
class Edit:
    """A change of one file as a function of what is there, so that it can be applied again to what somebody else made
    of the file meanwhile. ``apply`` gets None where there is no file, and returns None to have none."""

    path: str
    apply: Callable[[bytes | None], bytes | None]


@dataclass(frozen=True)
class Applied:
    """What edits come to at one tip."""

    changes: Mapping[str, bytes | None]
    """Path -> new content (None: deleted), only where something changes."""
    problems: tuple[Problem, ...]


def apply_edits(
    edits: Sequence[Edit],
    read: Callable[[str], bytes | None],
    guard: Guard | None = None,
    *,
    repair: bool = False,
) -> Applied:
    """All edits on the files as ``read`` shows them; several edits of one path build on each other.

    A file that does not parse as its name says is a problem and stays as it is; so is new content that would not
    parse, is no UTF-8 text, is too large, or that the guard objects to. ``repair``: the edit is a person's, who may
    replace a file that does not parse."""
    before: dict[str, bytes | None] = {}
    after: dict[str, bytes | None] = {}
    problems: list[Problem] = []
    for edit in edits:
        if edit.path not in before:
            try:
                before[edit.path] = read(edit.path)
            except CannotEdit as refusal:
                problems.append(refusal.problem)
                continue
        old = after.get(edit.path, before[edit.path])
        found = parse_problem(edit.path, old) if old is not None and not repair else None
        if found is not None:
            problems.append(found)
            continue
        try:
            new = edit.apply(old)
        except CannotEdit as refusal:
            problems.append(refusal.problem)
            continue
        wrong = content_problems(edit.path, new, guard) if new is not None and new != old else ()
        if wrong:
            problems.extend(wrong)
            continue
        after[edit.path] = new
    changes = {path: data for path, data in after.items() if data != before[path]}
    return Applied(changes, tuple(problems))


def content_problems(path: str, data: bytes, guard: Guard | None) -> Sequence[Problem]:
    """Why this content may not be written to this path; empty when it may."""
    if len(data) > MAX_FILE:
        return (Problem(path, None, f"would have {len(data)} bytes; the ops repo takes {MAX_FILE} per file"),)
    found = parse_problem(path, data)
    if found is not None:
        return (found,)
    return guard(path, data) if guard is not None else ()


def parse_problem(path: str, data: bytes) -> Problem | None:
    """Why this content is not what the file's name promises (TOML, JSON, text), with the line; else None."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return Problem(path, data.count(b"\n", 0, error.start) + 1, "is not UTF-8 text", "a person must repair it")
    suffix = path.rpartition(".")[2].lower()
    hint = "a person must repair it; the factory does not overwrite what it cannot read"
    try:
        if suffix == "toml":
            tomllib.loads(text)
        elif suffix == "json":
            json.loads(text)
    except json.JSONDecodeError as error:
        return Problem(path, error.lineno, f"is not valid JSON: {error.msg}", hint)
    except tomllib.TOMLDecodeError as error:
        return Problem(path, _toml_line(text, error), f"is not valid TOML: {error}", hint)
    except RecursionError:
        return Problem(path, None, "is nested too deeply", hint)
    return None


def _toml_line(text: str, error: tomllib.TOMLDecodeError) -> int:
    # tomllib says "(at line 3, column 5)" or "(at end of document)"; its attributes came with Python 3.14.
    _, found, rest = str(error).rpartition("(at line ")
    number = rest.partition(",")[0]
    return int(number) if found and number.isdigit() else text.count("\n") + 1


def whole(path: str, content: bytes | None) -> Edit:
    """The edit that makes ``content`` the whole file, whatever was there; None deletes it."""

    def apply(_old: bytes | None) -> bytes | None:
        return content

    return Edit(path, apply)
