"""Ending a process together with everything it started, without ever touching a stranger that reused a pid."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from factory.process.identity import identity, stat_fields

_HARD_LIMIT_S = 1.9
"""Cancel must end a tree within two seconds (DESIGN section 10)."""


@dataclass(frozen=True)
class Tree:
    """A root process, and the mark its descendants carry in their environment (None when unknown)."""

    pid: int
    created: float
    mark: bytes | None


@dataclass(frozen=True)
class _Member:
    pid: int
    created: float


def end_tree(tree: Tree, *, grace_s: float) -> None:
    """SIGTERM to all members, ``grace_s`` seconds to obey, then SIGKILL until none is left or 2 s are over."""
    start = time.monotonic()
    deadline = start + _HARD_LIMIT_S
    known: set[_Member] = set()
    polite_until = start + min(grace_s, 1.0)
    signalled: set[_Member] = set()
    pause = 0.002
    while time.monotonic() < deadline:
        known |= _members(tree, known)
        living = {member for member in known if _is_running(member)}
        if not living:
            return
        polite = time.monotonic() < polite_until
        for member in living:
            if polite and member in signalled:
                continue
            signalled.add(member)
            _send(member, signal.SIGTERM if polite else signal.SIGKILL)
        # Waiting for the members to be gone: their exit cannot be subscribed to, most are not our children.
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def _members(tree: Tree, known: set[_Member]) -> set[_Member]:
    """One look at the process table: root, its group and session, children of members, and bearers of the mark."""
    root_now = identity(tree.pid)
    # While any process still uses the number as its group or session the kernel does not hand it out again. So if the
    # number belongs to a newer process, our group and session are empty and only known members and marks count.
    number_is_ours = root_now is None or root_now == tree.created
    rows: dict[int, tuple[int, bool, float]] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        fields = stat_fields(pid)
        if fields is None:
            continue
        created = identity(pid)
        if created is None or created < tree.created:
            continue
        in_group = number_is_ours and tree.pid in (pid, int(fields[2]), int(fields[3]))
        rows[pid] = (int(fields[1]), in_group or _bears_mark(pid, tree.mark), created)
    found = {pid for pid, (_parent, ours, _created) in rows.items() if ours}
    found |= {member.pid for member in known if member.pid in rows and rows[member.pid][2] == member.created}
    grew = True
    while grew:
        children = {pid for pid, (parent, _ours, _created) in rows.items() if parent in found}
        grew = not children <= found
        found |= children
    return {_Member(pid, rows[pid][2]) for pid in found if pid != os.getpid()}


def _bears_mark(pid: int, mark: bytes | None) -> bool:
    if mark is None:
        return False
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _is_running(member: _Member) -> bool:
    fields = stat_fields(member.pid)
    return fields is not None and fields[0] not in ("Z", "X") and identity(member.pid) == member.created


def _send(member: _Member, number: signal.Signals) -> None:
    try:
        pidfd = os.pidfd_open(member.pid)
    except OSError:
        return
    try:
        # Checked after opening: the descriptor then cannot mean a later process of the same number.
        if identity(member.pid) == member.created:
            signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return  # gone, or it changed its user: the caller's deadline bounds how long we try
    finally:
        os.close(pidfd)
