"""Sessions outlive the daemon, start once, are found again, stopped, and tidied when they are over."""

from __future__ import annotations

import os
import select
import shutil
import sys
from pathlib import Path

import pytest

from factory.app.demo import CLAIM, Demo
from factory.config.host import write_host
from factory.config.model import HostConfig
from factory.daemon.executor import LocalExecutor
from factory.errors import FactoryError
from factory.process.lock import boot_id, is_held
from factory.runs.codec import dumps
from factory.session.folders import RunFolders
from factory.testing import builders as b

SESSION = """
import fcntl, os, signal, sys, pathlib
folder = pathlib.Path(os.environ["RUNS"]) / sys.argv[1]
lock = open(folder / "lock", "w")
fcntl.flock(lock, fcntl.LOCK_EX)
with open(folder / "starts", "a") as starts:
    starts.write("x")
def stop(*_):
    (folder / "stopped").touch()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(folder / "ready").touch()
while True:
    signal.pause()
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "state" / "runs").mkdir(parents=True)
    return tmp_path


def executor(home: Path) -> LocalExecutor:
    env = {"PATH": os.environ["PATH"], "RUNS": str(home / "state" / "runs")}
    return LocalExecutor(home, [sys.executable, "-c", SESSION], env)


def wait_for(path: Path, one: LocalExecutor) -> None:
    """Until the file is there; fails when the session ends first."""
    while not path.exists():
        ended, _, _ = select.select(list(one.filenos()), [], [], 0.01)
        assert not ended or path.exists(), "the session ended before it was ready"


def test_a_second_start_of_a_living_run_does_nothing(home: Path) -> None:
    one = executor(home)
    spec = b.spec()
    folder = RunFolders(home, spec.run).state
    one.start(spec)
    wait_for(folder / "ready", one)
    one.start(spec)
    executor(home).start(spec)
    assert one.alive() == {spec.run}
    assert (folder / "starts").read_text() == "x"
    one.cancel(spec.run, "test")
    select.select(list(one.filenos()), [], [], 10)
    assert one.alive() == frozenset()
    assert (folder / "stopped").exists()
    assert (folder / "cancel").read_text() == "test"


def test_the_next_daemon_adopts_and_can_cancel(home: Path) -> None:
    first, spec = executor(home), b.spec()
    folders = RunFolders(home, spec.run)
    first.start(spec)
    wait_for(folders.state / "ready", first)

    second = executor(home)
    assert second.adopt(spec.run)
    assert second.alive() == {spec.run}
    second.cancel(spec.run, "test")
    select.select(list(second.filenos()), [], [], 10)
    assert second.alive() == frozenset()
    assert not second.adopt(spec.run)
    assert not is_held(folders.lock)
    assert second.spec(spec.run) == spec
    assert second.result(spec.run) is None
    first.alive()


def test_a_recycled_pid_or_another_boot_is_not_ours(home: Path) -> None:
    spec = b.spec()
    folders = RunFolders(home, spec.run)
    folders.state.mkdir(parents=True)
    folders.process.write_text(f'{{"pid": {os.getpid()}, "created": 1.0, "boot": "{boot_id()}"}}')
    assert not executor(home).adopt(spec.run)
    folders.process.write_text(f'{{"pid": {os.getpid()}, "created": 1.0, "boot": "another"}}')
    assert not executor(home).adopt(spec.run)


def test_an_ended_run_is_not_started_again(home: Path) -> None:
    one, spec = executor(home), b.spec()
    folders = RunFolders(home, spec.run)
    folders.state.mkdir(parents=True)
    folders.result.write_text(dumps(b.result(spec)))
    one.start(spec)
    assert one.alive() == frozenset()
    assert not (folders.state / "starts").exists()
    assert one.result(spec.run) == b.result(spec)


def test_an_unreadable_result_is_none(home: Path) -> None:
    folders = RunFolders(home, "r20261121T115500000-0000abcd")
    folders.state.mkdir(parents=True)
    folders.result.write_text("{")
    assert executor(home).result("r20261121T115500000-0000abcd") is None


def test_cancelling_what_this_host_never_started_is_said(home: Path) -> None:
    with pytest.raises(FactoryError, match="this host did not start it"):
        executor(home).cancel("r20261121T115500000-0000abcd", "test")


def test_a_sweep_removes_only_what_is_over(home: Path) -> None:
    one = executor(home)
    names = {kind: f"r20261121T11550000{number}-0000abcd" for number, kind in enumerate(("over", "open", "alien"))}
    for kind, run in names.items():
        folders = RunFolders(home, run)
        folders.quarantine.mkdir(parents=True)
        project = "somebody/else" if kind == "alien" else str(b.PROJECT)
        folders.spec.write_text(dumps(b.spec(run=run, project=project)))
    one.sweep(str(b.PROJECT), {names["open"]}, now=0.0)
    left = {kind for kind, run in names.items() if RunFolders(home, run).quarantine.exists()}
    assert left == {"open", "alien"}
    assert RunFolders(home, names["over"]).spec.exists()
    one.sweep(str(b.PROJECT), {names["open"]}, now=4e9)
    assert not RunFolders(home, names["over"]).state.exists()
    assert RunFolders(home, names["open"]).state.exists()


def test_a_demo_that_ends_ends_its_sessions_and_leaves_nothing(home: Path) -> None:
    """One that goes on would write to the folder while it is removed."""
    host = HostConfig(home, "h", "http://127.0.0.1:9", False, None, 0, ())
    write_host(host)
    (home / CLAIM).touch()
    one, said = executor(home), list[str]()
    specs = [b.spec(), b.spec(run="r20261121T115500000-0000abce")]
    for spec in specs:
        one.start(spec)
        wait_for(RunFolders(home, spec.run).state / "ready", one)
    Demo(home, said.append).close(keep=False)
    select.select(list(one.filenos()), [], [], 10)
    assert one.alive() == frozenset()
    assert not home.exists()
    assert said == []


def test_a_demo_says_what_it_could_not_remove(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Path) -> None:
        raise OSError(39, "Directory not empty", str(home / "state"))

    (home / CLAIM).touch()
    monkeypatch.setattr(shutil, "rmtree", full)
    said = list[str]()
    Demo(home, said.append).close(keep=False)
    (line,) = said
    assert "Directory not empty" in line
    assert str(home) in line
