"""The loop: one project's trouble is no other's, each trouble is told once, and the sleep is as long as it may be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from factory.daemon.loop import GIVE_WAY_S, Beat, Loop
from factory.daemon.meter import Cost, Meter
from factory.daemon.wake import Wake
from factory.errors import ForgeUnavailable
from factory.plan.vault import VaultFacts
from factory.testing import builders as b

MERGED = "merged"


class Ticker:
    """What the loop needs of a ticker; ``plays`` are outcomes of its ticks: an error to raise, or progress, which may
    be that requests of the vault were merged."""

    def __init__(
        self, name: str, *plays: Exception | bool | str, poll: float = 30.0, due: datetime | None = None
    ) -> None:
        self.plays = list(plays)
        self.ticks = 0
        self.problems = ()
        config = b.config(poll_seconds=poll)
        self.observer = SimpleNamespace(
            place=SimpleNamespace(project=name),
            rules=SimpleNamespace(view=SimpleNamespace(config=config)),
            snapshot=SimpleNamespace(settled=True),
        )
        self.performer = SimpleNamespace(next_due=lambda: due)
        self.board = SimpleNamespace(due=None)
        self.world = b.world()

    def tick(self, now: datetime) -> Any:
        self.ticks += 1
        play = self.plays.pop(0) if self.plays else False
        if isinstance(play, Exception):
            raise play
        outcomes = (1,) if play else ()
        return SimpleNamespace(progressed=play, merged=play == MERGED, outcomes=outcomes, world=self.world)


def loop(
    *tickers: Ticker, services: Any = lambda: None, now: datetime | None = None
) -> tuple[Loop, list[str], list[Beat]]:
    said: list[str] = []
    beats: list[Beat] = []
    made = Loop(
        tickers=tickers,  # type: ignore[arg-type]
        begin=lambda: None,
        wake=Wake(),
        filenos=lambda: (),
        meter=Meter(lambda: Cost(0, 0, 0)),
        services=services,
        beat=beats.append,
        said=said.append,
        now=lambda: now or datetime.now(UTC),
    )
    made._started = datetime.now(UTC)
    return made, said, beats


def test_one_projects_trouble_does_not_stop_another() -> None:
    bad, good = Ticker("o/bad", ForgeUnavailable("reading o/bad: refused")), Ticker("o/good", True)
    made, said, beats = loop(bad, good)
    assert made.turn()
    assert good.ticks == 1
    assert said == ["trouble: o/bad: reading o/bad: refused"]
    assert beats[-1].trouble == "o/bad: reading o/bad: refused"


FULL = OSError(28, "No space left on device", "/home/state/x")


def test_a_full_disk_ends_nothing_wherever_it_is_met() -> None:
    """In a tick, in what is done around it, and in the file that says how it went."""
    written: list[Beat] = []
    full = {"services": True, "beat": True}

    def beat(told: Beat) -> None:
        if full["beat"]:
            raise FULL
        written.append(told)

    def services() -> None:
        if full["services"]:
            raise FULL

    made, said, _ = loop(Ticker("o/p", FULL, False, False), services=services)
    made.beat = beat
    assert not made.turn()
    assert said == [
        "trouble: No space left on device: /home/state/x",
        "trouble: status stays as it was: No space left on device: /home/state/x",
    ]
    full["services"] = False
    made.turn()  # now the tick meets it
    made.turn()
    assert said[2:] == ["all is well again"], "each trouble is told once"
    assert made.last_beat.trouble == ""
    full["beat"] = False
    made.turn()
    assert said[3:] == ["status is up to date again"]
    assert [b.ticks for b in written] == [4]


def test_the_same_trouble_is_told_once_and_its_end_once() -> None:
    away = ForgeUnavailable("the forge does not answer")
    made, said, _ = loop(Ticker("o/p", away, away, away))
    for _ in range(5):
        made.turn()
    assert said == ["trouble: the forge does not answer", "all is well again"]


def test_each_turn_says_what_is_wrong_to_who_watches() -> None:
    made, _, _ = loop(Ticker("o/p", ForgeUnavailable("no forge"), ForgeUnavailable("no forge"), False))
    seen: list[str] = []
    made.watch = lambda trouble, now: seen.append(trouble)
    for _ in range(3):
        made.turn()
    assert seen == ["no forge", "no forge", ""]


def test_what_was_begun_beside_the_turns_may_end() -> None:
    made, _, _ = loop(Ticker("o/p"))
    rested: list[int] = []
    made.rest = lambda: rested.append(made.meter.ticks)
    made.wake.stop = True
    made.run()
    assert rested == [0]


def test_a_bug_in_a_tick_is_told_in_full_and_the_loop_goes_on() -> None:
    made, said, _ = loop(Ticker("o/p", ZeroDivisionError("x")))
    assert not made.turn()
    assert "Traceback" in said[0]
    assert said[1] == "trouble: a bug in a tick of o/p; it is in the daemon's log"
    made.turn()
    assert said[-1] == "all is well again"


def test_services_that_cannot_be_had_are_trouble_and_nothing_ticks() -> None:
    def fail() -> None:
        raise ForgeUnavailable("starting the forge: no")

    ticker = Ticker("o/p")
    made, said, _ = loop(ticker, services=fail)
    made.turn()
    assert (ticker.ticks, said) == (0, ["trouble: starting the forge: no"])


def test_the_sleep_ends_with_the_poll_a_retry_or_a_backoff() -> None:
    now = datetime.now(UTC)
    quiet, _, _ = loop(Ticker("a", poll=20), Ticker("b", poll=60), now=now)
    quiet.turn()
    assert quiet._pause() == 20
    retry, _, _ = loop(Ticker("a", poll=20, due=now + timedelta(seconds=4)), now=now)
    retry.turn()
    assert retry._pause() == 4
    away = [ForgeUnavailable("away")] * 9
    failing, _, _ = loop(Ticker("a", *away, poll=20), now=now)
    pauses = []
    for _ in range(9):
        failing.turn()
        pauses.append(failing._pause())
    assert pauses[:3] == [2, 4, 8]
    assert max(pauses) == 60


def test_a_newest_second_that_may_not_be_whole_is_looked_at_again_soon() -> None:
    ticker = Ticker("a")
    ticker.observer.snapshot.settled = False
    made, _, _ = loop(ticker)
    made.turn()
    assert made._pause() == 2


def test_requests_that_wait_for_the_dispatcher_are_looked_at_again_soon() -> None:
    ticker = Ticker("a")
    ticker.world = b.world(vault=VaultFacts(unjudged=1))
    made, _, _ = loop(ticker)
    made.turn()
    assert made._pause() == 2


def test_a_dashboard_that_waits_is_written_when_it_is_due() -> None:
    now = datetime.now(UTC)
    ticker = Ticker("a")
    made, _, beats = loop(ticker, now=now)
    made.turn()
    ticker.board.due = now + timedelta(seconds=3)
    made.turn()
    assert made._pause() == 3
    assert [beat.as_dict()["dashboard_waits"] for beat in beats] == [False, True]


class Scripted(Wake):
    """Each sleep takes so long and ends so; after the last one it is asked to stop. ``clock`` is what passes."""

    def __init__(self, *sleeps: tuple[float, str]) -> None:
        super().__init__()
        self.sleeps, self.clock = list(sleeps), 0.0

    def sleep(self, seconds: float, until_readable: Any = ()) -> str:
        if not self.sleeps:
            self.stop = True
            return "asked"
        took, why = self.sleeps.pop(0)
        assert took <= seconds
        self.clock += took
        return why


def turns(*sleeps: tuple[float, str], plays: tuple[bool | str, ...] = ()) -> list[float]:
    """When it turned."""
    made, _, beats = loop(Ticker("o/p", *plays))
    wake = Scripted(*sleeps)
    made.wake, made.clock = wake, lambda: wake.clock
    at: list[float] = []
    made.begin = lambda: at.append(round(wake.clock, 3))
    made.run()
    assert not wake.sleeps
    assert len(beats) == len(at) + 1
    return at


def test_a_burst_of_webhooks_is_one_turn_more() -> None:
    burst = [(0.01, "asked")] * 8
    assert turns(*burst, (0.42, "time"), (30, "time")) == [0.0, 0.5, 30.5]


def test_a_webhook_after_a_quiet_while_is_looked_at_at_once() -> None:
    assert turns((7.0, "asked")) == [0.0, 7.0]


def test_the_end_of_a_session_waits_for_no_burst() -> None:
    assert turns((0.01, "asked"), (0.02, "session"), (30, "time")) == [0.0, 0.03, 30.03]


def test_after_requests_of_the_vault_were_merged_the_dispatcher_has_the_forge_first() -> None:
    way, later = GIVE_WAY_S, 30 + GIVE_WAY_S
    assert turns((0.2, "asked"), (way - 0.2, "time"), (30, "time"), plays=(MERGED, False)) == [0.0, way, later]
    assert turns((0.2, "session"), (30, "time"), plays=(MERGED, False)) == [0.0, 0.2, 30.2], "sessions do not"
    assert turns((30, "time"), plays=(True, False)) == [0.0, 0.0, 30.0]
