"""What a session may ask to have done, line by line. Pure; used by ``emit`` inside and again by the host afterwards.

A line is a JSON object with ``kind`` and exactly that kind's fields:

- ``pull`` title, body. Grant ``pull_request`` = true; one.
- ``comment`` body. Grant ``comments`` = {"max"}.
- ``label`` add, remove (lists) on the subject. Grant ``labels`` = [names].
- ``issue`` title, body, labels. Grant ``issues`` = {"max", "labels"}.
- ``refuse`` reason, body. Grant ``refuse`` = true; one, and not beside a pull.
- ``vault`` formula, parameters (text to text). Grant ``vault`` = [formulas]; one of each formula.

Exceeding a grant fails the run (DESIGN section 10), so the host treats every problem found here as a failure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

KINDS = ("pull", "comment", "label", "issue", "refuse", "vault")
REASONS = ("unmet-dependency", "too-large", "already-done", "unclear")

MAX_TITLE = 200
"""Characters of a title."""
MAX_BODY = 60_000
"""Bytes of a body."""
MAX_LABEL = 50
MAX_LABELS = 20
MAX_PARAMETERS = 32
MAX_PARAMETER = 4_096
MAX_LINES = 200
MAX_LINE = 256 * 1024
MAX_FILE = 4 * 1024 * 1024

_FIELDS = {
    "pull": {"title", "body"},
    "comment": {"body"},
    "label": {"add", "remove"},
    "issue": {"title", "body", "labels"},
    "refuse": {"reason", "body"},
    "vault": {"formula", "parameters"},
}


def check_line(line: Mapping[str, Any], grants: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """What is wrong with ``line`` under ``grants``, given how many of each kind came before (see ``count``). Empty:
    nothing.
    """
    kind = line.get("kind")
    if not isinstance(kind, str) or kind not in _FIELDS:
        return [f"unknown kind {_short(kind)}; kinds are {', '.join(KINDS)}"]
    problems = _shape(kind, line)
    if problems:
        return problems
    return [*_content(kind, line), *_granted(kind, line, grants, counts)]


def count(line: Mapping[str, Any], counts: dict[str, int]) -> None:
    """Add a line to ``counts``: its kind, and for the vault also its formula."""
    kind = str(line.get("kind"))
    counts[kind] = counts.get(kind, 0) + 1
    if kind == "vault":
        key = f"vault {line.get('formula')}"
        counts[key] = counts.get(key, 0) + 1


def read(data: bytes, grants: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The valid lines of an ``outbox.jsonl``, and every problem with its line number.

    A last line without its newline was being written when the session ended; it was never confirmed and does not count.
    """
    if len(data) > MAX_FILE:
        return [], [f"the outbox has {len(data)} bytes, more than {MAX_FILE}"]
    lines: list[dict[str, Any]] = []
    problems: list[str] = []
    counts: dict[str, int] = {}
    complete = data.split(b"\n")[:-1]
    if len(complete) > MAX_LINES:
        return [], [f"the outbox has {len(complete)} lines, more than {MAX_LINES}"]
    for number, raw in enumerate(complete, 1):
        try:
            line = json.loads(raw) if len(raw) <= MAX_LINE else None
        except (ValueError, RecursionError):
            line = None
        if not isinstance(line, dict):
            problems.append(f"line {number}: not a JSON object of at most {MAX_LINE} bytes")
            continue
        found = check_line(line, grants, counts)
        problems += [f"line {number}: {text}" for text in found]
        if not found:
            count(line, counts)
            lines.append(line)
    return lines, problems


def clean(text: str) -> str:
    """Text without what no forge takes: NUL, and halves of characters that have no UTF-8 form."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


def left(grants: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, int]:
    """How many of each granted kind may still be asked for; kinds without a number of their own are left out."""
    granted = {kind: maximum for kind in KINDS if (maximum := _maximum(kind, grants))}
    return {kind: max(0, maximum - counts.get(kind, 0)) for kind, maximum in granted.items()}


def _shape(kind: str, line: Mapping[str, Any]) -> list[str]:
    wanted = _FIELDS[kind]
    present = set(line) - {"kind"}
    problems = [f"{kind}: field {_short(name)} is missing" for name in sorted(wanted - present)]
    problems += [f"{kind}: unknown field {_short(name)}" for name in sorted(present - wanted)]
    for name in sorted(wanted & present):
        value = line[name]
        if name in ("add", "remove", "labels"):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            what = "a list of texts"
        elif name == "parameters":
            good = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
            what = "an object of texts"
        else:
            good, what = isinstance(value, str), "a text"
        if not good:
            problems.append(f"{kind}: {name} is not {what}")
    return problems


def _content(kind: str, line: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    for name, text in _texts(line):
        if clean(text) != text:
            problems.append(f"{kind}: {name} holds NUL or broken characters")
    if "title" in line:
        title = str(line["title"])
        if not title.strip():
            problems.append(f"{kind}: title is empty")
        if len(title) > MAX_TITLE:
            problems.append(f"{kind}: title has {len(title)} characters, more than {MAX_TITLE}")
        if any(ord(character) < 32 or ord(character) == 127 for character in title):
            problems.append(f"{kind}: title is not one line of plain text")
    if "body" in line:
        size = len(str(line["body"]).encode("utf-8", "replace"))
        if size > MAX_BODY:
            problems.append(f"{kind}: body has {size} bytes, more than {MAX_BODY}")
        if not str(line["body"]).strip():
            problems.append(f"{kind}: body is empty")
    if kind == "refuse" and line["reason"] not in REASONS:
        problems.append(f"refuse: unknown reason {_short(line['reason'])}; reasons are {', '.join(REASONS)}")
    labels = [*line.get("add", ()), *line.get("remove", ()), *line.get("labels", ())]
    if len(labels) > MAX_LABELS:
        problems.append(f"{kind}: {len(labels)} labels, more than {MAX_LABELS}")
    problems += [
        f"{kind}: label {_short(name)} is longer than {MAX_LABEL} characters"
        for name in labels
        if len(name) > MAX_LABEL
    ]
    if kind == "label" and not labels:
        problems.append("label: nothing to add or remove")
    both = sorted(set(line.get("add", ())) & set(line.get("remove", ())))
    problems += [f"label: {_short(name)} is both added and removed" for name in both]
    if kind == "vault":
        parameters = line["parameters"]
        if len(parameters) > MAX_PARAMETERS:
            problems.append(f"vault: {len(parameters)} parameters, more than {MAX_PARAMETERS}")
        problems += [
            f"vault: parameter {_short(name)} is longer than {MAX_PARAMETER} characters"
            for name, value in parameters.items()
            if len(name) > 100 or len(value) > MAX_PARAMETER
        ]
    return problems


def _granted(kind: str, line: Mapping[str, Any], grants: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    if kind == "label":
        allowed = _names(grants.get("labels"))
        asked = [*line["add"], *line["remove"]]
        return [
            f"label: {_short(name)} is not granted; granted: {_list(allowed)}" for name in asked if name not in allowed
        ]
    if kind == "vault":
        formula = line["formula"]
        if formula not in _names(grants.get("vault")):
            return [f"vault: {_short(formula)} is not granted; granted: {_list(_names(grants.get('vault')))}"]
        return [f"vault: {_short(formula)} was already requested"] if counts.get(f"vault {formula}") else []
    maximum = _maximum(kind, grants)
    if not maximum:
        return [f"{kind}: not granted to this run"]
    problems = []
    if counts.get(kind, 0) >= maximum:
        problems.append(f"{kind}: the limit of {maximum} is reached")
    if kind == "issue":
        issues = grants.get("issues")
        allowed = _names(issues.get("labels") if isinstance(issues, Mapping) else None)
        problems += [
            f"issue: label {_short(name)} is not granted; granted: {_list(allowed)}"
            for name in line["labels"]
            if name not in allowed
        ]
    other = {"pull": "refuse", "refuse": "pull"}.get(kind)
    if other and counts.get(other):
        problems.append(f"{kind}: this session already asked for a {other}; it either posts or refuses")
    return problems


def _maximum(kind: str, grants: Mapping[str, Any]) -> int | None:
    if kind == "pull":
        return 1 if grants.get("pull_request") is True else 0
    if kind == "refuse":
        return 1 if grants.get("refuse") is True else 0
    if kind in ("comment", "issue"):
        grant = grants.get(f"{kind}s")
        maximum = grant.get("max") if isinstance(grant, Mapping) else None
        return maximum if isinstance(maximum, int) and not isinstance(maximum, bool) else 0
    return None


def _texts(line: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in line.items():
        if isinstance(value, str):
            found.append((name, value))
        elif isinstance(value, list):
            found += [(name, item) for item in value]
        elif isinstance(value, dict):
            found += [(name, text) for pair in value.items() for text in pair]
    return found


def _names(value: object) -> tuple[str, ...]:
    return tuple(str(item) for item in value) if isinstance(value, (list, tuple)) else ()


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "nothing"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
