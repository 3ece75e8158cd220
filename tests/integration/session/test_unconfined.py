"""Sessions where host.toml says ``sandbox = "none"``: they share the host's network and its paths, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from factory.runs.model import RunState
from factory.runs.spec import SessionResult
from factory.sandbox.bare import Bare
from tests.integration.session.house import COMMIT, House, Model, run_call, says, wait_until


@pytest.fixture
def house(tmp_path: Path, model: Model) -> House:
    return House(tmp_path / "h", model, sandbox=Bare())


def test_two_at_once_have_a_gateway_each(house: House) -> None:
    first, second = house.spec(), house.spec()
    wait = "touch up; while test ! -e go; do sleep 0.02; done; rm up go"
    house.model.script_for(first.alias, [run_call(wait), run_call(f"echo y >> app.py; {COMMIT}"), says("one")])
    house.model.script_for(second.alias, [run_call(f"echo z >> app.py; {COMMIT}"), says("two")])
    ended: list[SessionResult] = []
    thread = threading.Thread(target=lambda: ended.append(house.run(first)))
    thread.start()
    clone = house.folders(first).cache / "clone-implement-0"
    wait_until((clone / "up").exists)
    result = house.run(second)
    (clone / "go").touch()
    thread.join()
    for run, said in ((ended[0], "one"), (result, "two")):
        assert (run.state, run.commits, run.steps[0].detail) == (RunState.SUCCEEDED, 1, said), house.log(run)


def test_a_home_far_down_reaches_its_gateway(tmp_path: Path, model: Model) -> None:
    """A socket's name holds 107 bytes, and a home may be anywhere."""
    house = House(tmp_path / ("folder" * 20), model, sandbox=Bare())
    result = house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says())
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 1), house.log(result)
