"""What one tick of a whole daemon costs in requests and time."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from factory.app.daemon import ticker
from factory.app.deployment import Deployment, free_port
from factory.app.people import as_person
from factory.app.services import stop
from factory.app.setup import Request, set_up
from factory.config.model import DEFAULT_ACCOUNTS, Mode
from factory.daemon.executor import LocalExecutor
from factory.daemon.meter import Cost, Meter
from factory.daemon.tick import Ticker
from factory.demo.example import CI_COMMAND, project_files
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.values import Signature
from tests.bench.table import Row

OPEN = (10, 100, 1000)
"""How many issues are open."""


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
    """Requests and time of a tick with nothing changed and with one change, by the number of open issues. Each size is
    a factory of its own, and all settle together."""
    with ExitStack() as ends:
        made = [filled(root / str(size), size, ends) for size in OPEN]
        for turning, factory, _ in made:
            settle(turning.tick, partial(requests_of, factory))
        rows: list[Row] = []
        for size, (turning, factory, change) in zip(OPEN, made, strict=True):
            requests = partial(requests_of, factory)
            quiet, quiet_s = cost(requests, turning.tick)
            change()
            changed, changed_s = cost(requests, turning.tick)
            rows.append(
                (
                    f"tick at {size} open issues: requests (ms) quiet / one change",
                    f"{quiet} ({quiet_s * 1000:.0f}) / {changed} ({changed_s * 1000:.0f})",
                )
            )
        return rows


def requests_of(client: ForgejoClient) -> int:
    return client.requests


def filled(root: Path, size: int, ends: ExitStack) -> tuple[Ticker, ForgejoClient, Callable[[], object]]:
    """A factory whose project has so many open issues: its ticker, the client whose requests count, and one change."""
    root.mkdir()
    project = RepoName("founder", "tally")
    request = Request(
        str(a_project(root)), root / "home", name="tally", mode=Mode.OBSERVE, forge_port=free_port(),
        web_port=free_port(), ci_command=CI_COMMAND,
    )  # fmt: skip
    set_up(request, now=datetime.now(UTC), said=lambda line: None)
    deployment = Deployment.open(root / "home")
    ends.callback(stop, deployment)
    founder = ends.enter_context(as_person(deployment, "founder"))
    executor, meter = LocalExecutor(root / "home", ["true"], {}), Meter(lambda: Cost(0, 0, 0))
    turning = ticker(deployment, *deployment.projects()[0], executor, meter, lambda line: None)
    for number in range(1, size + 1):
        founder.create_issue(project, title=f"Issue {number}", body="A body of a few words.")
    return (
        turning, deployment.forge(DEFAULT_ACCOUNTS["factory"]), lambda: founder.comment(project, 1, "One change.")
    )  # fmt: skip


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
