"""``doctor``'s proofs: every wall attacked from inside (``probe``), with things planted on this side to be found."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from factory.errors import SandboxUnavailable
from factory.sandbox import pyz
from factory.sandbox.protocol import Bind, Confinement, Limits, Sandbox, Wall

PROBE = "factory.sandbox.probe"
_INSIDE = "/run/factory/in/probe.pyz"
LIMITS = Limits(memory_bytes=512 << 20, pids=64, file_bytes=8 << 20, cpu_s=30)
_TMP_BYTES = 4 << 20
_WAIT_S = 30.0
_HOG = "b = []\nwhile True: b.append(bytearray(b'x') * (8 << 20))"

Answers = dict[str, tuple[bool, str]]
"""By attack: whether it got through, and what it saw."""


def prove(sandbox: Sandbox) -> tuple[Wall, ...]:
    """Attack every wall; about a second. Raises SandboxUnavailable when nothing can be started at all."""
    answers = attack(sandbox)
    walls = [
        Wall(name, not broken, detail, _HINTS.get(name) if broken else None)
        for name, (broken, detail) in answers.items()
    ]
    return (*walls, _memory(sandbox))


def attack(
    sandbox: Sandbox,
    *,
    only: Collection[str] | None = None,
    paths: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    limits: Limits = LIMITS,
    binds: Sequence[Bind] = (),
) -> Answers:
    """Run the probe in ``sandbox`` and return its answers, and under "user" whether it ran as the host's root.

    ``paths`` are more host files it tries to open. ``env``, ``limits`` and ``binds`` change what it is given, not what
    it is judged by. Raises SandboxUnavailable when it could not be run.
    """
    with _host() as host:
        program = pyz.build(host.root / "program", f"{PROBE}.main", {PROBE: Path(__file__).with_name("probe")})
        given: dict[str, Any] = {
            "paths": [str(host.token), str(host.neighbour), *paths],
            "paths_to_write": [str(host.root), "/etc", "/usr", "/usr/local/bin", "/var", "/run", "/dev", "/sys"],
            "ports": [host.port],
            "abstract": [host.abstract],
            "sockets": [str(host.socket)],
            "own_sockets": [],
            "setuid_ids": ["/opt/probe/id"],
            "writable": ["/work", "/tmp", "/home/agent", "/run/factory/bin", "/dev/shm", "/dev/pts"],  # noqa: S108
            "pids": LIMITS.pids,
            "file_bytes": LIMITS.file_bytes,
            "tmp_bytes": _TMP_BYTES,
            "attacks": None if only is None else list(only),
        }
        c = Confinement(
            argv=(sandbox.python(), "-I", "-S", _INSIDE, json.dumps(given)),
            env=env or {},
            cwd="/work",
            binds=(
                *binds,
                Bind(program, _INSIDE),
                Bind(host.work, "/work", writable=True),
                Bind(host.tools, "/opt/probe"),
            ),
            sockets=(),
            tmpfs={"/tmp": _TMP_BYTES},  # noqa: S108
            limits=limits,
            owner_paths=(host.work, *(bind.source for bind in binds if bind.writable)),
        )
        code, out, said = _run(sandbox, c)
        try:
            told = json.loads(out)
        except ValueError:
            raise SandboxUnavailable(f"attacking the sandbox from inside: exit {code}, {said or out!r}") from None
        answers: Answers = {name: (bool(one["broken"]), str(one["detail"])) for name, one in told.items()}
        owner = (host.work / "probe-owner").stat().st_uid
        answers["user"] = (owner == 0, "runs as the host's root" if owner == 0 else f"runs as user {owner} of the host")
        return answers


class _Host:
    """What an attacker would like to reach, planted on this side."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.work, self.tools, self.token, self.neighbour, self.socket = (
            root / name for name in ("work", "tools", "state/token", "runs/other/token", "host.sock")
        )
        self.abstract = f"factory-probe-{secrets.token_hex(8)}"
        self.port = 0


@contextmanager
def _host() -> Iterator[_Host]:
    with ExitStack() as stack:
        root = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="factory-walls-", ignore_cleanup_errors=True))
        )
        host = _Host(root)
        for folder in (host.work, host.tools, host.token.parent, host.neighbour.parent):
            folder.mkdir(parents=True)
        host.token.write_text(planted("state"), encoding="ascii")
        host.neighbour.write_text(planted("neighbour"), encoding="ascii")
        shutil.copy(shutil.which("id", path="/usr/bin:/bin") or "/usr/bin/id", host.tools / "id")
        (host.tools / "id").chmod(0o4755)
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        host.port = tcp.getsockname()[1]
        for address in ("\0" + host.abstract, str(host.socket)):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        host.socket.chmod(0o777)
        # An open file of ours that must not arrive on the other side.
        stack.enter_context(host.token.open("rb"))
        yield host


def planted(place: str) -> str:
    """Text that the probe recognises when it sees it."""
    return f"FACTORYPLANT-{place}-{secrets.token_hex(8)}"


def _run(sandbox: Sandbox, c: Confinement) -> tuple[int | None, bytes, str]:
    with ExitStack() as stack:
        out, err = (stack.enter_context(tempfile.TemporaryFile()) for _ in range(2))
        child = stack.enter_context(sandbox.start(c, stdout=out.fileno(), stderr=err.fileno()))
        code = child.wait(_WAIT_S)
        if code is None:
            child.kill_tree()
        out.seek(0)
        err.seek(0)
        return code, out.read(1 << 20), err.read(1 << 16).decode("utf-8", "replace").strip()


def _memory(sandbox: Sandbox) -> Wall:
    c = Confinement(
        argv=(sandbox.python(), "-I", "-S", "-c", _HOG),
        env={},
        cwd="/",
        binds=(),
        sockets=(),
        tmpfs={},
        limits=Limits(memory_bytes=128 << 20, pids=16, file_bytes=1 << 20, cpu_s=10),
        owner_paths=(),
    )
    code, _out, said = _run(sandbox, c)
    how = "by looking at the tree four times a second" if "allowed" in said else "by cgroup"
    held = code is not None and code != 0
    return Wall("memory", held, f"{how}: {said or f'exit {code}'}" if held else "a process took all it wanted")


_HINTS = {
    "process-number": "install util-linux (prlimit), or run as root so that each session has a user of its own",
    "system-calls": f"no seccomp filter is written for {os.uname().machine}",
    "socket-families": f"no seccomp filter is written for {os.uname().machine}",
    "files": "report this: a sandbox must not show it",
}
