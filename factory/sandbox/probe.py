"""An attacker in one file: run inside a sandbox, it tries every wall and prints what it got as one JSON object.

``python -I -S probe.py JSON``; the argument names the host's addresses to try (``walls.py`` writes it). Each answer is
{"broken": bool, "detail": text}. Standard library only; the sandbox shows nothing of the package but this file.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import platform
import re
import resource
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

# Written in two parts, so that this file is not what the search finds.
PLANT = re.compile(rb"FACTORY" + rb"PLANT-[a-z]+-[0-9a-f]{16}")

_libc = ctypes.CDLL(None, use_errno=True)
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
_CLONE_NEWUSER = 0x10000000
_REFUSED = (errno.EPERM, errno.ENOSYS)
Answer = tuple[bool, str]


def call(name: str, *arguments: int | bytes) -> int:
    """A raw system call: its result, or minus the error number."""
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = int(_libc.syscall(ctypes.c_long(_CALLS[name][_MACHINE]), *words))
    return -ctypes.get_errno() if result < 0 else result


# ---- what can be found


def files(_: dict[str, Any]) -> Answer:
    """Every readable file outside /usr and /proc, searched for what was planted on the host."""
    found = set()
    for path in _walk("/", skip=("/usr", "/proc", "/dev", "/lib", "/bin")):
        found |= set(PLANT.findall(_head(path)))
    return bool(found), _names(found) or "nothing planted on the host is visible"


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
        reached += [way for way in ways if PLANT.search(_head(way))]
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
            found |= set(PLANT.findall(_head(f"/proc/{pid}/{name}")))
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                target = f"/proc/{pid}/fd/{fd}"
                if stat.S_ISREG(os.stat(target).st_mode):
                    found |= set(PLANT.findall(_head(target)))
    found -= {
        m for value in os.environ.values() for m in PLANT.findall(value.encode())
    }  # its own, told by another attack
    strangers = [pid for pid in pids if pid not in mine]
    broken = bool(found) or bool(strangers)
    return broken, _names(found) or (f"{len(strangers)} foreign processes" if strangers else "only its own processes")


def environment(_: dict[str, Any]) -> Answer:
    """Its own environment."""
    found = {m for key, value in os.environ.items() for m in PLANT.findall(f"{key}={value}".encode())}
    return bool(found), _names(found) or f"only {', '.join(sorted(os.environ))}"


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
        size = int(_libc.syscall(ctypes.c_long(_CALLS["keyctl"][_MACHINE]), read, ctypes.c_long(key), buffer, 256))
        if size >= 0 and PLANT.search(buffer.raw):
            return True, "read a key of the session keyring"
    return False, "no key of the starter's session keyring"


# ---- ways out


def loopback(given: dict[str, Any]) -> Answer:
    """The host's loopback listeners."""
    got = []
    for port in given["ports"]:
        for address in ("127.0.0.1", "::1"):
            with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5):
                got.append(f"{address}:{port}")
    return bool(got), ", ".join(got) or "the host's loopback is not there"


def interfaces(_: dict[str, Any]) -> Answer:
    """Network devices, routes, names."""
    with open("/proc/net/dev", encoding="ascii") as source:
        names = [line.split(":")[0].strip() for line in source.readlines()[2:]]
    others = [name for name in names if name != "lo"]
    # Tunnel devices that a kernel gives every new namespace are down and lead nowhere; a route would lead somewhere.
    with open("/proc/net/route", encoding="ascii") as source:
        routes = len(source.readlines()) - 1
    resolved = ""
    with contextlib.suppress(OSError):
        resolved = str(socket.getaddrinfo("example.com", 80)[0][4])
    broken = routes > 0 or bool(resolved)
    return broken, f"devices {', '.join(names)}; {routes} routes; {resolved or 'no name resolves'}" + (
        f" (down: {', '.join(others)})" if others and not broken else ""
    )


def abstract_sockets(given: dict[str, Any]) -> Answer:
    """Abstract Unix sockets of the host."""
    got = []
    for name in given["abstract"]:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.5)
            s.connect("\0" + name)
            got.append(name)
    return bool(got), ", ".join(got) or "none answers"


def host_sockets(given: dict[str, Any]) -> Answer:
    """Unix socket files of the host, by path and by search."""
    own = set(given["own_sockets"])
    found = [path for path in _walk("/", skip=("/usr", "/proc")) if _is_socket(path) and path not in own]
    got = []
    for path in {*found, *given["sockets"]}:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.settimeout(0.5)
            s.connect(path)
            got.append(path)
    return bool(got), ", ".join(got) or "none but its own"


def socket_families(_: dict[str, Any]) -> Answer:
    """Families that reach parts of the kernel no agent needs; raw sockets."""
    got = []
    for name, family in (("netlink", 16), ("packet", 17), ("alg", 38), ("vsock", 40), ("bluetooth", 31), ("xdp", 44)):
        try:
            socket.socket(
                family, socket.SOCK_RAW if name in ("netlink", "packet", "xdp") else socket.SOCK_STREAM
            ).close()
            got.append(name)
        except OSError as error:
            # Unsupported by kernel or filter is the same to an attacker; refused for lack of a right is not a wall of
            # ours.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EPERM, errno.ESOCKTNOSUPPORT, errno.EPROTONOSUPPORT):
                got.append(f"{name} ({error.strerror})")
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close()
        got.append("raw")
    return bool(got), ", ".join(got) or "only Unix and internet stream and datagram sockets"


# ---- more rights


def capabilities(_: dict[str, Any]) -> Answer:
    """Capabilities and changing the user."""
    status = _status()
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
    status = _status().get("NoNewPrivs")
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
        os._exit(0 if _libc.unshare(_CLONE_NEWUSER) == 0 else 1)
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


# ---- writing and using too much


def writing(given: dict[str, Any]) -> Answer:
    """Writing anywhere but in its own folders."""
    wrote = []
    allowed = tuple(given["writable"])
    for folder in {os.path.realpath(path) for path in [*given["paths_to_write"], *_folders("/")]}:
        if folder.startswith(allowed) or folder.startswith("/proc"):
            continue
        with contextlib.suppress(OSError):
            path = f"{folder}/probe-was-here"
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            os.unlink(path)
            wrote.append(folder)
    return bool(wrote), ", ".join(wrote) or "only its own folders"


def process_number(given: dict[str, Any]) -> Answer:
    """As many processes as it can have at once."""
    limit = int(given["pids"])
    children, reader_writer = [], os.pipe()
    try:
        for _number in range(limit + 50):
            pid = os.fork()
            if pid == 0:
                os.close(reader_writer[1])
                os.read(reader_writer[0], 1)
                os._exit(0)
            children.append(pid)
    except OSError:
        pass  # the wall; how many there are is the answer
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return len(children) > limit, f"{len(children)} of at most {limit}"


def file_size(given: dict[str, Any]) -> Answer:
    """One file larger than allowed."""
    limit = int(given["file_bytes"])
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = "/work/probe-large"
    try:
        with open(path, "wb") as sink:
            sink.truncate(limit + 1)
        return True, f"made a file of {limit + 1} bytes"
    except OSError as error:
        return False, f"refused beyond {limit} bytes ({error.strerror})"
    finally:
        with contextlib.suppress(OSError):
            os.unlink(path)


def memory_disk(given: dict[str, Any]) -> Answer:
    """More in /tmp than it is large."""
    size = int(given["tmp_bytes"])
    written = 0
    try:
        with open("/tmp/probe-fill", "wb", buffering=0) as sink:  # noqa: S108
            while written <= size:
                written += sink.write(b"\0" * 65536)
    except OSError:
        pass  # the wall; how much was written is the answer
    with contextlib.suppress(OSError):
        os.unlink("/tmp/probe-fill")  # noqa: S108
    return written > size, f"{written} of {size} bytes"


def core_dumps(_: dict[str, Any]) -> Answer:
    """A core dump would be handled by a program outside, with what was in memory."""
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    return limit[1] > 1, f"limit {limit[1]}"


ATTACKS: dict[str, Callable[[dict[str, Any]], Answer]] = {
    "files": files,
    "named-paths": named_paths,
    "password-file": password_file,
    "processes": processes,
    "environment": environment,
    "descriptors": descriptors,
    "keyring": keyring,
    "loopback": loopback,
    "interfaces": interfaces,
    "abstract-sockets": abstract_sockets,
    "host-sockets": host_sockets,
    "socket-families": socket_families,
    "capabilities": capabilities,
    "setuid-programs": setuid_programs,
    "kernel-settings": kernel_settings,
    "nested-namespaces": nested_namespaces,
    "system-calls": system_calls,
    "writing": writing,
    "process-number": process_number,
    "file-size": file_size,
    "memory-disk": memory_disk,
    "core-dumps": core_dumps,
}


def _walk(top: str, *, skip: tuple[str, ...]) -> Iterator[str]:
    # The interpreter's own tree is large, read-only and known to be there.
    for folder, folders, names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in (*skip, sys.base_prefix)]
        for name in names:
            yield os.path.join(folder, name)


def _folders(top: str) -> list[str]:
    found = [top]
    for folder, folders, _names in os.walk(top):
        folders[:] = [name for name in folders if os.path.join(folder, name) not in ("/usr", "/proc", sys.base_prefix)]
        found += [os.path.join(folder, name) for name in folders]
        if len(found) > 3000:
            break
    return [*found, "/usr", "/usr/bin", "/usr/local", "/proc/sys", sys.base_prefix]


def _head(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 20)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _names(found: set[bytes]) -> str:
    return ", ".join(sorted(text.decode().split("-")[1] for text in found))


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


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="utf-8") as source:
        return {key: value.strip() for key, _sign, value in (line.partition(":") for line in source)}


def _is_socket(path: str) -> bool:
    return stat.S_ISSOCK(_mode(path))


def _mode(path: str) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def main() -> None:
    """Try all walls named in the argument (default: all) and print the answers."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    # Seen from the host, its owner is the user we really are.
    with contextlib.suppress(OSError), open("/work/probe-owner", "wb"):
        pass
    answers = {}
    for name in given.get("attacks") or ATTACKS:
        try:
            broken, detail = ATTACKS[name](given)
        except OSError as error:
            broken, detail = False, f"failed: {error}"
        answers[name] = {"broken": broken, "detail": detail}
    sys.stdout.write(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
