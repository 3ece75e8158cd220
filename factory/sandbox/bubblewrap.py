"""The default sandbox: bubblewrap with every namespace, started through the starter."""

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from factory.errors import SandboxUnavailable
from factory.process.spawn import Child, spawn
from factory.sandbox import bpf, etc
from factory.sandbox.protocol import ALWAYS_TMPFS, BIN, HOME, Bind, Confinement, Wall

DISK_FLOOR_BYTES = 256 << 20
_SHM_BYTES = 256 << 20

_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup")
_TOP_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_NO_TARGET = ("/", "/proc", "/sys", "/dev", "/etc")

_START = "import sys; sys.path.append(sys.argv.pop()); from factory.sandbox.starter.main import main; main()"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Bubblewrap:
    """Sessions in bubblewrap.

    A sandbox is stopped when less than ``disk_floor_bytes`` are left on a disk it writes to. ``without`` names walls
    left out: namespaces, userns, seccomp, keyring, proc-sys, die-with-parent, cgroup; only tests that show what a wall
    stops use it.
    """

    name = "bubblewrap"

    def __init__(
        self,
        binary: str = "/usr/bin/bwrap",
        *,
        disk_floor_bytes: int = DISK_FLOOR_BYTES,
        without: Collection[str] = (),
    ) -> None:
        self._binary = binary
        self._disk_floor = disk_floor_bytes
        self._without = frozenset(without)

    def start(self, c: Confinement, *, stdout: int, stderr: int, lock_fd: int | None = None) -> Child:
        """See ``Sandbox.start``."""
        plan = json.dumps(self._plan(c, lock_fd)).encode()
        source = os.memfd_create("factory-plan", os.MFD_CLOEXEC)
        try:
            with open(source, "wb", closefd=False) as out:
                out.write(plan)
            os.lseek(source, 0, os.SEEK_SET)
            return spawn(
                # -I -S: no site-packages, no user site, no PYTHON* variables in a program that may run as root.
                [sys.executable, "-I", "-S", "-c", _START, str(_PACKAGE_ROOT)],
                cwd="/",
                env={},
                stdin=source,
                stdout=stdout,
                stderr=stderr,
                pass_fds=() if lock_fd is None else (lock_fd,),
            )
        finally:
            os.close(source)

    def python(self) -> str:
        """See ``Sandbox.python``: the factory's own interpreter, without its virtual environment."""
        return str(interpreter()[0])

    def walls(self) -> tuple[Wall, ...]:
        """See ``Sandbox.walls``."""
        from factory.sandbox.walls import prove

        return prove(self)

    def _plan(self, c: Confinement, lock_fd: int | None) -> dict[str, Any]:
        sources = _Sources()
        options = self._options(c, sources, lock_fd)
        return {
            "bwrap": self._binary,
            "options": options,
            "argv": list(_counted(c)),
            "sources": sources.paths,
            "writable": [sources.index(bind.source) for bind in c.binds if bind.writable],
            "owner_paths": [str(path) for path in c.owner_paths],
            "sockets": [str(bind.source) for bind in c.sockets],
            "limits": {
                "memory_bytes": c.limits.memory_bytes,
                "pids": c.limits.pids,
                "file_bytes": c.limits.file_bytes,
                "cpu_s": c.limits.cpu_s,
            },
            "cgroup": "cgroup" not in self._without,
            "keyring": "keyring" not in self._without,
            "disk_floor": self._disk_floor,
            "lock_fd": lock_fd,
            "parent": os.getpid(),
        }

    def _options(self, c: Confinement, sources: _Sources, lock_fd: int | None) -> list[str | dict[str, Any]]:
        """bubblewrap's options; a dict stands for what only the starter knows (a staged source, a descriptor)."""
        off = self._without
        options: list[str | dict[str, Any]] = [f"--unshare-{name}" for name in _NAMESPACES if name not in off]
        options += [] if "userns" in off else ["--disable-userns"]
        options += ["--cap-drop", "ALL", "--new-session", "--clearenv"]
        options += [] if "die-with-parent" in off else ["--die-with-parent"]
        options += ["--uid", str(etc.UID), "--gid", str(etc.UID), "--hostname", etc.HOSTNAME]
        options += ["--ro-bind", "/usr", "/usr"]
        for name in _TOP_LINKS:
            host = Path("/", name)
            if host.is_symlink():
                options += ["--symlink", str(host.readlink()).lstrip("/"), str(host)]
            elif host.is_dir():
                options += ["--ro-bind", str(host), str(host)]
        options += ["--proc", "/proc"] + ([] if "proc-sys" in off else ["--ro-bind", "/proc/sys", "/proc/sys"])
        options += ["--dev", "/dev", "--size", str(_SHM_BYTES), "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108
        options += ["--remount-ro", "/dev"]
        for path, content in etc.files().items():
            options += ["--perms", "0644", "--file", {"file": base64.b64encode(content).decode()}, path]
        for host, inside in etc.from_host():
            options += ["--ro-bind", str(host), inside]
        options += ["--dir", "/var", "--symlink", "/tmp", "/var/tmp"]  # noqa: S108
        options += self._mounts(c, sources)
        options += ["--remount-ro", "/", "--chdir", c.cwd]
        for key, value in environment(c.env).items():
            options += ["--setenv", key, value]
        rules = None if "seccomp" in off else bpf.program()
        if rules is not None:
            options += ["--seccomp", {"file": base64.b64encode(rules).decode()}]
        # Kept by bubblewrap's own processes and closed in the command: the lock ends with the tree, not with the
        # starter.
        options += [] if lock_fd is None else ["--sync-fd", str(lock_fd)]
        return [*options, "--json-status-fd", {"status": True}]

    def _mounts(self, c: Confinement, sources: _Sources) -> Iterable[str | dict[str, Any]]:
        """Parents before what is mounted inside them, whatever kind they are."""
        mounts: dict[str, list[str | dict[str, Any]]] = {}
        for path, size in {**ALWAYS_TMPFS, **c.tmpfs}.items():
            mounts[_checked(path)] = ["--size", str(size), "--perms", "0755", "--tmpfs", path]
        for bind in (*_interpreter_binds(), *c.binds, *c.sockets):
            verb = "--bind" if bind.writable else "--ro-bind"
            mounts[_checked(bind.target)] = [verb, {"source": sources.index(bind.source)}, bind.target]
        return [word for path in sorted(mounts, key=lambda path: path.split("/")) for word in mounts[path]]


class _Sources:
    """Host paths to show, each named once."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    def index(self, path: Path) -> int:
        if str(path) not in self.paths:
            self.paths.append(str(path))
        return self.paths.index(str(path))


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """What the process inside gets: our defaults, then what the session names."""
    home = str(interpreter()[0].parent)
    path = [BIN, *([] if home.startswith("/usr/") else [home]), "/usr/local/bin", "/usr/bin", "/bin"]
    return {
        "PATH": ":".join(path),
        "HOME": HOME,
        "USER": etc.USER,
        "LOGNAME": etc.USER,
        "SHELL": "/bin/sh",
        "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        **env,
    }


def interpreter() -> tuple[Path, Path]:
    """Our own interpreter's program and prefix, links resolved: never the virtual environment's."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Path(base).resolve(), Path(sys.base_prefix).resolve()


def _interpreter_binds() -> tuple[Bind, ...]:
    program, prefix = interpreter()
    needed = [path for path in (prefix, program) if not path.is_relative_to("/usr")]
    if len(needed) == 2 and program.is_relative_to(prefix):
        needed = [prefix]
    return tuple(Bind(path, str(path)) for path in needed)


def _counted(c: Confinement) -> tuple[str, ...]:
    # Inside the new user namespace only its own processes count; outside, a person's would count as well.
    if os.geteuid() != 0 and os.access("/usr/bin/prlimit", os.X_OK):
        return ("/usr/bin/prlimit", f"--nproc={c.limits.pids}:{c.limits.pids}", "--", *c.argv)
    return c.argv


def _checked(target: str) -> str:
    """Raises SandboxUnavailable for a place inside that would undo a wall."""
    if (
        not target.startswith("/")
        or target.startswith("//")
        or posixpath.normpath(target) != target
        or target in _NO_TARGET
    ):
        raise SandboxUnavailable(f"building a sandbox: {target!r} is not a place where something may be shown")
    if target.startswith(("/proc/", "/sys/", "/dev/", "/etc/")):
        raise SandboxUnavailable(f"building a sandbox: {target!r} lies in a folder the sandbox makes itself")
    return target
