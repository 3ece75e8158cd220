"""How a run ends when something goes wrong: the cause, its words, and that nothing of it is left running."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from factory.backends.native import Native
from factory.backends.protocol import Launch, LaunchRequest
from factory.config.model import Ci
from factory.errors import FactoryError
from factory.git import objects
from factory.git.transport import Remote
from factory.runs.model import Cause, RunState, Usage
from factory.runs.retry import RULES
from factory.runs.spec import SessionResult
from factory.sandbox.bubblewrap import Bubblewrap
from factory.session import box as boxes
from factory.session.stopped import Stopped
from tests.integration.session.house import CI, COMMIT, DEV, House, Model, processes_of, run_call, says, wait_until

pytestmark = pytest.mark.needs_bwrap


def limits(text: str, **changed: float) -> str:
    """The formula with other limits."""
    lines = [f"{key} = {value}" for key, value in changed.items()]
    kept = [line for line in text.splitlines() if line.split(" = ")[0] not in changed]
    at = kept.index("[limits]") + 1
    return "\n".join([*kept[:at], *lines, *kept[at:]]) + "\n"


def failed(result: SessionResult, cause: Cause, *words: str) -> None:
    assert (result.state, result.cause) == (RunState.FAILED, cause), result
    for word in words:
        assert word in result.detail


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Model]:
    """A gateway that charges."""
    model = Model.start(tmp_path / "priced", price={"input_per_mtok": 1000, "output_per_mtok": 1000})
    yield model
    model.gateway.stop()


# ---- bounds ---------------------------------------------------------------------------------------------------------


def test_silence_is_inactivity(house: House) -> None:
    result = house.dev(run_call("sleep 60"), says(), text=limits(DEV, idle_seconds=1))
    failed(result, Cause.INACTIVITY, "nothing was heard")
    assert result.seconds < 6
    assert not processes_of(result.run)


def test_the_wall_clock_ends_it(house: House) -> None:
    result = house.dev(run_call("sleep 60"), says(), text=limits(DEV, minutes=0.03))
    failed(result, Cause.MAX_DURATION)


def test_a_backend_that_floods_is_stopped(house: House) -> None:
    class Flood(Native):
        def launch(self, request: LaunchRequest) -> Launch:
            return replace(super().launch(request), argv=("/usr/bin/yes",))

    result = house.dev(says(), text=limits(DEV, output_bytes=100_000), **{})
    assert result.cause is Cause.NO_CHANGES
    house.backend = Flood()
    failed(house.dev(says(), text=limits(DEV, output_bytes=100_000)), Cause.BACKEND, "100000 bytes")


def test_going_in_circles_is_no_progress_for_any_backend(house: House) -> None:
    """A backend without a watchdog of its own: its events alone tell."""
    said = "".join(
        f'{{"event": "tool_call", "name": "run", "input": {{"command": "make"}}}}\n'
        f'{{"event": "tool_result", "name": "run", "error": true, "text": "{text}"}}\n'
        for text in ("a", "b", "b", "b")
    )

    class Circles(Native):
        def launch(self, request: LaunchRequest) -> Launch:
            return replace(super().launch(request), argv=("/bin/sh", "-c", f"printf '%s' '{said}'; sleep 60"))

    house.backend = Circles()
    result = house.dev(says())
    failed(result, Cause.INACTIVITY, "no progress: run failed in the same way 3 times: b")
    assert result.seconds < 10


def test_turns_and_money_end_it_with_the_gateways_own_words(house: House, priced: Model) -> None:
    turns = [run_call(f"echo {n} >> app.py; {COMMIT}") for n in range(3)]
    failed(house.dev(*turns, says(), text=limits(DEV, turns=2)), Cause.MAX_TURNS)
    house.model = priced
    usage = {"usage": {"input": 1000, "output": 500}}
    result = house.dev(*({**turn, **usage} for turn in turns), says(), text=limits(DEV, cost_usd=2.0))
    failed(result, Cause.BUDGET, "budget")
    assert 0 < result.usage.cost_usd <= 3.0


def test_a_providers_quota_is_quota(house: House) -> None:
    failed(house.dev({"error": {"status": 429, "message": "come back", "retry_after": 3600}}), Cause.QUOTA, "come back")


def test_a_conversation_that_leaves_the_script_fails_loudly(house: House) -> None:
    result = house.dev(run_call("echo hello"), {**says(), "expect": "something else"})
    failed(result, Cause.BACKEND, "mismatch", "something else")


# ---- backends -------------------------------------------------------------------------------------------------------


class Odd(Native):
    """A backend that prints what it likes and ends as it likes."""

    def __init__(self, script: str) -> None:
        self.script = script

    def launch(self, request: LaunchRequest) -> Launch:
        return replace(super().launch(request), argv=("/bin/sh", "-c", self.script))


@pytest.mark.parametrize(
    ("script", "cause", "word"),
    [
        ("exit 3", Cause.BACKEND, "ended with code 3"),
        ("kill -SEGV $$", Cause.BACKEND, "ended"),
        ("exit 125", Cause.BACKEND, "ended with code 125"),
        ("""echo '{"event": "done", "ok": false, "reason": "x", "turns": 1, "cause": "lost"}'""", Cause.BACKEND, "x"),
        ("""echo '{"event": "done", "ok": false, "reason": "x", "turns": 1, "cause": ["a"]}'""", Cause.BACKEND, "x"),
        ("""echo '{"event": "done", "ok": false, "reason": "x", "turns": 1, "cause": "sandbox"}'""", Cause.BACKEND, ""),
        ("""echo '{"event": "done", "ok": false, "reason": "x", "turns": 1, "cause": "refused"}'""", Cause.REFUSED, ""),
        ("head -c 100000 /dev/urandom; exit 1", Cause.BACKEND, "code 1"),
        ("kill -9 2", Cause.BACKEND, ""),
    ],
)
def test_what_a_backend_says_of_its_end_is_believed_as_far_as_it_may_know(
    house: House, script: str, cause: Cause, word: str
) -> None:
    house.backend = Odd(script)
    failed(house.dev(says()), cause, word)


def test_a_backend_that_is_not_there_is_the_backends_failure(house: House) -> None:
    class Missing(Native):
        def launch(self, request: LaunchRequest) -> Launch:
            return replace(super().launch(request), argv=("/nowhere/claude",))

    house.backend = Missing()
    result = house.dev(says())
    failed(result, Cause.BACKEND, "127")
    assert "starting /nowhere/claude" in house.log(result)
    assert result.usage == Usage(), "the gateway counted no request, and says so"


# ---- sandbox --------------------------------------------------------------------------------------------------------


def test_more_memory_than_allowed_is_the_sandboxs_end_and_says_why(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "LIMITS", replace(boxes.LIMITS, memory_bytes=200 << 20))
    eat = "python3 -c 'x = bytearray(600 << 20); import time; time.sleep(30)'"
    result = house.dev(run_call(eat), says())
    failed(result, Cause.SANDBOX, "memory")
    assert result.seconds < 20


BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        break
{then}
"""


AND_STAYS = """
while not os.path.exists("/run/factory/out/go"):
    try:  # what a checkpoint held when it burst becomes free again
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
    except OSError:
        time.sleep(0.05)
"""


def test_a_fork_bomb_hangs_nothing_and_keeps_what_was_committed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process it may have is used up: no checkpoint can be packed then, and that ends nothing."""
    house.checkpoint_s = 0.3
    monkeypatch.setattr(boxes, "LIMITS", replace(boxes.LIMITS, pids=64))
    spec = house.spec()
    refused = "boot: checkpoint: packing: Resource temporarily unavailable"
    bomb = BOMB.format(then=AND_STAYS)
    house.model.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}; python3 -c '{bomb}'"), says()])

    def release() -> None:
        folders = house.folders(spec)
        wait_until(lambda: folders.log.exists() and refused in folders.log.read_text())
        (folders.round("implement", 0) / "out" / "go").touch()

    thread = threading.Thread(target=release)
    thread.start()
    result = house.run(spec)
    thread.join()
    assert (result.state, result.commits) == (RunState.SUCCEEDED, 1), (result, house.log(result))


def test_a_fork_bomb_that_goes_on_is_ended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "LIMITS", replace(boxes.LIMITS, pids=64))
    bomb = BOMB.format(then="time.sleep(60)")
    result = house.dev(run_call(f"python3 -c '{bomb}'"), says(), text=limits(DEV, idle_seconds=1))
    failed(result, Cause.INACTIVITY)
    assert result.seconds < 10
    assert not processes_of(result.run)


def test_a_sandbox_that_cannot_be_built_is_named(house: House) -> None:
    house.sandbox = Bubblewrap("/usr/bin/false")
    failed(house.dev(says()), Cause.SANDBOX, "the sandbox ended it", "bubblewrap could not build the sandbox")
    house.sandbox = Bubblewrap("/nowhere/bwrap")
    failed(house.dev(says()), Cause.SANDBOX, "No such file")


# ---- git, gateway, the unforeseen -----------------------------------------------------------------------------------


def test_a_project_that_does_not_answer_is_the_forges_failure_or_gits(house: House) -> None:
    result = house.run(house.spec(), project_remote=Remote(str(house.root / "nowhere.git")))
    assert result.cause in (Cause.FORGE, Cause.GIT)
    result = house.run(house.spec(), project_remote=Remote("http://127.0.0.1:9/x.git"))
    failed(result, Cause.FORGE)
    assert RULES[Cause.FORGE].same_round
    assert RULES[Cause.GIT].same_round


def test_a_base_that_is_gone_is_gits_failure(house: House) -> None:
    failed(house.run(house.spec(base="1" * 40)), Cause.GIT)


class Away:
    """A gateway that answers nothing."""

    def __getattr__(self, _name: str) -> Any:
        def call(*_args: object, **_given: object) -> object:
            raise FactoryError("asking the gateway: it does not answer")

        return call


def test_a_gateway_that_does_not_answer_is_the_backends_failure(house: House) -> None:
    failed(house.run(house.spec(), gateway=Away()), Cause.BACKEND, "does not answer")


def test_what_nobody_foresaw_is_a_bug_with_its_trace_in_the_log(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object, **_given: object) -> object:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("factory.session.steps.prompt", broken)
    result = house.dev(says())
    failed(result, Cause.BUG, "ZeroDivisionError: by nothing")
    assert "Traceback" in house.log(result)
    assert house.result(house.spec(run=result.run)) == result


def test_no_room_is_the_machines_failure(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_given: object) -> object:
        raise OSError(28, "No space left on device", "/somewhere")

    monkeypatch.setattr(boxes, "make", full)
    failed(house.dev(says()), Cause.SANDBOX, "No space left on device: /somewhere")


# ---- the ground -----------------------------------------------------------------------------------------------------


def test_a_cache_deleted_under_an_agent_is_no_fault_of_its_work(house: House) -> None:
    house.checkpoint_s = 0.2
    spec = house.spec()
    house.model.script_for(spec.alias, [run_call("echo up > /run/factory/out/up; sleep 30"), says()])
    up = house.folders(spec).round("implement", 0) / "out" / "up"

    def delete() -> None:
        wait_until(up.exists)
        shutil.rmtree(house.home / "cache", ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    result = house.run(spec)
    thread.join()
    failed(result, Cause.LOST, "was deleted while the run stood on it")
    assert result.seconds < 10
    assert RULES[Cause.LOST].same_round
    assert house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says()).state is RunState.SUCCEEDED


@pytest.mark.parametrize("what", ["cache", "cache/views", "cache/runs"])
def test_a_check_whose_ground_was_deleted_is_not_red(house: House, what: str) -> None:
    spec = house.spec("ci", ci=Ci(command="touch up; while test -e app.py; do sleep 0.05; done; exit 1"))
    clone = house.folders(spec).cache / "clone-tests"

    def delete() -> None:
        wait_until((clone / "up").exists)
        shutil.rmtree(house.home / what, ignore_errors=True)
        shutil.rmtree(clone, ignore_errors=True)

    thread = threading.Thread(target=delete)
    thread.start()
    result = house.run(spec)
    thread.join()
    failed(result, Cause.LOST, "was deleted")


def test_a_restrictive_umask_and_long_folders_change_nothing(tmp_path: Path, model: Model) -> None:
    before = os.umask(0o077)
    try:
        house = House(tmp_path / ("long" * 30) / ("folder" * 20), model)
        result = house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says())
        assert result.state is RunState.SUCCEEDED, (result, house.log(result))
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_what_a_killed_process_left_is_swept_before_the_run_begins_again(house: House) -> None:
    spec = house.spec()
    house.model.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}"), says()])
    left = house.folders(spec).round("implement", 0) / "out"
    left.mkdir(parents=True)
    (left / "outbox.jsonl").write_text('{"kind": "comment", "body": "of another life"}\n')
    result = house.run(spec)
    assert (result.state, result.outbox) == (RunState.SUCCEEDED, ())


# ---- cancelled ------------------------------------------------------------------------------------------------------


def test_cancel_ends_the_whole_tree_within_two_seconds_and_says_so(house: House) -> None:
    spec = house.spec()
    stubborn = "trap '' TERM; (setsid sh -c \"trap '' TERM; touch /run/factory/out/up; sleep 77\" &); sleep 78"
    house.model.script_for(spec.alias, [run_call(stubborn), says()])
    with house.start(spec) as process:
        wait_until((house.folders(spec).round("implement", 0) / "out" / "up").exists)
        inside = tree(process.pid)
        assert len(inside) > 4
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: not [pid for pid in inside if pid != process.pid and is_alive(pid)], 2.0)
        assert time.monotonic() - began < 2.0
        assert process.wait(10) == 0
    result = house.result(spec)
    assert (result.state, result.cause) == (RunState.CANCELLED, Cause.CANCELLED)
    assert not house.folders(spec).cache.exists()


def test_cancel_interrupts_the_sessions_own_work(house: House, tmp_path: Path) -> None:
    """A fetch that hangs is ours, not the sandbox's: it ends too."""
    with Silent() as silent:
        spec = house.spec()
        stopped = Stopped()
        timer = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        timer.start()
        with stopped.listening():
            result = house.run(spec, stopped=stopped, project_remote=Remote(f"http://127.0.0.1:{silent.port}/x.git"))
    assert (result.cause, result.seconds < 2.5) == (Cause.CANCELLED, True), result


def test_a_wish_from_before_the_start_is_heard(house: House) -> None:
    stopped = Stopped()
    stopped.flag = True
    result = house.run(house.spec(), stopped=stopped)
    assert (result.cause, result.seconds < 1) == (Cause.CANCELLED, True)


class Silent:
    """A server that accepts and never answers."""

    def __enter__(self) -> Silent:
        import socket

        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def tree(root: int) -> list[int]:
    """``root`` and what descends from it."""
    found = [root]
    for pid in found:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


# ---- red, green, and neither ----------------------------------------------------------------------------------------


def ci(house: House, command: str, **changed: float) -> SessionResult:
    return house.run(house.spec("ci", text=limits(CI, **changed), ci=Ci(command=command), head_ref=None))


def test_a_check_is_red_by_its_exit_and_shows_its_end(house: House) -> None:
    result = ci(house, "echo early; seq 1 1000; echo 'assert failed' >&2; exit 4")
    (step,) = result.steps
    assert (result.state, step.ok, step.answer and step.answer["exit"]) == (RunState.SUCCEEDED, False, 4)
    tail = str((step.answer or {})["tail"])
    assert "assert failed" in tail
    assert "early" not in tail
    assert "early" in house.log(result)


def test_a_check_that_prints_without_end_is_red(house: House) -> None:
    result = ci(house, "yes", output_bytes=500_000)
    (step,) = result.steps
    assert (result.state, step.ok) == (RunState.SUCCEEDED, False)
    assert "printed more than" in step.detail


def test_its_own_exit_125_is_red_and_the_sandboxs_is_not(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = ci(house, "exit 125").steps
    assert (step.ok, step.answer and step.answer["exit"]) == (False, 125)
    monkeypatch.setattr(boxes, "LIMITS", replace(boxes.LIMITS, memory_bytes=200 << 20))
    failed(ci(house, "python3 -c 'bytearray(600 << 20); import time; time.sleep(30)'"), Cause.SANDBOX, "memory")


def test_a_check_has_no_gateway_no_network_and_asks_for_nothing(house: House) -> None:
    found = "ls /run/factory; python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8790), 2)'"
    result = ci(house, f"{found} 2>&1 || emit comment --body-file - </dev/null || env | grep -ci proxy || true")
    tail = str((result.steps[0].answer or {})["tail"])
    assert "gateway.sock" not in tail
    assert "ConnectionRefused" in tail
    assert tail.endswith("0")
    assert result.outbox == ()


def test_steps_of_other_kinds_are_refused(house: House) -> None:
    text = DEV + '[[steps]]\nid = "ask"\nkind = "human"\nneeds = ["implement"]\nquestion = "Really?"\n'
    failed(house.dev(run_call(f"echo y >> app.py; {COMMIT}"), says(), text=text), Cause.GATE, "human")


def test_objects_are_borrowed_while_the_run_goes(house: House) -> None:
    """Nobody may prune the view between the fetch and the last read."""
    from factory.git.view import compact, open_view
    from factory.session.checkout import view_path

    spec = house.spec()
    waits = "touch /run/factory/out/up; until [ -e /run/factory/out/tried ]; do sleep 0.05; done"
    house.model.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}; {waits}"), says()])
    view = open_view(view_path(house.home, spec.project))
    seen: list[bool] = []

    def prune() -> None:
        out = house.folders(spec).round("implement", 0) / "out"
        wait_until((out / "up").exists)
        seen.append(compact(view, keep=()))
        (out / "tried").touch()

    thread = threading.Thread(target=prune)
    thread.start()
    result = house.run(spec)
    thread.join()
    assert (result.state, seen) == (RunState.SUCCEEDED, [False])
    assert objects.exists(view.path, house.base)
