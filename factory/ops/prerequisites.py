"""The prerequisite tree as the dashboard counts it: objectives, what is done of them, their status. Pure.

Reads ``prerequisites.md`` as DESIGN section 7 describes it and changes nothing; what it does not know it skips.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PATH = "prerequisites.md"
_OBJECTIVE = re.compile(r"##\s+Objective:\s*(.+?)\s*$")
_ITEM = re.compile(r"\s*[-*]\s+\[([ xX])\]\s+\S")
_STATUS = re.compile(r"Status:\s*(.+?)\s*$")
_FENCE = re.compile(r"\s*(```|~~~)")


@dataclass(frozen=True)
class Objective:
    """One objective of the prerequisite tree: its items, counted, and its status word."""

    name: str
    done: int
    total: int
    status: str
    """As written after ``Status:``; empty when there is none."""

    @property
    def blocked(self) -> bool:
        return self.status.upper().startswith("BLOCKED")


def objectives(text: str) -> tuple[Objective, ...]:
    """The objectives in the order of the file. Headings that are none end the objective before them; comments and code
    are no part of the tree."""
    found: list[Objective] = []
    name: str | None = None
    done = total = 0
    status = ""
    fenced = False
    lines = re.sub(r"<!--.*?(-->|\Z)", "", text, flags=re.DOTALL).splitlines()
    for line in [*lines, "## end"]:
        if _FENCE.match(line):
            fenced = not fenced
        if fenced and line != "## end":
            continue
        if line.startswith("## "):
            if name is not None:
                found.append(Objective(name, done, total, status))
            heading = _OBJECTIVE.fullmatch(line)
            name, done, total, status = (heading[1] if heading else None), 0, 0, ""
        elif item := _ITEM.match(line):
            total += 1
            done += item[1] != " "
        elif said := _STATUS.fullmatch(line):
            status = said[1]
    return tuple(found)
