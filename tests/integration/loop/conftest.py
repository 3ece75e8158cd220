"""Houses are made per module and torn down with everything they started."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.app.deployment import Deployment, free_port
from factory.app.hiring import Wish, hire
from factory.app.people import as_person
from factory.app.services import ensure_gateway, stop
from factory.app.setup import Request, admin_of, set_up
from factory.config.model import Mode
from factory.config.surroundings import inherited
from factory.daemon.executor import LocalExecutor
from factory.demo.example import CI_COMMAND, SCRIPT, project_files
from factory.git import objects
from factory.git.values import Signature
from tests.integration.loop.house import Build, House


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """Make houses; each is torn down with everything it started."""
    with ExitStack() as ends:

        def make(**options: object) -> House:
            home = tmp_path_factory.mktemp("house") / "home"
            done = set_up(
                Request(
                    source=str(_example(home.parent)), home=home, name="tally", mode=Mode.MERGE,
                    forge_port=free_port(), web_port=free_port(), ci_command=CI_COMMAND, private=False,
                    **options,  # type: ignore[arg-type]
                ),
                now=datetime.now(UTC), said=lambda line: None,
            )  # fmt: skip
            deployment = Deployment.open(home)
            ends.callback(_close, deployment)
            ensure_gateway(deployment.host)
            hire(deployment, Wish("native", name="scripted", replay=SCRIPT, slots=4))
            executor = LocalExecutor(home, [sys.executable, "-m", "factory", "session", "exec"], inherited(home))
            founder = ends.enter_context(as_person(deployment, "founder"))
            admin = ends.enter_context(admin_of(deployment.host, None))
            house = House(deployment, done.project, done.ops, founder, admin, executor)
            ends.callback(_end_sessions, house)
            return house

        yield make


def _close(deployment: Deployment) -> None:
    stop(deployment)
    deployment.close()


def _end_sessions(house: House) -> None:
    for run in house.runs():
        if not run.state.is_terminal and run.host == house.deployment.host.host:
            house.executor.cancel(run.run, "the test")
    deadline = time.monotonic() + 10
    while house.executor.alive() and time.monotonic() < deadline:
        time.sleep(0.05)


def _example(folder: Path) -> Path:
    repo = folder / "tally.git"
    objects.init_bare(repo)
    who = Signature("Founder", "founder@example.test", 1_800_000_000)
    first = objects.build_commit(
        repo, parent=None, changes=dict(project_files()), message="Begin tally\n", author=who, committer=who
    )
    objects.create_ref(repo, "refs/heads/main", first)
    return repo
