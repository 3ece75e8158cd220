"""The run's own end of the gateway: always the same file inside, whoever answers behind it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.runs.model import UNKNOWN_USAGE, Cause, RunState
from factory.sandbox import doorway
from factory.sandbox.doorway import reachable
from factory.session.relay import Relay
from tests.integration.session.house import COMMIT, House, Model, run_call, says, wait_until


class Far:
    """Stands for the gateway: says each connection's bytes back once the other side has said all, reversed."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX)
        with reachable(path) as address:
            self._socket.bind(address)
        self._socket.listen(64)
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        said = b""
        try:
            while data := connection.recv(65536):
                said += data
            connection.sendall(said[::-1])
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def die(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):  # it has ended already
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


class Both:
    def __init__(self, folder: Path) -> None:
        self.inside, self.gateway = folder / "inside.sock", folder / "gateway.sock"

    def connect(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(10)
        with reachable(self.inside) as address:
            made.connect(address)
        return made

    def talk(self, data: bytes) -> bytes:
        with self.connect() as made:
            answer = b""
            # Both are ends too: closed before we spoke, and where what we said was never read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                made.sendall(data)
                made.shutdown(socket.SHUT_WR)
                while more := made.recv(65536):
                    answer += more
            return answer


@pytest.fixture
def both(tmp_path: Path) -> Both:
    return Both(tmp_path)


def test_bytes_go_both_ways_and_an_end_of_one_leaves_the_other(both: Both) -> None:
    data = bytes(range(256)) * 20_000
    far = Far(both.gateway)
    with Relay(both.inside, both.gateway):
        assert both.talk(data) == data[::-1]
        assert both.talk(b"") == b""
    far.die()


def test_paths_longer_than_a_socket_address(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100) / ("y" * 100)
    folder.mkdir(parents=True)
    both = Both(folder)
    far = Far(both.gateway)
    with Relay(both.inside, both.gateway):
        assert both.talk(b"abc") == b"cba"
    far.die()


def test_a_gateway_that_comes_back_is_found_and_one_that_is_away_is_said_at_once(both: Both) -> None:
    with Relay(both.inside, both.gateway):
        assert both.talk(b"abc") == b""
        far = Far(both.gateway)
        assert both.talk(b"abc") == b"cba"
        with both.connect() as broken:
            broken.sendall(b"half")
            wait_until(lambda: len(far.connections) == 2)
            far.die()
            assert broken.recv(10) == b""
        again = Far(both.gateway)
        assert both.talk(b"abc") == b"cba"
        again.die()


def test_many_connections_at_once_and_more_than_it_takes(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doorway.Doorway.__init__, "__kwdefaults__", {"most": 8})
    far = Far(both.gateway)
    answers: list[bytes] = []
    with Relay(both.inside, both.gateway):
        threads = [
            threading.Thread(target=lambda n=n: answers.append(both.talk(b"%03d" % n * 1000))) for n in range(60)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(answers) == sorted((b"%03d" % n * 1000)[::-1] for n in range(60))
    far.die()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_leaving_ends_what_is_open_and_leaves_nothing_behind(both: Both) -> None:
    before, threads = descriptors(), threading.active_count()
    far = Far(both.gateway)
    opened: list[socket.socket] = []
    with Relay(both.inside, both.gateway):
        for _ in range(20):
            opened.append(both.connect())
            opened[-1].sendall(b"x")
        wait_until(lambda: len(far.connections) == 20)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    for one in opened:
        assert one.recv(10) == b""
        one.close()
    far.die()
    wait_until(lambda: descriptors() <= before and threading.active_count() <= threads)


def test_a_socket_file_of_an_earlier_life_is_replaced(both: Both) -> None:
    Far(both.inside).die()
    far = Far(both.gateway)
    with Relay(both.inside, both.gateway):
        assert both.talk(b"abc") == b"cba"
    far.die()


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Model]:
    """A gateway of the test's own, to be killed."""
    model = Model.start(tmp_path / "mortal")
    yield model
    model.gateway.stop()


@pytest.mark.needs_bwrap
def test_a_gateway_killed_in_mid_session_and_started_again_is_not_noticed(tmp_path: Path, mortal: Model) -> None:
    house = House(tmp_path / "h", mortal)
    spec = house.spec()
    wait = (
        f"echo y >> app.py; {COMMIT}; touch /run/factory/out/up; until test -e /run/factory/out/go; do sleep 0.02; done"
    )
    mortal.script_for(spec.alias, [run_call(wait), run_call("echo z > z; " + COMMIT), says("all done")])
    out = house.folders(spec).round("implement", 0) / "out"

    def kill() -> None:
        wait_until((out / "up").exists)
        mortal.gateway.kill()
        (out / "go").touch()
        time.sleep(0.5)  # the session asks a gateway that is not there
        mortal.gateway.start()

    thread = threading.Thread(target=kill)
    thread.start()
    result = house.run(spec)
    thread.join()
    assert (result.state, result.commits, result.usage.requests) == (RunState.SUCCEEDED, 2, 3), house.log(result)
    assert result.steps[0].detail == "all done"


@pytest.mark.needs_bwrap
def test_a_gateway_that_stays_away_ends_the_run_and_its_usage_is_unknown(tmp_path: Path, mortal: Model) -> None:
    house = House(tmp_path / "h", mortal, patience_s=0.5)
    spec = house.spec()
    mortal.script_for(spec.alias, [run_call(f"echo y >> app.py; {COMMIT}; touch /run/factory/out/up; sleep 1"), says()])
    up = house.folders(spec).round("implement", 0) / "out" / "up"

    def kill() -> None:
        wait_until(up.exists)
        mortal.gateway.kill()

    thread = threading.Thread(target=kill)
    thread.start()
    text = spec.formula_text.replace("idle_seconds = 60", "idle_seconds = 3")
    result = house.run(house.spec(run=spec.run, alias=spec.alias, text=text))
    thread.join()
    assert result.state is RunState.FAILED
    assert result.usage == UNKNOWN_USAGE
    mortal.gateway.start()


@pytest.mark.needs_bwrap
@pytest.mark.parametrize("gateway", ["killed", "hung"])
def test_a_cancelled_session_does_not_wait_for_a_gateway_that_is_away(
    tmp_path: Path, mortal: Model, gateway: str
) -> None:
    """It has two seconds to end by itself; whoever ends it by force would lose what it knows."""
    house = House(tmp_path / "h", mortal, patience_s=15)
    spec = house.spec()
    mortal.script_for(spec.alias, [run_call("touch /run/factory/out/up; sleep 60"), says()])
    with house.start(spec) as session:
        wait_until((house.folders(spec).round("implement", 0) / "out" / "up").exists)
        if gateway == "killed":
            mortal.gateway.kill()
        else:
            os.kill(mortal.gateway.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            session.send_signal(signal.SIGTERM)
            assert session.wait(30) == 0
            took = time.monotonic() - began
        finally:
            if gateway == "hung":
                os.kill(mortal.gateway.pid, signal.SIGCONT)
            else:
                mortal.gateway.start()
    result = house.result(spec)
    assert (result.state, result.cause, result.usage) == (RunState.CANCELLED, Cause.CANCELLED, UNKNOWN_USAGE)
    assert took < 2.0
    assert not house.folders(spec).cache.exists()
