"""What an idle tick costs, counted from outside the daemon: the forge's access log, the process table, the gateway."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from factory.errors import RunFailed


@dataclass(frozen=True)
class IdleTick:
    """The most that any of the counted ticks cost, per tick."""

    forge_requests: float
    processes: float
    model_calls: float
    ticks: int
    vault_requests: float = 0.0
    """Of the vault's own processes in the same time."""

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure(
    *,
    ticks: int,
    daemon: Path,
    access_log: Path,
    model_calls: Callable[[], int],
    services: Path,
    poll_s: float,
    vault: Collection[str] = (),
) -> IdleTick:
    """Let ``ticks`` ticks pass and divide what they cost. Raises RunFailed when the daemon does not tick.

    ``vault``: logins of the vault's processes, which look at the forge by themselves; their requests count apart.
    Processes are those that daemon, forge and gateway started and waited for, or have: the kernel adds a child's page
    faults to its parent's account when it is reaped, so an unchanged account and no child mean that there was none.
    """
    deadline = time.monotonic() + (ticks + 5) * max(poll_s, 1.0) + 60
    _settle(daemon, services, deadline)
    first = _ticks(daemon)
    before = (*_requests(access_log, vault), _children(services), model_calls())
    while _ticks(daemon) < first + ticks:
        if time.monotonic() > deadline:
            raise RunFailed(f"counting idle ticks: the daemon made {_ticks(daemon) - first} of {ticks} in time")
        time.sleep(0.02)
    passed = _ticks(daemon) - first
    after = (*_requests(access_log, vault), _children(services), model_calls())
    ours, vaults, processes, calls = (round((b - a) / passed, 2) for a, b in zip(before, after, strict=True))
    return IdleTick(ours, processes, calls, passed, vaults)


def _settle(daemon: Path, services: Path, deadline: float) -> None:
    """Wait for three ticks in a row that started nothing, and no dashboard that waits: the last merge's aftermath is
    over."""
    quiet, seen, faults = 0, _ticks(daemon), _children(services)
    while quiet < 3:
        if time.monotonic() > deadline:
            raise RunFailed("counting idle ticks: the factory did not come to rest")
        time.sleep(0.02)
        now = _ticks(daemon)
        if now != seen:
            current = _children(services)
            quiet = quiet + 1 if current == faults and not _beat(daemon).get("dashboard_waits") else 0
            seen, faults = now, current


def _ticks(daemon: Path) -> int:
    return int(_beat(daemon).get("ticks", 0))


def _beat(daemon: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(daemon.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return told


def _requests(log: Path, vault: Collection[str]) -> tuple[int, int]:
    """Lines of the access log: those of everybody else, and those of the vault's accounts."""
    marks = [f'"user": {json.dumps(login)}'.encode() for login in vault]
    with log.open("rb") as file:
        lines = [line for line in file if line.endswith(b"\n")]
    apart = sum(any(mark in line for mark in marks) for line in lines)
    return len(lines) - apart, apart


def _children(services: Path) -> int:
    """Children that the services have, and a measure of those they had and reaped."""
    found = 0
    for name in ("daemon", "forge", "gateway"):
        pid = json.loads((services / f"{name}.pid").read_bytes())["pid"]
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        found += int(fields[8]) + int(fields[10])  # cminflt, cmajflt
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += len((task / "children").read_text(encoding="ascii").split())
    return found
