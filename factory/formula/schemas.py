"""Structured answers of agent steps: which schemas there are, and how an answer is found in what was said. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_CHARS = 200_000
"""Of the assistant's text, counted from its end: an answer stands last."""
MAX_TRIES = 2_000


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", defer_build=True)


class _Finding(_Answer):
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,40}$")]
    path: Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,300}$")]
    line: Annotated[int, Field(ge=0, le=10_000_000)]
    """Line in the new file; 0 when the finding is about the whole file."""
    severity: Literal["blocker", "major", "minor"]
    text: Annotated[str, Field(min_length=1, max_length=4_000)]


class _Verdict(_Answer):
    verdict: Literal["approve", "request_changes", "comment"]
    summary: Annotated[str, Field(min_length=1, max_length=6_000)]
    findings: Annotated[list[_Finding], Field(max_length=100)]
    not_read: Annotated[list[Annotated[str, Field(min_length=1, max_length=300)]], Field(max_length=500)]


SCHEMAS: Mapping[str, type[BaseModel]] = {"verdict": _Verdict}
"""Name of a step's ``output`` -> its shape."""


def parse_answer(schema: str, text: str) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """The structured answer in the assistant's text: its last JSON object of that kind, fenced or bare.

    Returns the answer, or None and everything that is wrong with it, in words for the agent. ``schema`` must be
    a key of ``SCHEMAS`` (``load`` sees to it).
    """
    shape = SCHEMAS[schema]
    found = list(_objects(text[-MAX_CHARS:]))
    # Only an object that could be the answer counts: an agent may quote other JSON after it.
    mine = [o for o in found if set(o) & set(shape.model_fields)]
    if not mine:
        fields = ", ".join(shape.model_fields)
        return None, (f"there is no JSON object with the fields {fields} in your last message",)
    raw = mine[-1]
    if isinstance(raw, _Repeated):
        return None, (f'the key "{raw.key}" stands twice in one object',)
    try:
        answer = shape.model_validate(raw)
    except ValidationError as error:
        return None, tuple(_said(e["loc"], e["msg"]) for e in error.errors(include_url=False))
    problems = _contradictions(answer) if isinstance(answer, _Verdict) else ()
    return (None, problems) if problems else (answer.model_dump(), ())


def _contradictions(answer: _Verdict) -> tuple[str, ...]:
    problems = []
    blockers = [f.id for f in answer.findings if f.severity == "blocker"]
    if answer.verdict == "approve" and blockers:
        problems.append(f'verdict is "approve" although {", ".join(blockers)} is a blocker')
    if answer.verdict == "request_changes" and not answer.findings:
        problems.append('verdict is "request_changes" but findings is empty: say what has to change, and where')
    ids = [f.id for f in answer.findings]
    for name in sorted({i for i in ids if ids.count(i) > 1}):
        problems.append(f'two findings have the id "{name}"')
    return tuple(problems)


def _said(loc: tuple[int | str, ...], message: str) -> str:
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in loc).lstrip(".")
    return f"{place or 'the answer'}: {message[:1].lower()}{message[1:]}"


class _Repeated(dict[str, Any]):
    """An object in which a key stands twice: which of the two was meant, nobody can know."""

    key = ""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        for value in made.values():
            for item in value if isinstance(value, list) else (value,):
                if isinstance(item, _Repeated):
                    return _repeated(made, item.key)
        return made
    names = [k for k, _ in pairs]
    return _repeated(made, next(k for k in names if names.count(k) > 1))


def _repeated(made: dict[str, Any], key: str) -> _Repeated:
    marked = _Repeated(made)
    marked.key = key[:60]
    return marked


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Every outermost JSON object in the text, in order; braces that open none are stepped over."""
    decoder = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant)
    at = text.find("{")
    tries = 0
    while at >= 0 and tries < MAX_TRIES:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            tries += 1
            end = at + 1
        else:
            if isinstance(value, dict):
                yield value
        at = text.find("{", end)
