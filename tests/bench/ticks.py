"""What one tick of a whole daemon costs in requests and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from factory.app.daemon import ticker
from factory.app.deployment import Deployment, free_port
from factory.app.people import as_person
from factory.app.services import stop
from factory.app.setup import Request, set_up
from factory.config.model import DEFAULT_ACCOUNTS, Mode
from factory.daemon.executor import LocalExecutor
from factory.daemon.meter import Cost, Meter
from factory.demo.example import CI_COMMAND, project_files
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.values import Signature
from tests.bench.table import Row

OPEN = (1000,)
"""How many issues are open; smaller numbers are the snapshot's part, and each costs a minute of waiting."""


def a_project(root: Path) -> Path:
    repo = root / "tally.git"
    objects.init_bare(repo)
    who = Signature("Founder", "founder@factory.invalid", int(time.time()), 0)
    first = objects.build_commit(
        repo, parent=None, changes=dict(project_files()), message="Begin\n", author=who, committer=who
    )
    objects.create_ref(repo, "refs/heads/main", first)
    return repo


def measure(root: Path) -> list[Row]:
    """Requests and time of a tick with nothing changed and with one change, by the number of open issues."""
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
            for wanted in OPEN:
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
