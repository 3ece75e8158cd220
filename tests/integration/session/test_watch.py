"""Watching real processes: what ends them, how soon, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from factory.process.spawn import Child, spawn
from factory.runs.model import Cause
from factory.session.stopped import Interrupted, Stopped
from factory.session.watch import MAX_LINE, Bounds, Ended, Stop, watch

Watched = Callable[..., Ended]


class Heard:
    """What came over the two streams."""

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.err: list[bytes] = []
        self.pulses = 0

    def line(self, line: bytes, is_stderr: bool) -> Stop | None:
        (self.err if is_stderr else self.out).append(line)
        return None

    def pulse(self) -> Stop | None:
        self.pulses += 1
        return None


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def watched(heard: Heard) -> Watched:
    """Start a program and watch it to its end."""

    def run(
        program: str, *, language: str = "sh", idle_s: float = 20, wall_s: float = 20, output: int = 1 << 26,
        stopped: Stopped | None = None, on_child: Callable[[Child], object] = lambda _child: None, **given: Any,
    ) -> Ended:  # fmt: skip
        argv = ["/bin/sh", "-c", program] if language == "sh" else [sys.executable, "-I", "-S", "-c", program]
        out, out_write = os.pipe2(os.O_CLOEXEC)
        err, err_write = os.pipe2(os.O_CLOEXEC)
        with spawn(argv, env={"PATH": os.defpath}, stdout=out_write, stderr=err_write) as child:
            os.close(out_write)
            os.close(err_write)
            on_child(child)
            given = {"on_line": heard.line, "on_pulse": heard.pulse, **given}
            bounds = Bounds(idle_s, wall_s, output)
            return watch(child, stdout=out, stderr=err, bounds=bounds, stopped=stopped or Stopped(), **given)

    return run


def gone(mark: str) -> bool:
    """Whether no process has ``mark`` in its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                told = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mark.encode() in told:
                return False
    return True


def test_lines_of_both_streams_are_told_apart_and_the_last_needs_no_end(watched: Watched, heard: Heard) -> None:
    end = watched("echo one; echo two >&2; printf three; exit 7")
    assert (end.returncode, end.cause) == (7, None)
    assert heard.out == [b"one", b"three"]
    assert heard.err == [b"two"]


def test_silence_ends_it(watched: Watched, tmp_path: Path) -> None:
    mark = f"4242.{os.getpid()}"
    end = watched(f"(trap '' TERM; sleep {mark}) & trap '' TERM; sleep {mark}; wait", idle_s=0.3)
    assert end.cause is Cause.INACTIVITY
    assert end.seconds < 2.5
    assert gone(mark)


def test_a_word_on_either_stream_is_life_and_the_wall_clock_counts_all(watched: Watched) -> None:
    end = watched("while :; do echo . >&2; sleep 0.1; done", idle_s=0.5, wall_s=1.0)
    assert end.cause is Cause.MAX_DURATION
    assert 0.9 < end.seconds < 3


def test_a_flood_is_cut_at_its_bound(watched: Watched, heard: Heard) -> None:
    end = watched("yes", output=1_000_000)
    assert end.cause is Cause.BACKEND
    assert "1000000 bytes" in end.detail
    assert sum(map(len, heard.out)) < 6_000_000
    assert end.seconds < 5


def test_what_ignores_a_polite_end_is_gone_within_two_seconds(watched: Watched) -> None:
    mark = f"4343.{os.getpid()}"
    program = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "for _ in range(2):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        f"            os.execv('/bin/sleep', ['sleep', '{mark}'])\n"
        "        os._exit(0)\n"
        "print('up', flush=True)\n"
        "time.sleep(100)\n"
    )
    stopped = Stopped()
    began: list[float] = []

    def on_line(line: bytes, _is_stderr: bool) -> Stop | None:
        began.append(time.monotonic())
        with stopped.listening():
            os.kill(os.getpid(), signal.SIGTERM)
        return None

    end = watched(program, language="python", stopped=stopped, on_line=on_line)
    assert time.monotonic() - began[0] < 2.0
    assert end.cause is Cause.CANCELLED
    assert gone(mark)


def test_the_first_process_is_asked_before_anything_is_killed(watched: Watched, heard: Heard, tmp_path: Path) -> None:
    program = f"trap 'sleep 0.3; echo packed; touch {tmp_path}/packed; exit 0' TERM; echo up; sleep 100 & wait"

    def on_line(line: bytes, is_stderr: bool) -> Stop | None:
        heard.line(line, is_stderr)
        return (Cause.INACTIVITY, "no progress") if line == b"up" else None

    end = watched(program, on_line=on_line)
    assert (end.cause, end.detail, end.returncode) == (Cause.INACTIVITY, "no progress", 0)
    assert (tmp_path / "packed").exists()
    assert heard.out == [b"up", b"packed"]


def test_a_full_pipe_keeps_nobody_from_ending(watched: Watched) -> None:
    """Asked to end, it first says more than a pipe holds: somebody must read on."""
    program = "trap 'head -c 300000 /dev/zero; exit 5' TERM; echo up; sleep 100 & wait"
    end = watched(program, on_line=lambda line, _: (Cause.INACTIVITY, "x") if line == b"up" else None)
    assert end.returncode == 5


def test_of_a_line_without_end_its_beginning_stays_and_its_rest_is_no_line(watched: Watched, heard: Heard) -> None:
    forged = b'{"event": "done", "ok": true}'
    end = watched(f"head -c {3 * MAX_LINE} /dev/zero | tr '\\0' x; echo '{forged.decode()}'; echo next")
    assert end.cause is None
    assert [len(line) for line in heard.out] == [MAX_LINE, 4]
    assert forged not in heard.out
    assert heard.out[1] == b"next"


def test_bytes_that_are_no_text_come_through(watched: Watched, heard: Heard) -> None:
    watched(r"printf '\377\000\001\r\n\n\200'")
    assert heard.out == [b"\xff\x00\x01\r", b"", b"\x80"]


def test_who_closes_its_streams_and_lives_is_silent(watched: Watched) -> None:
    end = watched("exec >&- 2>&-; sleep 100", idle_s=0.4)
    assert end.cause is Cause.INACTIVITY
    assert end.seconds < 3


def test_who_closes_one_stream_speaks_by_the_other(watched: Watched, heard: Heard) -> None:
    end = watched("exec >&-; for i in 1 2 3; do sleep 0.2; echo $i >&2; done; exit 3", idle_s=1)
    assert (end.returncode, end.cause) == (3, None)
    assert heard.err == [b"1", b"2", b"3"]


def test_a_stray_that_keeps_the_pipe_open_is_not_waited_for(watched: Watched) -> None:
    mark = f"4444.{os.getpid()}"
    end = watched(f"setsid sleep {mark} & echo done")
    assert (end.returncode, end.cause) == (0, None)
    assert end.seconds < 3
    assert gone(mark)


def test_a_pulse_may_stop_it(watched: Watched) -> None:
    end = watched("sleep 100", pulse_s=0.1, on_pulse=lambda: (Cause.SANDBOX, "gone"))
    assert (end.cause, end.detail) == (Cause.SANDBOX, "gone")


def test_output_that_waits_while_a_pulse_takes_long_is_no_silence(watched: Watched, heard: Heard) -> None:
    def slow() -> Stop | None:
        heard.pulse()
        time.sleep(0.8)
        return None

    end = watched("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.2; done", idle_s=0.6, pulse_s=0.3, on_pulse=slow)
    assert end.cause is None
    assert heard.pulses >= 1


def test_a_failing_reader_leaves_no_process(watched: Watched) -> None:
    mark = f"4545.{os.getpid()}"

    def broken(_line: bytes, _is_stderr: bool) -> Stop | None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        watched(f"echo up; sleep {mark}", on_line=broken)
    assert gone(mark)


def test_a_wish_to_stop_interrupts_our_own_work_once() -> None:
    stopped = Stopped()
    seen = []
    with stopped.listening():
        try:
            with stopped.interrupting():
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
                seen.append("not interrupted")
        except Interrupted:
            seen.append("interrupted")
            os.kill(os.getpid(), signal.SIGTERM)  # a second one disturbs no tidying up
            seen.append("tidied")
    assert seen == ["interrupted", "tidied"]
    with pytest.raises(Interrupted), stopped.interrupting():
        seen.append("an earlier wish is not forgotten")
    assert len(seen) == 2


def test_a_patient_block_sees_to_the_wish_itself_and_it_is_raised_after() -> None:
    stopped = Stopped()
    seen = []

    def work() -> None:
        with stopped.interrupting():
            with stopped.patient():
                os.kill(os.getpid(), signal.SIGTERM)
                seen.append("undisturbed")
            seen.append("went on")

    with stopped.listening(), pytest.raises(Interrupted):
        work()
    assert seen == ["undisturbed"]
