"""Whether it gets more rights than it was started with."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Any

from factory.sandbox.probe import Answer
from factory.sandbox.probe.kernel import call, libc, own_status

_CLONE_NEWUSER = 0x10000000
_REFUSED = (errno.EPERM, errno.ENOSYS)


def capabilities(_: dict[str, Any]) -> Answer:
    """Capabilities and changing the user."""
    status = own_status()
    caps = {key: status.get(key, "?") for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    with open("/proc/self/uid_map", encoding="ascii") as source:
        rows = [line.split() for line in source]
    became = []
    for uid in (0, 1, 65534):
        with contextlib.suppress(OSError):
            if uid != os.getuid():
                os.setuid(uid)
                became.append(str(uid))
    broken = any(int(value, 16) for value in caps.values()) or status.get("NoNewPrivs") != "1" or bool(became)
    return broken, f"NoNewPrivs {status.get('NoNewPrivs')}, effective {caps['CapEff']}, map {rows}"


def setuid_programs(given: dict[str, Any]) -> Answer:
    """A copy of id(1) with the set-user-id bit, owned by root where the host could make it so."""
    before, seen = os.geteuid(), []
    for path in given["setuid_ids"]:
        sink = os.memfd_create("id")
        pid = os.posix_spawn(path, [path, "-u"], {}, file_actions=[(os.POSIX_SPAWN_DUP2, sink, 1)])
        os.waitpid(pid, 0)
        seen.append(int(os.pread(sink, 20, 0) or -1))
        os.close(sink)
    gained = [uid for uid in seen if uid not in (before, -1)]
    status = own_status().get("NoNewPrivs")
    return bool(gained) or status != "1", f"became {gained}" if gained else f"stayed {before}, NoNewPrivs {status}"


def kernel_settings(_: dict[str, Any]) -> Answer:
    """Kernel settings that run programs or weaken the machine, opened for writing."""
    got = []
    for path in (
        "kernel/core_pattern",
        "kernel/modprobe",
        "vm/overcommit_memory",
        "kernel/hostname",
        "fs/suid_dumpable",
    ):
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/sys/{path}", os.O_WRONLY))
            got.append(path)
    for path in ("/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY))
            got.append(path)
    return bool(got), ", ".join(got) or "none can be opened for writing"


def nested_namespaces(_: dict[str, Any]) -> Answer:
    """A user namespace of its own, where it would be root: by unshare and by clone in a child."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if libc.unshare(_CLONE_NEWUSER) == 0 else 1)
    broken = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return broken, "made one" if broken else "refused"


def system_calls(_: dict[str, Any]) -> Answer:
    """Calls that have broken sandboxes before. Any answer but a refusal means that the kernel's code was reached."""
    tries: dict[str, tuple[int | bytes, ...]] = {
        "io_uring_setup": (4, 0),
        "bpf": (0, 0, 0),
        "userfaultfd": (1,),
        "perf_event_open": (0, 0, -1, -1, 0),
        "keyctl": (0, -3, 0),
        "add_key": (b"user", b"probe", b"x", 1, -3),
        "ptrace": (1, 1, 0, 0),  # PEEKDATA: reaches the kernel's code without stopping anybody
        "mount": (b"none", b"/tmp", b"tmpfs", 0, 0),
        "fsopen": (b"tmpfs", 0),
        "chroot": (b"/tmp",),
        "setns": (-1, 0),
        "open_by_handle_at": (-1, 0, 0),
    }
    got = []
    for name, arguments in tries.items():
        result = call(name, *arguments)
        if -result not in _REFUSED:
            got.append(f"{name} ({errno.errorcode.get(-result, result)})")
    return bool(got), ", ".join(got) or f"{len(tries)} calls refused"
