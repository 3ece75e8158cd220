"""Two projects of one owner on one host: each is served, and an idle turn asks their owner once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.app.daemon import loop_of
from factory.app.deployment import Deployment, free_port
from factory.app.services import forge_home, stop
from factory.app.setup import Request, set_up
from factory.config.model import Mode
from factory.daemon.loop import Loop
from factory.daemon.wake import Wake
from tests.integration.cli.person import project_in


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Deployment]:
    home, ports = tmp_path / "home", (free_port(), free_port())
    for name in ("hello", "world"):
        request = Request(
            source=str(project_in(tmp_path / name)), home=home, mode=Mode.OBSERVE, forge_port=ports[0],
            web_port=ports[1], ci_command="true",
        )  # fmt: skip
        set_up(request, now=datetime.now(UTC), said=lambda line: None)
    with closing(Deployment.open(home)) as deployment:
        yield deployment
        stop(deployment)


def asked(deployment: Deployment, turn: Loop) -> list[str]:
    """What the forge's own log shows of one turn: method and path. Dispatcher and sentinel, processes with accounts of
    their own, look when it is their time, also amid this turn; that the turn asks with no other account is counted."""
    log = forge_home(deployment.state) / "access.log"
    before = len(log.read_text().splitlines())
    turn.turn()
    rows = [json.loads(line) for line in log.read_text().splitlines()[before:]]
    mine = [row for row in rows if row["user"] == "factory-bot"]
    return sorted(f"{row['method']} {row['path'].partition('?')[0]}" for row in mine)


def test_an_idle_turn_is_two_requests_per_project_and_one_per_owner(two: Deployment) -> None:
    loop = loop_of(two, Wake(), lambda line: None)
    loop.start()
    deadline = time.monotonic() + 60
    # What was read in the second it changed in is read once more; then it is quiet.
    while loop.turn() or not all(t.observer.snapshot.settled for t in loop.tickers) or loop.last_beat.running:
        assert time.monotonic() < deadline, loop.last_beat
        time.sleep(0.2)
    assert [str(t.observer.place.project) for t in loop.tickers] == ["founder/hello", "founder/world"]
    for _ in range(3):  # turns that follow one another within one second of the forge's clock too
        assert asked(two, loop) == [
            "GET /api/v1/repos/issues/search",
            *(f"POST /founder/{name}.git/git-upload-pack" for name in ("hello-ops", "hello", "world-ops", "world")),
        ]
        assert loop.last_beat.recent[-1].forge_requests == 5
