"""One thread ends what takes too long: each call by its own bound, and no thread stays for nothing."""

from __future__ import annotations

import threading

import pytest

from factory.forge.watchdog import Watchdog

LONG, SHORT = 60.0, 0.02


def test_what_takes_longer_is_ended_once_and_what_does_not_never() -> None:
    dog, ended, told = Watchdog(), list[str](), threading.Event()

    def end() -> None:
        ended.append("long")
        told.set()

    with dog.within(LONG, lambda: ended.append("never")):
        with dog.within(SHORT, end):  # begun later, due sooner
            assert told.wait(10)
        with dog.within(LONG, lambda: ended.append("never")):
            pass
    assert ended == ["long"]


def test_each_of_several_at_once_has_its_own_bound() -> None:
    dog, ended = Watchdog(), list[int]()

    def call(number: int) -> None:
        told = threading.Event()

        def end() -> None:
            ended.append(number)
            told.set()

        with dog.within(SHORT * number, end):
            assert told.wait(10)

    threads = [threading.Thread(target=call, args=(number,)) for number in (3, 1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [1, 2, 3]


def test_calls_one_after_the_other_share_one_thread() -> None:
    dog = Watchdog()
    seen = set()
    for _ in range(50):
        with dog.within(LONG, lambda: None):
            seen.add(dog._thread)
    assert len(seen) == 1


def test_the_thread_ends_when_nothing_is_left_to_watch() -> None:
    dog, told = Watchdog(), threading.Event()
    with dog.within(SHORT, told.set):
        assert told.wait(10)
        thread = dog._thread
    if thread is not None:  # else it has ended already
        thread.join(10)
        assert not thread.is_alive()
    again = threading.Event()
    with dog.within(SHORT, again.set):
        assert again.wait(10), "and another one is started when it is needed"


def test_an_error_inside_passes_and_is_watched_no_more() -> None:
    dog, ended = Watchdog(), list[int]()
    with pytest.raises(ZeroDivisionError), dog.within(LONG, lambda: ended.append(1)):
        raise ZeroDivisionError
    assert dog._calls == {}
