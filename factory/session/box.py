"""The sandbox of one step: which folders it sees where, and what its first process is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.sandbox.protocol import HOME, Bind, Confinement, Limits
from factory.session.checkout import OBJECTS_INSIDE, Checkout

GATEWAY_PORT = 8790
GATEWAY_SOCKET = "/run/factory/gateway.sock"
IN = "/run/factory/in"
OUT = "/run/factory/out"
WORK = "/work"
__all__ = ["GATEWAY_PORT", "HOME", "IN", "OUT", "WORK", "Box", "confinement", "make", "tell"]
LIMITS = Limits(memory_bytes=4 << 30, pids=512, file_bytes=2 << 30)


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

    @property
    def socket(self) -> Path:
        return self.root / "gateway.sock"


def make(root: Path, checkout: Checkout, pyz: Path) -> Box:
    """Create the folders. ``root`` must be new: nothing of an earlier start is ever reused."""
    box = Box(root, checkout)
    box.inside.mkdir(parents=True, mode=0o755)
    box.out.mkdir(mode=0o755)
    (box.inside / "inside.pyz").write_bytes(pyz.read_bytes())
    return box


def tell(
    box: Box,
    *,
    run: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    home_files: Mapping[str, str],
    cwd: str,
    gateway: bool,
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
        "bridges": [{"port": GATEWAY_PORT, "socket": GATEWAY_SOCKET}] if gateway else [],
        "work": None if work is None else {"ref": work[0], "base": work[1]},
        "checkpoint_s": checkpoint_s,
    }
    (box.inside / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    (box.inside / "grants.json").write_text(json.dumps(grants), encoding="utf-8")
    if prompt is not None:
        (box.inside / "prompt.md").write_text(prompt, encoding="utf-8")


def confinement(
    box: Box,
    *,
    python: str,
    writable: bool,
    gateway: bool,
    binds: Sequence[Bind] = (),
    limits: Limits = LIMITS,
) -> Confinement:
    """The sandbox around it. A read-only checkout is bound read-only and stays the host's."""
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
        sockets=(Bind(box.socket, GATEWAY_SOCKET, writable=True),) if gateway else (),
        tmpfs={},
        limits=limits,
# A read-only checkout too must be readable for the sandbox's user; the bind keeps it from being written.
        owner_paths=(box.checkout.clone, box.out),
    )
