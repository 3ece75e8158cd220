from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from factory.process import service
from factory.process.identity import identity, is_alive
from factory.process.service import ServiceStatus
from factory.process.spawn import StartFailed, adopt, run

ENV = {"PATH": "/usr/bin:/bin"}
SERVE = """
import os, signal, sys, time
print("serving", flush=True)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(1000)
"""


class Deployment:
    """A state folder, a service that notes each start, and the readiness it shows."""

    def __init__(self, root: Path) -> None:
        self.state = root / "state"
        self.state.mkdir()
        self.starts = root / "starts"

    def ready(self) -> bool:
        return self.starts.exists() and self.starts.read_text().endswith("\n")

    def ensure(
        self, ready: Callable[[], bool] | None = None, timeout_s: float = 10, script: str = SERVE
    ) -> ServiceStatus:
        argv = [sys.executable, "-c", script, str(self.starts)]
        return service.ensure(
            "forge", argv, state_dir=self.state, env=ENV, ready=ready or self.ready, timeout_s=timeout_s
        )

    def started(self) -> list[int]:
        return [int(line) for line in self.starts.read_text().split()]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    made = Deployment(tmp_path)
    yield made
    service.stop("forge", made.state, grace_s=0.5)


def test_it_starts_once_and_is_found_again(deployment: Deployment) -> None:
    first = deployment.ensure()
    again = deployment.ensure()
    assert (first.started, again.started) == (True, False)
    assert first.pid == again.pid == service.status("forge", deployment.state).pid
    assert len(deployment.started()) == 1
    assert service.log_tail("forge", deployment.state) == "serving"


def test_of_many_callers_at_once_one_starts_it(deployment: Deployment) -> None:
    found: list[ServiceStatus] = []
    threads = [threading.Thread(target=lambda: found.append(deployment.ensure())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert [status.started for status in found].count(True) == 1
    assert {status.pid for status in found} == {deployment.started()[0]}


def test_it_comes_back_after_kill_9(deployment: Deployment) -> None:
    first = deployment.ensure()
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    deadline = time.monotonic() + 5
    while service.status("forge", deployment.state).pid is not None:
        assert time.monotonic() < deadline
    second = deployment.ensure(ready=lambda: len(deployment.started()) == 2)
    assert second.started
    assert second.pid != first.pid


def test_a_pid_file_that_names_a_stranger_is_not_believed(deployment: Deployment) -> None:
    mine = identity(os.getpid())
    record = {"pid": os.getpid(), "created": mine, "boot": "another boot"}
    (deployment.state / "forge.pid").write_text(json.dumps(record))
    assert service.status("forge", deployment.state).pid is None
    assert not service.stop("forge", deployment.state)
    assert deployment.ensure().started


def test_a_service_whose_pid_file_was_never_written_is_still_found(deployment: Deployment) -> None:
    """Its starter was killed between the start and the write."""
    first = deployment.ensure()
    (deployment.state / "forge.pid").unlink()
    again = deployment.ensure()
    assert (again.pid, again.started) == (first.pid, False)
    assert service.stop("forge", deployment.state)
    assert service.status("forge", deployment.state).pid is None


def test_one_that_is_just_starting_it_is_not_taken_for_it(deployment: Deployment) -> None:
    """A daemon leads a session too; between the lock and the first breath of the service it alone has both open."""
    starter = f"""
import sys
from pathlib import Path
from factory.process.lock import hold, try_hold
state = Path({str(deployment.state)!r})
starting, alive = hold(state / "forge.starting"), try_hold(state / "forge.lock")
print("about to start it", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as going:
        assert going.stdout is not None
        assert going.stdin is not None
        assert going.stdout.readline() == b"about to start it\n"
        assert service.status("forge", deployment.state).pid is None
        going.stdin.close()
    assert deployment.ensure().started


def test_it_outlives_its_starter(deployment: Deployment, tmp_path: Path) -> None:
    starter = f"""
import sys
from pathlib import Path
from factory.process import service
starts = Path({str(deployment.starts)!r})
argv = [sys.executable, "-c", {SERVE!r}, str(starts)]
state = Path({str(deployment.state)!r})
done = service.ensure("forge", argv, state_dir=state, env={ENV!r}, ready=lambda: starts.exists(), timeout_s=10)
print(done.pid)
"""
    done = run([sys.executable, "-W", "error", "-c", starter], env=ENV, timeout_s=20)
    assert (done.returncode, done.stderr) == (0, b"")
    assert service.status("forge", deployment.state).pid == int(done.stdout)


def test_an_early_end_is_reported_with_the_log(deployment: Deployment) -> None:
    start = time.monotonic()
    with pytest.raises(StartFailed, match=r"(?s)it ended \(exit 3\) before it was ready.*address already in use"):
        deployment.ensure(lambda: False, script="print('address already in use'); raise SystemExit(3)")
    assert time.monotonic() - start < 5
    assert service.status("forge", deployment.state).pid is None


def test_one_that_never_gets_ready_is_ended_again(deployment: Deployment) -> None:
    with pytest.raises(StartFailed, match="not ready in time"):
        deployment.ensure(lambda: False, timeout_s=0.5)
    assert service.status("forge", deployment.state).pid is None
    for pid in deployment.started():
        created = identity(pid)
        assert created is None or not is_alive(pid, created)


def test_stopping_ends_one_that_ignores_the_signal(deployment: Deployment) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVE
    status = deployment.ensure(script=deaf)
    assert status.pid is not None
    created = identity(status.pid)
    assert created is not None
    assert service.stop("forge", deployment.state, grace_s=0.1)
    assert adopt(status.pid, created) is None
    assert not service.stop("forge", deployment.state)


def test_a_process_that_somebody_else_started_is_the_service_while_it_says_so(tmp_path: Path) -> None:
    with service.registered("daemon", tmp_path):
        assert service.status("daemon", tmp_path).pid == os.getpid()
        with service.registered("daemon", tmp_path):  # as the one that ``ensure`` started finds it: known already
            assert service.status("daemon", tmp_path).pid == os.getpid()
        assert service.status("daemon", tmp_path).pid == os.getpid()
    assert service.status("daemon", tmp_path).pid is None
    assert not (tmp_path / "daemon.pid").exists()
