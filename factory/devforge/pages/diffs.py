"""A unified diff as lines with numbers. Hunks are read by the counts in their headers, so that no content of a file can
pass for structure. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from factory.git.values import PathChange

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@ ?(.*)", re.DOTALL)
MAX_LINE = 2000


@dataclass(frozen=True)
class Line:
    """``kind`` is add, del, same, hunk or note; the numbers are None where the line is not in that file."""

    kind: str
    old: int | None
    new: int | None
    text: str


@dataclass
class FileDiff:
    """``cut`` when the rest of the file's diff was left out."""

    change: PathChange
    lines: list[Line] = field(default_factory=list)
    cut: bool = False
    mode: str = ""
    """``100644 → 100755`` where it changed."""


def read(text: str, changes: Sequence[PathChange]) -> list[FileDiff]:
    """One entry per change, in the same order. Names are taken from ``changes``, never from the text."""
    found = [FileDiff(change) for change in changes]
    rows = text.split("\n")
    index, at = -1, 0
    while at < len(rows):
        row = rows[at]
        hunk = _HUNK.fullmatch(row) if 0 <= index < len(found) else None
        if row.startswith("diff --git "):
            index += 1
            at += 1
        elif hunk is not None:
            at = _hunk(found[index], hunk, rows, at)
        else:
            if 0 <= index < len(found):
                _header(found[index], row)
            at += 1
    if rows[-2:-1] and rows[-2].startswith("[diff cut at "):
        for one in found[max(index, 0) :]:
            one.cut = True
    return found


def _header(file: FileDiff, row: str) -> None:
    if row.startswith("old mode "):
        file.mode = row.removeprefix("old mode ")
    elif row.startswith("new mode "):
        file.mode = f"{file.mode} → {row.removeprefix('new mode ')}"


def _hunk(file: FileDiff, hunk: re.Match[str], rows: list[str], at: int) -> int:
    """Read one hunk; returns the index after it."""
    old, new = int(hunk[1]), int(hunk[3])
    left, right = int(hunk[2] or 1), int(hunk[4] or 1)
    file.lines.append(Line("hunk", None, None, hunk[5][:200]))
    at += 1
    while at < len(rows) and (left > 0 or right > 0 or rows[at].startswith("\\ ")):
        sign, body = rows[at][:1], rows[at][1:]
        if len(body) > MAX_LINE:
            body = f"{body[:MAX_LINE]} … {len(body) - MAX_LINE:,} more characters"
        if sign == "+" and right > 0:
            file.lines.append(Line("add", None, new, body))
            new, right = new + 1, right - 1
        elif sign == "-" and left > 0:
            file.lines.append(Line("del", old, None, body))
            old, left = old + 1, left - 1
        elif sign == "\\":
            file.lines.append(Line("note", None, None, "no newline at the end of the file"))
        elif sign == " " and left > 0 and right > 0:
            file.lines.append(Line("same", old, new, body))
            old, new, left, right = old + 1, new + 1, left - 1, right - 1
        else:
            break  # the diff was cut here
        at += 1
    return at
