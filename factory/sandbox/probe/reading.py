"""What of the host can be read: files, processes, environments, descriptors, keys."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from typing import Any

from factory.sandbox.probe import Answer
from factory.sandbox.probe.kernel import call, libc, number
from factory.sandbox.probe.searching import PLANT, head, places, walk


def files(_: dict[str, Any]) -> Answer:
    """Every readable file outside /usr and /proc, searched for what was planted on the host."""
    found = set()
    for path in walk("/", skip=("/usr", "/proc", "/dev", "/lib", "/bin")):
        found |= set(PLANT.findall(head(path)))
    return bool(found), places(found) or "nothing planted on the host is visible"


def named_paths(given: dict[str, Any]) -> Answer:
    """Host paths an attacker may know or guess: opened directly, through links, /proc/*/root and dot-dot."""
    reached = []
    for path in given["paths"]:
        relative = path.lstrip("/")
        link = "/work/link-out"
        with contextlib.suppress(OSError):
            os.unlink(link)
        with contextlib.suppress(OSError):
            os.symlink(path, link)
        ways = [path, link, "/work/" + "../" * 20 + relative]
        ways += [f"/proc/{pid}/{via}/{relative}" for pid in ("self", "1") for via in ("root", "cwd", "cwd/../..")]
        reached += [way for way in ways if PLANT.search(head(way))]
        with contextlib.suppress(OSError):
            os.unlink(link)
    return bool(reached), ", ".join(reached) or f"none of {len(given['paths'])} planted files can be opened"


def password_file(_: dict[str, Any]) -> Answer:
    """/etc/shadow, and people's homes."""
    seen = [path for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers") if os.path.exists(path)]
    return bool(seen), ", ".join(seen) or "no shadow, no sudoers"


def processes(_: dict[str, Any]) -> Answer:
    """Other processes: their number, and what environments, command lines and descriptors of any of them say."""
    pids = [name for name in os.listdir("/proc") if name.isdigit()]
    mine = {"1", str(os.getpid())} | set(_children(os.getpid()))
    found: set[bytes] = set()
    for pid in pids:
        for name in ("environ", "cmdline"):
            found |= set(PLANT.findall(head(f"/proc/{pid}/{name}")))
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = f"/proc/{pid}/fd/{fd}"
                if stat.S_ISREG(os.stat(target).st_mode):
                    found |= set(PLANT.findall(head(target)))
    found -= {
        m for value in os.environ.values() for m in PLANT.findall(value.encode())
    }  # its own, told by another attack
    strangers = [pid for pid in pids if pid not in mine]
    broken = bool(found) or bool(strangers)
    return broken, places(found) or (f"{len(strangers)} foreign processes" if strangers else "only its own processes")


def environment(_: dict[str, Any]) -> Answer:
    """Its own environment."""
    found = {m for key, value in os.environ.items() for m in PLANT.findall(f"{key}={value}".encode())}
    return bool(found), places(found) or f"only {', '.join(sorted(os.environ))}"


def descriptors(_: dict[str, Any]) -> Answer:
    """Descriptors it was born with."""
    extra = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if int(name) > 2:
                extra.append(f"{name}: {os.readlink(f'/proc/self/fd/{name}')}")
    extra = [text for text in extra if not text.endswith("/fd")]
    return bool(extra), "; ".join(extra) or "only standard input, output and error"


def keyring(_: dict[str, Any]) -> Answer:
    """A key planted in the session keyring of whoever started this, and the right to use keys at all."""
    search, read = 10, 11
    key = call("keyctl", search, -3, b"user", b"factory-plant", 0)
    if key > 0:
        buffer = ctypes.create_string_buffer(256)
        size = int(libc.syscall(ctypes.c_long(number("keyctl")), read, ctypes.c_long(key), buffer, 256))
        if size >= 0 and PLANT.search(buffer.raw):
            return True, "read a key of the session keyring"
    return False, "no key of the starter's session keyring"


def _children(pid: int) -> list[str]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as source:
                    text = source.read()
                if int(text[text.rindex(")") + 2 :].split()[1]) == pid:
                    found.append(name)
    return found
