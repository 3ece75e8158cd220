from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from factory.process.identity import identity, is_alive
from factory.process.lock import is_held, try_hold
from factory.process.spawn import (
    PIPE,
    UNKNOWN_EXIT,
    StartFailed,
    adopt,
    run,
    send_signal,
    spawn,
)

ENV = {"PATH": "/usr/bin:/bin"}

ESCAPE = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".new", sys.argv[1])
        time.sleep(1000)
    os._exit(0)
os.wait()
time.sleep(1000)
"""


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)
    return path.read_text()


def test_nothing_is_inherited_but_what_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_TOKEN", "t0ps3cret")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        done = run(["sh", "-c", "env; ls /proc/self/fd"], env=ENV | {"A": "1"}, timeout_s=10)
    finally:
        os.close(reader)
        os.close(writer)
    names = {line.partition("=")[0] for line in done.stdout.decode().splitlines() if "=" in line}
    assert names == {"PATH", "A", "PWD", "FACTORY_TREE"}
    descriptors = [line for line in done.stdout.decode().split() if line.isdigit()]
    assert descriptors == ["0", "1", "2", "3"]  # 3 is ls looking


def test_input_and_output_larger_than_a_pipe_do_not_lock_up() -> None:
    data = os.urandom(3_000_000)
    done = run(["sh", "-c", "cat; echo said >&2; exit 3"], env=ENV, input=data, timeout_s=20)
    assert (done.returncode, done.stdout, done.stderr, done.truncated, done.timed_out) == (
        3,
        data,
        b"said\n",
        False,
        False,
    )


def test_input_nobody_reads_is_no_error() -> None:
    assert run(["true"], env=ENV, input=b"x" * 1_000_000, timeout_s=10).returncode == 0


def test_input_may_be_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"from a file")
    with (tmp_path / "in").open("rb") as file:
        assert run(["cat"], env=ENV, input=file.fileno(), timeout_s=10).stdout == b"from a file"


def test_output_is_capped_and_time_is_bounded() -> None:
    start = time.monotonic()
    done = run(["cat", "/dev/zero"], env=ENV, timeout_s=0.2, max_output=1000)
    assert (len(done.stdout), done.truncated, done.timed_out) == (1000, True, True)
    assert time.monotonic() - start < 2.5


def test_a_run_leaves_no_background_process(tmp_path: Path) -> None:
    done = run(["sh", "-c", "sleep 1000 & echo $!"], env=ENV, timeout_s=10)
    pid = int(done.stdout)
    deadline = time.monotonic() + 2
    while (created := identity(pid)) is not None and is_alive(pid, created):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_missing_program_says_so() -> None:
    with pytest.raises(StartFailed, match="starting no-such-program: No such file"):
        run(["no-such-program"], env=ENV, timeout_s=1)


def test_limits_hold() -> None:
    done = run(["sh", "-c", "ulimit -n; ulimit -c"], env=ENV, timeout_s=10, rlimits={"nofile": 77, "core": 0})
    assert done.stdout.split() == [b"77", b"0"]


@pytest.mark.needs_root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the user")
def test_the_user_is_dropped_with_all_groups() -> None:
    done = run(["id"], env=ENV, timeout_s=10, uid=65534)
    assert done.stdout.startswith(b"uid=65534")
    assert b"root" not in done.stdout


def test_killing_reaches_a_daemon_that_left_group_session_and_parent(tmp_path: Path) -> None:
    with spawn([sys.executable, "-c", ESCAPE, str(tmp_path / "pid")], env=ENV) as child:
        pid = int(wait_for(tmp_path / "pid"))
        created = identity(pid)
        assert created is not None
        assert os.getsid(pid) != child.pid  # so neither its group nor its session leads to it
        start = time.monotonic()
        child.kill_tree(grace_s=0.1)
        assert time.monotonic() - start < 2
        assert child.poll() == -signal.SIGKILL
        assert not is_alive(pid, created)


def test_killing_the_group_alone_misses_that_daemon(tmp_path: Path) -> None:
    """The fault that the mark answers."""
    with spawn([sys.executable, "-c", ESCAPE, str(tmp_path / "pid")], env=ENV) as child:
        pid = int(wait_for(tmp_path / "pid"))
        created = identity(pid)
        assert created is not None
        os.killpg(child.pid, signal.SIGKILL)
        assert child.wait(5) == -signal.SIGKILL
        assert is_alive(pid, created)
        child.kill_tree(grace_s=0)
        assert not is_alive(pid, created)


def test_a_polite_process_may_finish_within_the_grace(tmp_path: Path) -> None:
    script = f"trap 'echo bye > {tmp_path}/bye; exit 7' TERM; echo up > {tmp_path}/up; while :; do sleep 0.01; done"
    with spawn(["sh", "-c", script], env=ENV) as child:
        wait_for(tmp_path / "up")
        child.kill_tree(grace_s=1.0)
        assert child.poll() == 7
    assert (tmp_path / "bye").exists()


def test_leaving_the_context_ends_the_child() -> None:
    with spawn(["sleep", "1000"], env=ENV) as child:
        pid, created = child.pid, child.created
        assert is_alive(pid, created)
    assert not is_alive(pid, created)


def test_the_pidfd_stands_in_a_selector_and_output_is_read_raw() -> None:
    with spawn(["sh", "-c", "echo one"], env=ENV, stdout=PIPE) as child:
        assert child.wait(5) == 0
        assert child.stdout_fd is not None
        assert os.read(child.stdout_fd, 100) == b"one\n"


def test_an_adopted_process_is_watched_and_ended() -> None:
    with spawn(["sleep", "1000"], env=ENV) as child:
        assert adopt(child.pid, child.created + 1) is None
        adopted = adopt(child.pid, child.created)
        assert adopted is not None
        with adopted:
            assert adopted.poll() is None
            assert adopted.wait(0.01) is None
            adopted.kill_tree(grace_s=0.1)
            assert adopted.poll() == UNKNOWN_EXIT
        assert child.wait(2) == -signal.SIGTERM
        assert adopt(child.pid, child.created) is None


def test_a_child_keeps_the_lock_its_parent_let_go(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    held = try_hold(path)
    assert held is not None
    with spawn(["sleep", "1000"], env=ENV, pass_fds=(held.fileno(),)) as child:
        held.release()
        assert is_held(path)
        assert try_hold(path) is None
        send_signal(child, signal.SIGKILL)
        assert child.wait(5) == -signal.SIGKILL
        taken = try_hold(path)
        assert taken is not None  # which proves the child dead
        taken.release()
