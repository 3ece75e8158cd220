"""The daemon sleeps until asked, until a session ends, or until the time is over."""

from __future__ import annotations

import os
import signal
import threading
import time

from factory.daemon.wake import Wake


def test_being_asked_ends_the_sleep_at_once() -> None:
    wake = Wake()
    threading.Timer(0.02, wake.now).start()
    began = time.monotonic()
    assert wake.sleep(30) == "asked"
    assert time.monotonic() - began < 5


def test_asked_before_the_sleep_is_not_lost_and_many_wishes_are_one() -> None:
    wake = Wake()
    for _ in range(100_000):
        wake.now()
    assert wake.sleep(30) == "asked"
    assert wake.sleep(0.01) == "time"


def test_a_session_that_ends_wakes() -> None:
    wake = Wake()
    read, write = os.pipe()
    os.close(write)
    try:
        assert wake.sleep(30, [read]) == "session"
    finally:
        os.close(read)


def test_a_signal_stops() -> None:
    wake = Wake()
    with wake.on_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        assert wake.sleep(30) == "asked"
    assert wake.stop
    assert wake.sleep(30) == "asked"


def test_a_signal_stops_whichever_thread_the_kernel_gives_it_to() -> None:
    """Where it comes just before the main thread's system call, that is not interrupted either."""
    wake = Wake()
    with wake.on_signals():
        threading.Timer(0.1, lambda: signal.pthread_kill(threading.get_ident(), signal.SIGTERM)).start()
        assert wake.sleep(30) == "asked"
        assert wake.stop
