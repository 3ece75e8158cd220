"""System calls by their number, and what the kernel says of this process."""

from __future__ import annotations

import ctypes
import platform

libc = ctypes.CDLL(None, use_errno=True)
_MACHINE = 0 if platform.machine() == "x86_64" else 1
_CALLS = {
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "ptrace": (101, 117),
    "mount": (165, 40),
    "chroot": (161, 51),
    "io_uring_setup": (425, 425),
    "open_by_handle_at": (304, 265),
    "fsopen": (430, 430),
    "setns": (308, 268),
}


def number(name: str) -> int:
    """A call's number on this machine."""
    return _CALLS[name][_MACHINE]


def call(name: str, *arguments: int | bytes) -> int:
    """A raw system call: its result, or minus the error number."""
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = int(libc.syscall(ctypes.c_long(number(name)), *words))
    return -ctypes.get_errno() if result < 0 else result


def own_status() -> dict[str, str]:
    """The rows of /proc/self/status."""
    with open("/proc/self/status", encoding="utf-8") as source:
        return {key: value.strip() for key, _sign, value in (line.partition(":") for line in source)}
