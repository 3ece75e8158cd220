"""Whether a run is dead: its lock says so, in whatever way it and its dispatcher ended. And several at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from factory.process.lock import boot_id, hold, is_held, try_hold
from factory.vault.action import Tier
from factory.vault.ports import Order
from factory.vault.run.runner import Runner
from tests.integration.vault.run.house import HOST, INSTANCE, House, formula, probe, token

pytestmark = pytest.mark.needs_bwrap
Other = tuple["subprocess.Popen[bytes]", str, str]
SLEEP = "import os, time\nprint('up', flush=True)\ntime.sleep(60)"


def until(what: object, seconds: float = 20) -> None:
    """Wait for a condition that nothing announces."""
    end = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def up(house: House, order: Order) -> bool:
    path = house.state / "logs" / f"{order.run}.log"
    return path.exists() and "let through" not in path.read_text() and bool(child_of(house, order))


def child_of(house: House, order: Order) -> int | None:
    try:
        values = json.loads((house.state / "locks" / f"{order.run}.lock").read_text())
    except (OSError, ValueError):
        return None
    child: int | None = values.get("child")
    return child


def test_a_run_lives_until_its_end(house: House) -> None:
    runner, order = house.runner(), house.order(formula(SLEEP))
    runner.start(order)
    until(lambda: up(house, order))
    assert is_held(house.state / "locks" / f"{order.run}.lock")
    assert not runner.dead(INSTANCE, order.run)
    runner.close()
    assert house.wait(runner).state == "clean"
    until(lambda: runner.dead(INSTANCE, order.run))
    assert not (house.state / "locks" / f"{order.run}.lock").exists()


def test_of_another_host_nothing_is_proved(house: House) -> None:
    runner = house.runner()
    assert not runner.dead("elsewhere/0123456789abcdef", token())
    assert not runner.dead("nonsense", token())
    assert not runner.dead(HOST, token())


def test_of_another_dispatcher_both_locks_must_be_free(house: House) -> None:
    runner, run = house.runner(), token()
    locks = house.state / "locks"
    assert runner.dead(f"{HOST}/feedfeedfeedfeed", run)
    with hold(locks / "feedfeedfeedfeed.lock"):
        assert not runner.dead(f"{HOST}/feedfeedfeedfeed", run)
    with hold(locks / f"{run}.lock"):
        assert not runner.dead(f"{HOST}/feedfeedfeedfeed", run)
    assert runner.dead(f"{HOST}/feedfeedfeedfeed", run)


def test_killing_ends_the_tree_and_frees_the_lock(house: House) -> None:
    stubborn = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.fork() or os.setsid()\n"
    runner, order = house.runner(), house.order(formula(stubborn + SLEEP))
    runner.start(order)
    until(lambda: up(house, order))
    runner.dead(INSTANCE, order.run, kill=True)
    assert house.wait(runner).state == "clean"
    until(lambda: runner.dead(INSTANCE, order.run))


OTHER = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.integration.vault.run.house import *
from tests.integration.vault.run.conftest import Tried
from dataclasses import replace
house = House(Path({folder!r}), Tried(), Outside())
runner = house.runner(instance="{instance}")
runner._proved = house.sandbox
order = replace(house.order(formula({code!r})), run={run!r})
runner.start(order)
print("started", flush=True)
time.sleep(120)
"""


@pytest.fixture
def other(house: House) -> Iterator[Other]:
    """Another dispatcher's process on this host, with a run of its own."""
    run, instance = token(), f"{HOST}/feedfeedfeedfeed"
    root = str(Path(__file__).parents[4])
    text = OTHER.format(root=root, folder=str(house.root), instance=instance, code=SLEEP, run=run)
    lock = try_hold(house.state / "locks" / "feedfeedfeedfeed.lock")
    assert lock is not None
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, pass_fds=(lock.fileno(),)) as process:
        lock.release()  # from here on it is the other process's alone
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        order = replace(house.order(formula()), run=run)
        until(lambda: up(house, order))
        yield process, instance, run
        process.kill()


def test_a_killed_dispatcher_takes_its_run_with_it(house: House, other: Other) -> None:
    process, instance, run = other
    runner = house.runner()
    assert not runner.dead(instance, run)
    process.kill()
    until(lambda: runner.dead(instance, run), 5)


def test_a_stopped_dispatcher_is_not_dead_until_it_is_killed(house: House, other: Other) -> None:
    """Paused in the middle, it would wake up as a zombie: whoever takes over ends it first."""
    process, instance, run = other
    runner = house.runner()
    os.kill(process.pid, signal.SIGSTOP)
    assert not runner.dead(instance, run)
    runner.dead(instance, run, kill=True)
    until(lambda: runner.dead(instance, run), 5)
    assert process.wait(5) == -signal.SIGKILL


def test_a_number_that_was_given_away_again_is_not_killed(house: House) -> None:
    runner, run = house.runner(), token()
    lock = house.state / "locks" / f"{run}.lock"
    with subprocess.Popen(["sleep", "60"]) as stranger, hold(lock):
        values = {"boot": boot_id(), "pid": stranger.pid, "created": 1.5, "child": stranger.pid, "child_created": 1.5}
        lock.write_text(json.dumps(values))
        runner.dead(f"{HOST}/feedfeedfeedfeed", run, kill=True)
        assert stranger.poll() is None
        stranger.kill()


def test_a_run_begins_once(house: House) -> None:
    runner, order = house.runner(), house.order(formula())
    assert house.run(order, runner=runner).state == "done"
    again = house.run(order, runner=runner)
    assert (again.state, "begun before" in again.words) == ("unclear", True)
    with hold(house.state / "locks" / f"{(other := replace(order, run=token())).run}.lock"):
        assert house.run(other, runner=runner).words == "this run is under way already"


def test_a_probe_has_a_lock_and_a_log_of_its_own(house: House) -> None:
    runner, order = house.runner(), house.order(formula(SLEEP, effects="file_pending"))
    runner.start(order)
    until(lambda: up(house, order))
    looked = replace(probe(order), action=replace(order.action, params={}))
    runner.start(looked)
    until(lambda: (house.state / "logs" / f"{order.run}-look2-1.log").exists())
    runner.close()


def test_so_many_of_a_tier_at_once_and_no_tier_holds_up_another(house: House) -> None:
    runner = Runner(house.tools(), house.root / "cache", at_once=2)
    house.runners.append(runner)
    high = [house.order(formula(SLEEP), id=f"2026-11-28-high-{n}") for n in range(3)]
    low = replace(house.order(formula(SLEEP), id="2026-11-28-low"), tier=Tier.LOW)
    for order in (*high, low):
        runner.start(order)
    until(lambda: up(house, low) and sum(up(house, order) for order in high) == 2)
    (waiting,) = [order for order in high if not up(house, order)]
    assert not (house.state / "logs" / f"{waiting.run}.log").exists()
    runner.close()


def test_what_keeps_a_run_from_starting_is_its_outcome(house: House) -> None:
    (house.root / "vault").mkdir()
    (house.root / "vault" / "logs").write_text("in the way")
    outcome = house.run(house.order(formula()))
    assert (outcome.state, "log cannot be written" in outcome.words) == ("clean", True)
