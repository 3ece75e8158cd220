"""Which process is meant: a pid together with the moment it was created, so that a reused pid is never mistaken."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def identity(pid: int) -> float | None:
    """The creation mark of process ``pid``, or None when there is none (a zombie still has one).

    It is the start time in seconds since boot, read from ``/proc/<pid>/stat``: unlike psutil's ``create_time`` it
    does not move when the wall clock is stepped. Compare it only with another ``identity`` of the same boot; across
    boots, keep ``lock.boot_id()`` beside it.
    """
    fields = stat_fields(pid)
    return None if fields is None else int(fields[19]) / _TICKS_PER_S


def stat_fields(pid: int) -> list[str] | None:
    """``/proc/<pid>/stat`` after the command name: [0] state, [1] parent, [2] group, [3] session, [19] start."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The command name stands in parentheses and may itself hold spaces and parentheses: cut at the last one.
    return text[text.rindex(")") + 2 :].split()


def is_alive(pid: int, created: float) -> bool:
    """Whether exactly that process exists and is not a zombie."""
    if identity(pid) != created:
        return False
    fields = stat_fields(pid)
    return fields is None or fields[0] not in ("Z", "X")
