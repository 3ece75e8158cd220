"""``make bench``: the figures the product is proud of, as counts and ratios, in one table."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from factory.app.demo import Demo
from factory.app.deployment import Deployment, free_port
from factory.app.people import as_person
from factory.app.services import ensure_daemon, folder, stop
from factory.app.setup import Request, set_up
from factory.config.model import DEFAULT_ACCOUNTS, Mode
from factory.daemon.executor import LocalExecutor
from factory.demo.example import CI_COMMAND, project_files
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.values import Signature

Row = tuple[str, str]


def main() -> None:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="factory-bench-", ignore_cleanup_errors=True) as folder_name:
        root = Path(folder_name)
        for part in (start_up, ticks, first_request):
            rows += part(root)
            for name, value in rows[-8:]:
                print(f"{name:<72} {value}", file=sys.stderr)
    print()
    for name, value in rows:
        print(f"{name:<72} {value}")


def median_of(command: list[str], times: int = 15) -> float:
    """Median wall seconds of a command."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def start_up(_root: Path) -> list[Row]:
    bare = median_of([sys.executable, "-c", "pass"])
    ours = median_of([str(Path(sys.executable).with_name("factory")), "--version"])
    return [("factory --version, ms over `python -c pass` (limit 80)", f"{(ours - bare) * 1000:.0f}")]


def a_project(root: Path) -> Path:
    repo = root / "tally.git"
    objects.init_bare(repo)
    who = Signature("Founder", "founder@factory.invalid", int(time.time()), 0)
    first = objects.build_commit(
        repo, parent=None, changes=dict(project_files()), message="Begin\n", author=who, committer=who
    )
    objects.create_ref(repo, "refs/heads/main", first)
    return repo


def ticks(root: Path) -> list[Row]:
    """Requests and time of a tick with nothing changed and with one change, by the number of open issues."""
    from factory.app.daemon import ticker
    from factory.daemon.meter import Cost, Meter

    rows: list[Row] = []
    home = root / "ticks"
    project = RepoName("founder", "tally")
    request = Request(
        str(a_project(root)), home, name="tally", mode=Mode.OBSERVE, forge_port=free_port(), web_port=free_port(),
        ci_command=CI_COMMAND,
    )  # fmt: skip
    set_up(request, now=datetime.now(UTC), said=lambda line: None)
    deployment = Deployment.open(home)
    try:
        executor = LocalExecutor(home, ["true"], {})
        meter = Meter(lambda: Cost(0, 0, 0))
        turning = ticker(deployment, *deployment.projects()[0], executor, meter, lambda line: None)
        count = 0
        factory = deployment.forge(DEFAULT_ACCOUNTS["factory"])
        with as_person(deployment, "founder") as founder:
            for wanted in (10, 100, 1000):
                while count < wanted:
                    count += 1
                    founder.create_issue(project, title=f"Issue {count}", body="A body of a few words.")
                settle(turning.tick, lambda: factory.requests)
                quiet, quiet_s = cost(lambda: factory.requests, turning.tick)
                founder.comment(project, 1, "One change.")
                changed, changed_s = cost(lambda: factory.requests, turning.tick)
                rows.append(
                    (
                        f"tick at {wanted} open issues: requests (ms) quiet / one change",
                        f"{quiet} ({quiet_s * 1000:.0f}) / {changed} ({changed_s * 1000:.0f})",
                    )
                )
    finally:
        stop(deployment)
    return rows


def settle(tick: Callable[[datetime], object], requests: Callable[[], int]) -> None:
    """Tick until nothing is read again. For a minute after a change the snapshot looks back over it: a slow
    transaction of the forge may still show up with an older time."""
    deadline = time.monotonic() + 120
    while cost(requests, tick)[0] > 3 and time.monotonic() < deadline:
        time.sleep(0.5)


def cost(requests: Callable[[], int], tick: Callable[[datetime], object]) -> tuple[int, float]:
    before, began = requests(), time.perf_counter()
    tick(datetime.now(UTC))
    return requests() - before, time.perf_counter() - began


def first_request(root: Path) -> list[Row]:
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
    from factory.app.opsrepo import mirror
    from factory.app.session import control_socket
    from factory.gateway.control import GatewayControl
    from factory.runs.journal import REF, entries_since, fold

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
    import json

    pid = json.loads(pid_file.read_text())["pid"]
    return int(psutil.Process(pid).memory_info().rss)


if __name__ == "__main__":
    main()
