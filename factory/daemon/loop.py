"""The loop: tick every project, then sleep until something asks for a look. Nothing that fails in a tick ends it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from factory.daemon.meter import Cost, Meter
from factory.daemon.tick import Ticker, TickReport
from factory.daemon.wake import Wake
from factory.errors import FactoryError, Problem
from factory.plan.schedule import next_look
from factory.runs.model import RunRecord

MAX_ROUNDS = 50
"""Ticks in a row without sleeping; a loop of decisions that never settles must not spin."""
RETRY_MAX_S = 60.0
UNSETTLED_S = 2.0
BURST_S = 0.5
"""Webhooks come in bursts (one merge sends several): from the beginning of one turn to the next that they ask for."""
GIVE_WAY_S = 0.7
"""How long the next turn waits after one that merged requests of the vault, so that what was approved starts sooner."""


@dataclass(frozen=True)
class Beat:
    """What ``status`` reads: written after every tick."""

    started: datetime
    ticks: int
    last_tick: datetime | None
    trouble: str
    recent: tuple[Cost, ...] = ()
    """The last ten ticks, oldest first."""
    running: int = 0
    problems: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    """Project -> what is wrong with its rules; the last good version is in force meanwhile."""
    unwritten: bool = False
    """Whether a newer dashboard waits until it is due."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "started": self.started.isoformat(),
            "ticks": self.ticks,
            "last_tick": self.last_tick.isoformat() if self.last_tick else None,
            "trouble": self.trouble,
            "running": self.running,
            "dashboard_waits": self.unwritten,
            "recent_ticks": [cost.as_dict() for cost in self.recent],
            "problems": {name: [asdict(problem) for problem in found] for name, found in self.problems.items()},
        }


@dataclass
class Loop:
    """Turns all tickers until ``wake.stop``."""

    tickers: tuple[Ticker, ...]
    begin: Callable[[], None]
    """Called before each turn: what the tickers share for one turn is asked anew."""
    wake: Wake
    filenos: Callable[[], Iterable[int]]
    meter: Meter
    services: Callable[[], None]
    """Has forge and gateway running; raises FactoryError when one cannot be had."""
    beat: Callable[[Beat], None]
    said: Callable[[str], None]
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    rest: Callable[[], None] = lambda: None
    """Called after the last turn: lets what was begun beside the turns come to its end."""
    watch: Callable[[str, datetime], None] = lambda trouble, now: None
    """Told after each turn what keeps the factory from working; empty: nothing. Never waits, raises nothing."""
    reports: dict[int, TickReport] = field(default_factory=dict)
    trouble: str = ""
    _started: datetime | None = None
    _failures: list[str] = field(default_factory=list)
    _failed_in_a_row: int = 0
    _merged: bool = False
    """Whether the last turn merged requests of the vault."""
    _unwritten: str = ""
    last_beat: Beat = field(default_factory=lambda: Beat(datetime.min.replace(tzinfo=UTC), 0, None, ""))

    def run(self) -> None:
        """Until asked to stop. A tick in progress is finished first."""
        self.start()
        rounds = 0
        while not self.wake.stop:
            began = self.clock()
            progressed = self.turn()
            rounds = rounds + 1 if progressed else 0
            if progressed and rounds < MAX_ROUNDS:
                self._give_way()
                continue
            rounds = 0
            if self.wake.sleep(self._pause(), self.filenos()) == "asked":
                self._take_the_burst(began)
        self.rest()
        self.said("stopping: sessions in flight go on, the next start picks them up")

    def _take_the_burst(self, began: float) -> None:
        """Let more wishes to wake come in: one turn answers them all. The end of a session waits for none of them."""
        while not self.wake.stop and (left := began + BURST_S - self.clock()) > 0:
            if self.wake.sleep(left, self.filenos()) != "asked":
                return

    def _give_way(self) -> None:
        """Where requests of the vault were merged, the dispatcher is to have the forge for itself first."""
        until = self.clock() + (GIVE_WAY_S if self._merged else 0.0)
        while not self.wake.stop and (left := until - self.clock()) > 0:
            if self.wake.sleep(left, self.filenos()) == "session":
                return

    def start(self) -> None:
        """Before the first turn."""
        self._started = self.now()
        self._beat(None)

    def turn(self) -> bool:
        """One tick of every project; True when one of them changed something."""
        now = self.now()
        progressed = idle = self._merged = False
        self._failures = []
        self.begin()
        try:
            self.services()
            idle = True
            for number, ticker in enumerate(self.tickers):
                report = self._tick(ticker, now)
                if report is None:
                    idle = False
                    continue
                self.reports[number] = report
                progressed = progressed or report.progressed
                self._merged = self._merged or report.merged
                idle = idle and not report.outcomes and not report.world.live
        except FactoryError as error:
            self._failures.append(error.message)
        except OSError as error:
            self._failures.append(_of_the_machine(error))
        self._tell(self._failures)
        self.watch(self.trouble, now)
        self.meter.tick(now, idle=idle and not progressed)
        self._beat(now)
        return progressed

    def runs(self) -> tuple[RunRecord, ...]:
        """Runs known to the newest Worlds, oldest first."""
        return tuple(run for report in self.reports.values() for run in report.world.runs)

    def _pause(self) -> float:
        if self._failed_in_a_row and len(self._failures) >= len(self.tickers):
            return min(RETRY_MAX_S, 2.0 ** min(self._failed_in_a_row, 6))
        polls = [
            ticker.observer.rules.view.config.poll_seconds for ticker in self.tickers if ticker.observer.rules.view
        ]
        poll = min(polls, default=30.0)
        due = [d for ticker in self.tickers if (d := ticker.performer.next_due()) is not None]
        waits = [max(0.0, (d - self.now()) / timedelta(seconds=1)) for d in due]
        # A change in the forge's newest second may not be whole yet: look once more when that second is over.
        soon = [UNSETTLED_S for ticker in self.tickers if not ticker.observer.snapshot.settled]
        # Approved requests wait until the dispatcher has taken up those before them.
        soon += [UNSETTLED_S for report in self.reports.values() if report.world.vault.unjudged]
        looks = [ticker.board.due for ticker in self.tickers if ticker.board.due is not None]
        looks += [at for report in self.reports.values() if (at := next_look(report.world, self.now())) is not None]
        waits += [max(0.0, (at - self.now()) / timedelta(seconds=1)) for at in looks]
        return min([poll, *waits, *soon])

    def _tick(self, ticker: Ticker, now: datetime) -> TickReport | None:
        """One project's tick; what goes wrong in it stops no other project. None: it did not come to its end."""
        name = str(ticker.observer.place.project)
        try:
            return ticker.tick(now)
        except FactoryError as error:
            self._failures.append(error.message if len(self.tickers) == 1 else f"{name}: {error.message}")
        except OSError as error:
            told = _of_the_machine(error)
            self._failures.append(told if len(self.tickers) == 1 else f"{name}: {told}")
        except Exception:
            # A bug in one tick must not stop the factory: it is told in full, and the next tick decides afresh.
            self._failures.append(f"a bug in a tick of {name}; it is in the daemon's log")
            self.said(traceback.format_exc())
        return None

    def _tell(self, failures: list[str]) -> None:
        """Say each trouble once, and once that it is over."""
        self._failed_in_a_row = self._failed_in_a_row + 1 if failures else 0
        trouble = "; ".join(failures)
        if trouble != self.trouble:
            self.said(f"trouble: {trouble}" if trouble else "all is well again")
        self.trouble = trouble

    def _beat(self, now: datetime | None) -> None:
        running = sum(1 for run in self.runs() if not run.state.is_terminal)
        assert self._started is not None
        problems = {str(t.observer.place.project): t.problems for t in self.tickers if t.problems}
        waits = any(ticker.board.due is not None for ticker in self.tickers)
        recent = tuple(self.meter.last())
        beat = Beat(self._started, self.meter.ticks, now, self.trouble, recent, running, problems, waits)
        self.last_beat = beat
        unwritten = ""
        try:
            self.beat(beat)
        except OSError as error:
            unwritten = f"trouble: status stays as it was: {_of_the_machine(error)}"
        if unwritten != self._unwritten:
            self.said(unwritten or "status is up to date again")
        self._unwritten = unwritten


def _of_the_machine(error: OSError) -> str:
    """What the machine refused, and where: a full disk, a folder that was taken away."""
    what = error.strerror or str(error)
    return f"{what}: {error.filename}" if error.filename else what
