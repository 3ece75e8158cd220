"""The sandbox of one step: which folders it sees where, and what its first process is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.sandbox.protocol import HOME, Bind, Confinement, Limits
from factory.session.checkout import OBJECTS_INSIDE, Checkout

IN = "/run/factory/in"
OUT = "/run/factory/out"
WORK = "/work"
LIMITS = Limits(memory_bytes=4 << 30, pids=512, file_bytes=2 << 30)
__all__ = ["EGRESS", "GATEWAY", "HOME", "IN", "OUT", "WORK", "Box", "Door", "confinement", "make", "tell"]


@dataclass(frozen=True)
class Door:
    """A loopback port inside that leads to one Unix socket of the host."""

    name: str
    port: int

    @property
    def inside(self) -> str:
        return f"/run/factory/{self.name}.sock"


GATEWAY = Door("gateway", 8790)
EGRESS = Door("egress", 8791)


@dataclass(frozen=True)
class Box:
    """The host folders of one start: ``in`` is read-only inside, ``out`` is all that comes back."""

    root: Path
    checkout: Checkout

    @property
    def inside(self) -> Path:
        return self.root / "in"

    @property
    def out(self) -> Path:
        return self.root / "out"

    def socket(self, door: Door) -> Path:
        """The host's end of a door."""
        return self.root / f"{door.name}.sock"


def make(root: Path, checkout: Checkout, pyz: Path) -> Box:
    """Create the folders. ``root`` must be new: nothing of an earlier start is ever reused."""
    box = Box(root, checkout)
    for folder in (box.inside, box.out):
        folder.mkdir(parents=True)
        # The sandbox's user is another one, whatever our umask; only this run's folder above keeps others out.
        folder.chmod(0o755)
    _readable(box.inside / "inside.pyz", pyz.read_bytes())
    return box


def tell(
    box: Box,
    *,
    run: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    home_files: Mapping[str, str],
    cwd: str,
    doors: Sequence[Door],
    work: tuple[str, str] | None,
    checkpoint_s: float,
    grants: Mapping[str, object],
    prompt: str | None,
) -> None:
    """Write what the first process inside reads. ``work`` is (ref, base) when commits may leave."""
    spec = {
        "run": run,
        "argv": list(argv),
        "env": dict(env),
        "cwd": cwd,
        "home_files": dict(home_files),
        "bridges": [{"port": door.port, "socket": door.inside} for door in doors],
        "work": None if work is None else {"ref": work[0], "base": work[1]},
        "checkpoint_s": checkpoint_s,
    }
    _readable(box.inside / "spec.json", json.dumps(spec).encode())
    _readable(box.inside / "grants.json", json.dumps(grants).encode())
    if prompt is not None:
        _readable(box.inside / "prompt.md", prompt.encode())


def _readable(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    file.chmod(0o644)


def confinement(
    box: Box,
    *,
    python: str,
    writable: bool,
    doors: Sequence[Door],
    binds: Sequence[Bind] = (),
    limits: Limits | None = None,
) -> Confinement:
    """The sandbox around it, with ``doors`` as its only ways out."""
    return Confinement(
        argv=(python, "-I", "-S", f"{IN}/inside.pyz", "boot"),
        env={},
        cwd=WORK,
        binds=(
            Bind(box.checkout.clone, WORK, writable=writable),
            Bind(box.checkout.view.objects, OBJECTS_INSIDE),
            Bind(box.inside, IN),
            Bind(box.out, OUT, writable=True),
            *binds,
        ),
        sockets=tuple(Bind(box.socket(door), door.inside, writable=True) for door in doors),
        tmpfs={},
        limits=limits or LIMITS,
        # A read-only checkout too must be readable for the sandbox's user; the bind keeps it from being written.
        owner_paths=(box.checkout.clone, box.out),
    )
