"""No sandbox, only by name in host.toml: the process runs as us, with a tidy environment and an end that takes its
children along.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from factory.process.spawn import Child, spawn
from factory.sandbox.bubblewrap import environment
from factory.sandbox.protocol import ALWAYS_TMPFS, BIN, Confinement, Wall

WARNING = 'sandbox = "none": agents run as this user, with its files and its network'
_START = "import sys; sys.path.append(sys.argv.pop()); from factory.sandbox.starter.bare import main; main()"
_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class Bare:
    """Runs without confinement. Fixed places inside are mapped to the real ones by ``FACTORY_PATHS``
    (session/inside/layout).
    """

    name = "none"

    def start(self, c: Confinement, *, stdout: int, stderr: int, lock_fd: int | None = None) -> Child:
        """See ``Sandbox.start``. Read-only binds, limits of memory and processes, and the missing network are not
        enforced.
        """
        plan = {
            "argv": list(c.argv),
            "env": environment(c.env),
            "cwd": c.cwd,
            "moved": {bind.target: str(bind.source) for bind in (*c.binds, *c.sockets)},
            "scratch": sorted({*ALWAYS_TMPFS, *c.tmpfs}),
            "bin": BIN,
            "file_bytes": c.limits.file_bytes,
            "cpu_s": c.limits.cpu_s,
            "lock_fd": lock_fd,
            "parent": os.getpid(),
        }
        source = os.memfd_create("factory-plan", os.MFD_CLOEXEC)
        try:
            with open(source, "wb", closefd=False) as out:
                out.write(json.dumps(plan).encode())
            os.lseek(source, 0, os.SEEK_SET)
            return spawn(
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
        """See ``Sandbox.python``."""
        return sys.executable

    def walls(self) -> tuple[Wall, ...]:
        """One wall, which is not there."""
        return (
            Wall("sandbox", False, WARNING, 'apt-get install bubblewrap, then set sandbox = "bubblewrap" in host.toml'),
        )
