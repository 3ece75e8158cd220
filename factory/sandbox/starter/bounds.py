"""What one sandbox may use: a cgroup where one can be made, else limits per process and a look at the whole tree."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable
from typing import Any

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GROUP = "factory-sandbox-"


class Cgroup:
    """A version 2 control group with its bounds set. ``join`` uses rights held when it was made, so it works after the
    drop.
    """

    def __init__(self, path: str, procs: int) -> None:
        self.path = path
        self._procs = procs

    def killed_for_memory(self) -> bool:
        """Whether the kernel ended processes in it because its memory was used up."""
        try:
            with open(f"{self.path}/memory.events", encoding="ascii") as source:
                events = dict(line.split() for line in source)
        except (OSError, ValueError):
            return False
        return int(events.get("oom_kill", 0)) > 0

    def join(self) -> None:
        """Move the calling process into it."""
        os.write(self._procs, b"0")


def make_cgroup(memory_bytes: int, pids: int, *, root: str = "/sys/fs/cgroup", own: str | None = None) -> Cgroup | None:
    """A new group below ours or beside it, or None where that is not allowed (no version 2, not delegated)."""
    here = own if own is not None else _own_cgroup()
    if here is None or not os.path.exists(f"{root}/cgroup.controllers"):
        return None
    parents = [root + here.rstrip("/")]
    if here.strip("/"):
        # A group with processes of its own can hand out no controllers, so ours usually cannot; the one above may.
        parents.append(os.path.dirname(parents[0]))
    for parent in parents:
        path = f"{parent}/{_GROUP}{os.getpid()}"
        try:
            _sweep(parent)
            _hand_down(parent)
            os.mkdir(path)
        except OSError:
            continue
        try:
            _write(f"{path}/memory.max", str(memory_bytes))
            _write(f"{path}/pids.max", str(pids))
            if os.path.exists(f"{path}/memory.swap.max"):
                _write(f"{path}/memory.swap.max", "0")
            _write(f"{path}/memory.oom.group", "1")
            return Cgroup(path, os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        except OSError:
            os.rmdir(path)
    return None


def _own_cgroup() -> str | None:
    with open("/proc/self/cgroup", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("0::"):
                return line[3:].strip()
    return None


def _hand_down(parent: str) -> None:
    with open(f"{parent}/cgroup.subtree_control", encoding="ascii") as source:
        missing = {"memory", "pids"} - set(source.read().split())
    if missing:
        _write(f"{parent}/cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(missing)))


def _sweep(parent: str) -> None:
    """Remove groups whose sandbox has ended: nobody was left to do it."""
    for name in os.listdir(parent):
        # Its starter still lives: the group may be empty only because nobody has joined yet.
        if name.startswith(_GROUP) and not os.path.exists(f"/proc/{name.removeprefix(_GROUP)}"):
            try:
                os.rmdir(f"{parent}/{name}")
            except OSError:
                continue  # still in use


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def limit_process(limits: dict[str, Any], *, count_processes: bool) -> None:
    """Limits that children inherit. ``count_processes``: our user id is the sandbox's alone, so counting by user is
    right.
    """
    wanted = {
        # 1 and not 0: a core_pattern that starts a program ignores every limit but this one (core(5), do_coredump).
        resource.RLIMIT_CORE: 1,
        resource.RLIMIT_FSIZE: limits["file_bytes"],
        resource.RLIMIT_NOFILE: 4096,
        resource.RLIMIT_MEMLOCK: 8 << 20,
        resource.RLIMIT_MSGQUEUE: 819200,
    }
    if limits["cpu_s"] is not None:
        wanted[resource.RLIMIT_CPU] = limits["cpu_s"]
    if count_processes:
        wanted[resource.RLIMIT_NPROC] = limits["pids"]
    for which, value in wanted.items():
        _soft, hard = resource.getrlimit(which)
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (most, most))


def prefer_for_oom() -> None:
    """When the machine runs out of memory all the same, the sandbox goes first. Before the drop: then /proc/self is
    root's.
    """
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
        score.write("1000")


class Watch:
    """Looks at what cannot be limited up front: the memory of the tree, the room on the disks it writes to."""

    def __init__(self, memory_bytes: int | None, disks: Iterable[str], floor_bytes: int) -> None:
        self._memory = memory_bytes
        self._disks = tuple(disks)
        self._floor = floor_bytes

    def disk_trouble(self) -> str | None:
        """Why writing must stop, or None."""
        for path in self._disks:
            room = os.statvfs(path)
            if room.f_bavail * room.f_frsize < self._floor:
                return f"less than {self._floor >> 20} MiB are left on the disk of its folders"
            if room.f_files and room.f_favail < 1000:
                return "fewer than 1000 files can still be created on the disk of its folders"
        return None

    def memory_trouble(self, root: int) -> str | None:
        """Whether ``root`` and its descendants use more memory than allowed (anonymous and shared, without file
        pages).
        """
        if self._memory is None:
            return None
        members = descendants(root)
        rough = sum(_resident(pid) for pid in members)
        if rough <= self._memory:
            return None
        # Pages shared after fork were counted once for each process; the exact figure is dear, so it is only asked for
        # now.
        exact = sum(_proportional(pid) for pid in members)
        if exact <= self._memory:
            return None
        return f"its processes use {exact >> 20} MiB of memory, more than the {self._memory >> 20} MiB allowed"


def descendants(root: int) -> list[int]:
    """``root`` and all below it, from one look at the process table."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as source:
                text = source.read()
        except OSError:
            continue
        parent = int(text[text.rindex(b")") + 2 :].split(b" ", 2)[1])
        children.setdefault(parent, []).append(int(name))
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, ())
    return found


def pid_inside(pid: int) -> int | None:
    """The number a process has in its own pid namespace; None when it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as source:
            lines = source.read().splitlines()
    except OSError:
        return None
    return next((int(line.split()[-1]) for line in lines if line.startswith(b"NSpid:")), None)


def _resident(pid: int) -> int:
    values = {b"RssAnon": 0, b"RssShmem": 0}
    for key, value in _kilobytes(f"/proc/{pid}/status"):
        if key in values:
            values[key] = value
    return sum(values.values())


def _proportional(pid: int) -> int:
    exact = sum(value for key, value in _kilobytes(f"/proc/{pid}/smaps_rollup") if key in (b"Pss_Anon", b"Pss_Shmem"))
    return exact or _resident(pid)


def _kilobytes(path: str) -> list[tuple[bytes, int]]:
    try:
        with open(path, "rb") as source:
            lines = source.read().splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines if line.endswith(b" kB")]
    return [(row[0].rstrip(b":"), int(row[1]) << 10) for row in rows if len(row) == 3]
