"""The demo as a whole, the start of a session against a plain clone, and what the idle processes hold."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path

import psutil

from factory.app.demo import Demo
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror
from factory.app.services import ensure_daemon, folder
from factory.app.session import control_socket
from factory.config.model import DEFAULT_ACCOUNTS
from factory.gateway.control import GatewayControl
from factory.git import objects
from factory.runs.journal import REF, entries_since, fold
from tests.bench.table import Row


def measure(root: Path) -> list[Row]:
    """From a demo that is left running: intent to first model request against a plain clone, and resident memory."""
    demo = Demo(root / "demo", lambda line: None)
    try:
        told = demo.run()
        deployment = demo.deployment
        clones = []
        for number in range(5):
            remote = deployment.remote(DEFAULT_ACCOUNTS["dev"], demo.project)
            began = time.perf_counter()
            plain_clone(remote.url, remote.username, remote.token, root / f"clone-{number}")
            clones.append(time.perf_counter() - began)
        starts = first_requests(deployment)
        clone, start = statistics.median(clones), statistics.median(starts)
        ensure_daemon(deployment.host)
        memory = sum(rss(folder(deployment.state) / f"{name}.pid") for name in ("daemon", "forge", "gateway"))
        idle = told["idle_tick"]
        return [
            ("demo: seconds to three merged pull requests, checked", f"{told['seconds']:.0f}"),
            (
                "session: intent to first model request / plain git clone (ms)",
                f"{start * 1000:.0f} / {clone * 1000:.0f}",
            ),
            ("session: the same as a ratio", f"{start / clone:.1f}"),
            (
                "idle tick: forge requests, processes, model calls (limits 3, 0, 0)",
                f"{idle['forge_requests']:g}, {idle['processes']:g}, {idle['model_calls']:g}",
            ),
            ("idle daemon, forge and gateway together, MB resident (limit 250)", f"{memory / 1e6:.0f}"),
        ]
    finally:
        demo.close(keep=False)


def plain_clone(url: str, user: str, token: str, dest: Path) -> None:
    scheme, _, rest = url.partition("://")
    subprocess.run(["git", "clone", "-q", f"{scheme}://{user}:{token}@{rest}", str(dest)], check=True)


def first_requests(deployment: Deployment) -> list[float]:
    """Seconds from a run's start in the journal to the gateway's first request of it."""
    repo = mirror(deployment, deployment.projects()[0][1], refresh=True)
    tip = objects.read_ref(repo, REF)
    assert tip is not None
    control = GatewayControl(control_socket(deployment.state))
    found = []
    for run in fold(entries_since(repo, None, tip).entries):
        if run.usage.requests:
            seen = control.usage(run.run).first_request_at
            assert seen is not None
            found.append((datetime.fromisoformat(seen) - run.started_at).total_seconds())
    return found


def rss(pid_file: Path) -> int:
    pid = json.loads(pid_file.read_text())["pid"]
    return int(psutil.Process(pid).memory_info().rss)
