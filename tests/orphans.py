"""What tests started ends with them, also when the suite itself is killed.

Run as a program it watches one process of the suite, learns its folders from standard input, and once that process is
gone ends by force what still runs for one of them. Services are meant to outlive whoever started them, so neither a
death signal nor a process group reaches them; their folder does.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

ROUNDS = 20
PAUSE_S = 0.1
STARTING = 50
"""Milliseconds that a process may take from its program to its arguments."""


class Watcher:
    """The watching process, started by the one it watches. ``add`` names a folder of the suite's."""

    def __init__(self) -> None:
        self._child = subprocess.Popen(
            [sys.executable, "-I", __file__, str(os.getpid()), str(os.getsid(0))], stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, env={}, cwd="/", start_new_session=True,
        )  # fmt: skip

    def add(self, folder: str) -> None:
        """What names this folder is ours."""
        assert self._child.stdin is not None
        os.write(self._child.stdin.fileno(), os.fsencode(folder) + b"\n")

    def quiet(self) -> None:
        """It goes on when the interpreter ends, and no warning is due for that."""
        self._child.returncode = 0


def running_for(folders: Collection[str], session: int) -> dict[int, str]:
    """Process id -> command line of each process whose environment or arguments name one of the folders. One that a
    person looks into a folder with, at a terminal of another session, is not ours."""
    wanted = [os.fsencode(folder) for folder in folders]
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = _words(entry)
            told = (entry / "environ").read_bytes()
            terminal = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[4]
            ours = terminal == "0" or os.getsid(int(entry.name)) == session
        except OSError:
            continue  # ended meanwhile, or another user's
        if any(_names(told, folder) or (ours and _names(words, folder)) for folder in wanted):
            found[int(entry.name)] = words.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return found


def _words(entry: Path) -> bytes:
    """A process's arguments. Who starts one hears that it runs a moment before they are there: the kernel closes what
    is to be closed first. A kernel thread and one that has ended have none, and no program either."""
    for _ in range(STARTING):
        words = (entry / "cmdline").read_bytes()
        if words:
            break
        (entry / "exe").readlink()
        time.sleep(0.001)
    return words


def _names(text: bytes, folder: bytes) -> bool:
    at = text.find(folder)
    while at >= 0:
        if text[at + len(folder) : at + len(folder) + 1] in (b"", b"/", b"\0", b":", b"\n"):
            return True
        at = text.find(folder, at + 1)
    return False


def end_all(folders: Collection[str], session: int) -> list[str]:
    """Kill them, and what they started meanwhile; their command lines."""
    ended: list[str] = []
    for _ in range(ROUNDS):
        found = running_for(folders, session)
        if not found:
            break
        for pid, words in found.items():
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
            ended.append(words)
        time.sleep(PAUSE_S)
    return list(dict.fromkeys(ended))


def _watch(pid: int, session: int) -> None:
    """Until the process is gone; then end what it left."""
    folders: set[str] = set()
    rest, open_ends = b"", [0]
    try:
        open_ends.append(os.pidfd_open(pid))
    except ProcessLookupError:
        pass  # killed before this began: what it told is in the pipe
    while open_ends:
        ready, _, _ = select.select(open_ends, [], [])
        if 0 in ready:
            told = os.read(0, 65536)
            if not told:
                open_ends.remove(0)  # its end of the pipe is closed; it may still be at its last words
            *lines, rest = (rest + told).split(b"\n")
            folders |= {os.fsdecode(line) for line in lines if line}
        else:
            break
    ended = end_all(folders, session) if folders else []
    for words in ended:
        sys.stderr.write(f"left running by the tests, ended now: {words[:300]}\n")


if __name__ == "__main__":
    _watch(int(sys.argv[1]), int(sys.argv[2]))
