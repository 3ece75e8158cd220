"""The dispatcher's loop: what goes wrong waits and is told once, a bug starts nothing, a stop is heard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from factory.errors import ForgeUnavailable
from factory.git.hardened import GitTrouble
from factory.vault.canonical import Refused, Unclear
from factory.vault.ledger import Ledger
from factory.vault.watch.loop import BURST_S, MAX_ROUNDS, QUIET_S, Loop, Post
from factory.vault.watch.wake import Poke


@dataclass
class Turner:
    """Does in each turn what the test says next; nothing when it has said all."""

    plan: list[Callable[[], object]] = field(default_factory=list)
    alarms: Mapping[str, str] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    turns: int = 0

    def turn(self) -> None:
        self.turns += 1
        if self.plan:
            self.plan.pop(0)()

    def grow(self) -> None:
        self.ledger.tip += "x"


@dataclass
class Day:
    """A clock that only sleeping moves; after ``rounds`` sleeps it is over."""

    rounds: int
    now: float = 0.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float, _fds: object) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def over(self) -> bool:
        return len(self.slept) >= self.rounds


def run(day: Day, *turners: Turner, words: Callable[[Refused], str] = str) -> tuple[Loop, list[str]]:
    said: list[str] = []
    posts = [Post(f"post {n}", lambda t=t: t, lambda: 30.0, words) for n, t in enumerate(turners)]
    loop = Loop(
        posts, day.sleep, day.over, -1, heard=lambda: Poke.NONE, beat=lambda: None, said=said.append,
        clock=lambda: day.now,
    )
    loop.run()
    return loop, said


def raising(error: Exception) -> Callable[[], None]:
    def turn() -> None:
        raise error

    return turn


def test_an_idle_day_is_one_turn_a_poll() -> None:
    turner = Turner()
    loop, said = run(day := Day(3), turner)
    assert (turner.turns, day.slept, said, loop.trouble) == (3, [30.0] * 3, [], "")


def test_while_the_ledger_grows_it_does_not_sleep_and_never_spins() -> None:
    turner = Turner()
    turner.plan = [turner.grow] * 3
    run(day := Day(1), turner)
    assert turner.turns == 4
    turner.plan, turner.turns = [turner.grow] * 1000, 0
    run(day, turner)
    run(Day(1), turner)
    assert turner.turns <= 2 * MAX_ROUNDS


def test_what_goes_wrong_waits_longer_each_time_and_is_told_once() -> None:
    for kind in (ForgeUnavailable, Unclear, GitTrouble, OSError):
        turner = Turner([raising(kind("it is away"))] * 5)
        loop, said = run(day := Day(6), turner)
        assert day.slept == [1, 2, 4, 8, 16, 30]
        assert said == ["post 0: trouble: it is away", "post 0: all is well again"]
        assert loop.trouble == ""


def test_a_wake_does_not_hurry_what_waits() -> None:
    turner = Turner([raising(Unclear("no"))] * 9)
    day = Day(1)
    loop, _ = run(day, turner)
    day.now = 0.5
    assert loop.round() is False
    assert turner.turns == 1


def test_an_alarm_of_the_forge_is_a_failure_and_others_are_told() -> None:
    turner = Turner(alarms={"forge": "the forge does not answer"})
    loop, _ = run(day := Day(1), turner)
    assert (loop.trouble, day.slept) == ("post 0: the forge does not answer", [1])
    turner = Turner(alarms={"b": "waits", "a": "changed"})
    turner.ledger.frozen = "somebody said so"
    loop, _ = run(day := Day(1), turner)
    assert (loop.trouble, day.slept) == ("post 0: frozen: somebody said so; a: changed; b: waits", [30])


def test_a_ledger_that_is_not_as_known_is_told_in_words() -> None:
    turner = Turner([raising(Refused("ledger-gone", "it lost something"))])
    loop, _ = run(Day(1), turner, words=lambda refused: f"in words: {refused.words}")
    assert loop.trouble == "post 0: in words: it lost something"


def test_a_bug_ends_nothing_and_is_no_answer() -> None:
    broken, fine = Turner([raising(KeyError("x"))]), Turner()
    loop, said = run(Day(1), broken, fine)
    assert fine.turns == 1
    assert loop.trouble == "post 0: a bug in a turn; it is in the dispatcher's log"
    assert "KeyError" in said[0]


def test_what_is_needed_first_is_made_again_until_it_can_be() -> None:
    made: list[int] = []

    def make() -> Turner:
        made.append(1)
        if len(made) < 3:
            raise OSError("no room")
        return turner

    turner, day = Turner(), Day(3)
    post = Post("ops", make, lambda: 30.0)
    Loop([post], day.sleep, day.over, -1, lambda: Poke.NONE, lambda: None, lambda line: None, lambda: day.now).run()
    assert (len(made), turner.turns, post.trouble) == (3, 1, "")


@pytest.mark.parametrize(("pokes", "waited"), [(1, QUIET_S), (3, 3 * QUIET_S), (50, BURST_S)])
def test_a_burst_of_pokes_is_one_turn_when_it_was_quiet_or_went_on_for_long(pokes: int, waited: float) -> None:
    turner, day, told, turns = Turner(), Day(20), iter([*[Poke.SOME] * pokes, *[Poke.NONE] * 50]), list[int]()

    def sleep(seconds: float, fds: object) -> None:
        turns.append(turner.turns)
        day.sleep(seconds, fds)

    post = Post("p", lambda: turner, lambda: 30.0)
    Loop([post], sleep, day.over, -1, lambda: next(told), lambda: None, lambda line: None, lambda: day.now).run()
    assert sum(day.slept[: turns.count(1)]) == pytest.approx(30 + waited)


@pytest.mark.parametrize("before", [0, 2])
def test_who_says_that_this_is_all_is_not_waited_for(before: int) -> None:
    turner, day, turns = Turner(), Day(20), list[int]()
    told = iter([*[Poke.SOME] * before, Poke.WHOLE, *[Poke.NONE] * 50])

    def sleep(seconds: float, fds: object) -> None:
        turns.append(turner.turns)
        day.sleep(seconds, fds)

    post = Post("p", lambda: turner, lambda: 30.0)
    Loop([post], sleep, day.over, -1, lambda: next(told), lambda: None, lambda line: None, lambda: day.now).run()
    assert sum(day.slept[: turns.count(1)]) == pytest.approx(30 + before * QUIET_S)
