"""Questions that are begun together: each answer once, errors where they belong, nothing old."""

from __future__ import annotations

import threading

import pytest

from factory.vault.watch import ahead
from factory.vault.watch.ahead import LANES, Ahead

WAIT_S = 10


class Forge:
    """Answers when it is let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.open = threading.Event()
        self._lock, self._busy = threading.Lock(), threading.Semaphore(0)

    def __call__(self, question: str) -> str:
        with self._lock:
            self.asked.append(question)
            turn = self.asked.count(question)
        self._busy.release()
        assert self.open.wait(WAIT_S)
        if question == "bad":
            raise ValueError("the forge does not answer")
        return f"{question} {turn}"

    def busy(self, count: int) -> None:
        """Until so many were asked."""
        for _ in range(count):
            assert self._busy.acquire(timeout=WAIT_S)


def test_they_are_on_their_way_together_and_each_answer_is_given_once() -> None:
    forge = Forge()
    reads = Ahead(forge)
    reads.begin(["a", "b", "c", "a"])
    forge.busy(LANES)
    assert sorted(forge.asked) == ["a", "b", "c"]
    forge.open.set()
    assert [reads.of(one) for one in "cab"] == ["c 1", "a 1", "b 1"]
    assert reads.of("a") == "a 2", "asked again, the forge is asked again"


def test_no_more_are_on_their_way_than_there_are_lanes() -> None:
    forge = Forge()
    reads = Ahead(forge)
    reads.begin([f"q{number}" for number in range(LANES + 4)])
    forge.busy(LANES)
    assert len(forge.asked) == LANES
    reads.forget()
    forge.open.set()
    assert reads.of("q9") == "q9 1"
    assert len(forge.asked) == LANES + 1, "what was not sent when it was forgotten is never sent"


def test_an_error_is_raised_where_the_answer_is_asked_for() -> None:
    forge = Forge()
    forge.open.set()
    reads = Ahead(forge)
    reads.begin(["bad", "good"])
    assert reads.of("good") == "good 1"
    with pytest.raises(ValueError, match="does not answer"):
        reads.of("bad")


def test_what_was_begun_before_is_not_given_out() -> None:
    forge = Forge()
    forge.open.set()
    reads = Ahead(forge)
    reads.begin(["a", "b"])
    forge.busy(2)
    reads.begin(["a", "b"])
    forge.busy(2)
    assert reads.of("a") == "a 2"
    reads.forget()
    assert reads.of("b") == "b 3", "the second answer was there, and counts no more"


def test_one_alone_is_asked_when_it_is_wanted() -> None:
    forge = Forge()
    forge.open.set()
    reads = Ahead(forge)
    reads.begin(["a"])
    reads.begin([])
    assert forge.asked == []
    assert reads.of("a") == "a 1"


def test_without_threads_each_is_asked_when_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(**more: object) -> threading.Thread:
        del more
        raise RuntimeError("can't start new thread")

    forge = Forge()
    forge.open.set()
    monkeypatch.setattr(ahead.threading, "Thread", none_left)
    reads = Ahead(forge)
    reads.begin(["a", "b"])
    assert (reads.of("a"), reads.of("b"), forge.asked) == ("a 1", "b 1", ["a", "b"])
