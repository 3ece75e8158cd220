"""However ``up`` ends, nothing is left that nobody knows of: it stops what runs, or the next ``up`` and ``down`` do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest

from tests.integration.cli.person import Person, until
from tests.orphans import running_for

pytestmark = pytest.mark.needs_bwrap

ALL = {"daemon", "gateway", "dispatcher", "sentinel", "forge"}


def services(person: Person) -> dict[str, int]:
    """Those that run, with their process ids."""
    told = person.run("status", "--json").facts()["services"]
    return {service["name"]: service["pid"] for service in told if service["pid"] is not None}


def left(person: Person) -> dict[int, str]:
    return running_for([str(person.home)], os.getsid(0))


class InFront:
    """``factory up`` at a terminal of its own."""

    def __init__(self, person: Person) -> None:
        self._terminal, slave = os.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, "-m", "factory", "up"], env=dict(person.environment),
            cwd=person.project, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)

    def close_terminal(self) -> None:
        os.close(self._terminal)
        self._terminal = -1

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        if self._terminal >= 0:
            self.close_terminal()


@contextmanager
def in_front(person: Person) -> Iterator[InFront]:
    """Once it has turned."""
    beat = person.home / "state" / "daemon.json"
    beat.unlink(missing_ok=True)
    with closing(InFront(person)) as going:
        until(lambda: beat.exists() and json.loads(beat.read_bytes())["last_tick"])
        assert services(person).keys() >= ALL - {"daemon"}
        yield going


@pytest.mark.parametrize("how", ["Ctrl-C", "terminated", "terminal closed"])
def test_asked_to_end_or_left_alone_it_stops_all_it_started(settled: Person, how: str) -> None:
    with in_front(settled) as going:
        if how == "terminal closed":
            going.close_terminal()
        else:
            going.process.send_signal(signal.SIGINT if how == "Ctrl-C" else signal.SIGTERM)
        # 120: the interpreter could not write its last words to a terminal that is gone.
        assert going.process.wait(30) == (120 if how == "terminal closed" else 0)
    until(lambda: not left(settled))


def test_what_it_starts_listens_on_loopback_alone(settled: Person) -> None:
    with in_front(settled) as going:
        pids = {*services(settled).values(), *(child.pid for child in psutil.Process(going.process.pid).children(True))}
        mine = {going.process.pid, *pids}
        found = [one for pid in mine for one in psutil.Process(pid).net_connections("inet")]
        listening = {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}
        ports = {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}
        assert listening == {"127.0.0.1"}
        assert len(ports) == 2, "the forge and the operator pages; the others have Unix sockets"
        going.process.send_signal(signal.SIGINT)
        assert going.process.wait(30) == 0
    until(lambda: not left(settled))


def test_one_that_cannot_go_on_stops_what_it_started(settled: Person) -> None:
    settled.run("down")
    port = settled.run("status", "--json").facts()["addresses"]["web"].rpartition(":")[2]
    with socket.create_server(("127.0.0.1", int(port))):
        ran = settled.run("up", code=2)
    assert "another program has the port" in ran.err
    assert left(settled) == {}


def test_one_that_is_refused_stops_nothing(settled: Person) -> None:
    """Another daemon of this home runs: what runs is that one's."""
    settled.run("up", "--detach")
    try:
        before = until(lambda: (now := services(settled)).keys() == ALL and now)
        assert "it runs already" in settled.run("up", code=2).err
        assert services(settled) == before
    finally:
        settled.run("down")


@pytest.mark.parametrize("detached", [True, False])
def test_killed_its_processes_are_taken_over_by_the_next_and_ended_by_down(settled: Person, detached: bool) -> None:
    if detached:
        settled.run("up", "--detach")
        before = until(lambda: (now := services(settled)).keys() == ALL and now)
        os.kill(before["daemon"], signal.SIGKILL)
        until(lambda: not psutil.pid_exists(before["daemon"]))
    else:
        with in_front(settled) as going:
            before = until(lambda: (now := services(settled)).keys() == ALL - {"daemon"} and now)
            going.process.kill()
    status = settled.run("status")
    assert "down" in status.out.splitlines()[0]
    settled.run("up", "--detach")
    after = services(settled)
    assert {name: pid for name, pid in after.items() if name != "daemon"} == {
        name: pid for name, pid in before.items() if name != "daemon"
    }
    assert after["daemon"] != before.get("daemon")
    settled.run("down")
    until(lambda: not left(settled))


@pytest.mark.parametrize(
    ("number", "moment"),
    [(signal.SIGINT, "setting up"), (signal.SIGTERM, "dashboard  http"), (signal.SIGHUP, "issue #")],
)
def test_a_demo_that_is_ended_early_leaves_nothing(person: Person, number: signal.Signals, moment: str) -> None:
    words = [sys.executable, "-m", "factory", "demo", "--home", str(person.home)]
    with subprocess.Popen(
        words, env=dict(person.environment), cwd=person.project, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    ) as going:  # fmt: skip
        assert going.stderr is not None
        assert any(moment in line for line in going.stderr), "it ended before that moment"
        until(lambda: (person.home / "state" / "services" / "forge.pid").exists())
        going.send_signal(number)
        going.stderr.read()
        assert going.wait(30) == 130
    until(lambda: not left(person))
    assert not person.home.exists()


@pytest.mark.parametrize("there", ["notes.txt", "state/host.toml"])
def test_a_demo_takes_no_folder_that_holds_something_else(person: Person, there: str) -> None:
    """It would be removed at the end."""
    (person.home / there).parent.mkdir(parents=True)
    (person.home / there).write_text("mine")
    ran = person.run("demo", "--home", person.home, code=2)
    assert person.shown(ran.err) == (
        "error: having a demo in HOME: something else is in that folder, and a demo removes its folder at the end\n"
        "hint:  name a new one: factory demo --home HOME/demo\n"
    )
    assert (person.home / there).read_text() == "mine"
