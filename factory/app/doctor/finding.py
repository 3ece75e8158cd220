"""What ``doctor`` says of one thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Whether it is as it should be."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; not wrong."""
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """``hint``: what to do; a command in it is a real one."""

    area: str
    name: str
    state: State
    detail: str
    hint: str | None = None


def ok(area: str, name: str, detail: str) -> Finding:
    return Finding(area, name, State.OK, detail)


def note(area: str, name: str, detail: str, hint: str | None = None) -> Finding:
    return Finding(area, name, State.NOTE, detail, hint)


def problem(area: str, name: str, detail: str, hint: str | None = None) -> Finding:
    return Finding(area, name, State.PROBLEM, detail, hint)
