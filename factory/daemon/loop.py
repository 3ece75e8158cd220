"""The loop: tick every project, then sleep until something asks for a look. Nothing that fails in a tick ends it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from factory.daemon.meter import Cost, Meter
from factory.daemon.tick import Ticker, TickReport
from factory.daemon.wake import Wake
from factory.errors import ConfigInvalid, FactoryError, ForgeError
from factory.runs.model import RunRecord

MAX_ROUNDS = 50
"""Ticks in a row without sleeping; a loop of decisions that never settles must not spin."""
RETRY_MAX_S = 60.0
UNSETTLED_S = 2.0


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

    def as_dict(self) -> dict[str, Any]:
        return {
            "started": self.started.isoformat(),
            "ticks": self.ticks,
            "last_tick": self.last_tick.isoformat() if self.last_tick else None,
            "trouble": self.trouble,
            "running": self.running,
            "recent_ticks": [cost.as_dict() for cost in self.recent],
        }


@dataclass
class Loop:
    """Turns all tickers until ``wake.stop``."""

    tickers: tuple[Ticker, ...]
    wake: Wake
    filenos: Callable[[], Iterable[int]]
    meter: Meter
    services: Callable[[], None]
    """Has forge and gateway running; raises FactoryError when one cannot be had."""
    beat: Callable[[Beat], None]
    said: Callable[[str], None]
    now: Callable[[], datetime]
    reports: dict[int, TickReport] = field(default_factory=dict)
    trouble: str = ""
    _started: datetime | None = None
    _failures: int = 0
    last_beat: Beat = field(default_factory=lambda: Beat(datetime.min.replace(tzinfo=UTC), 0, None, ""))

    def run(self) -> None:
        """Until asked to stop. A tick in progress is finished first."""
        self._started = self.now()
        rounds = 0
        self._beat(None)
        while not self.wake.stop:
            progressed = self.turn()
            rounds = rounds + 1 if progressed else 0
            if progressed and rounds < MAX_ROUNDS:
                continue
            rounds = 0
            self.wake.sleep(self._pause(), self.filenos())
        self.said("stopping: sessions in flight go on, the next start picks them up")

    def turn(self) -> bool:
        """One tick of every project; True when one of them changed something."""
        now = self.now()
        progressed = idle = False
        try:
            self.services()
            idle = True
            for number, ticker in enumerate(self.tickers):
                report = ticker.tick(now)
                self.reports[number] = report
                progressed = progressed or report.progressed
                idle = idle and not report.outcomes and not report.world.live
            self._fine()
        except (ForgeError, ConfigInvalid) as error:
            self._failed(error.message)
        except FactoryError as error:
            self._failed(error.message)
        except Exception:
            # A bug in one tick must not stop the factory: it is told in full, and the next tick decides afresh.
            self._failed("a bug in this tick")
            self.said(traceback.format_exc())
        self.meter.tick(now, idle=idle and not progressed)
        self._beat(now)
        return progressed

    def runs(self) -> tuple[RunRecord, ...]:
        """Runs known to the newest Worlds, oldest first."""
        return tuple(run for report in self.reports.values() for run in report.world.runs)

    def _pause(self) -> float:
        if self._failures:
            return min(RETRY_MAX_S, 2.0 ** min(self._failures, 6))
        polls = [
            ticker.observer.rules.view.config.poll_seconds for ticker in self.tickers if ticker.observer.rules.view
        ]
        poll = min(polls, default=30.0)
        due = [d for ticker in self.tickers if (d := ticker.performer.next_due()) is not None]
        waits = [max(0.0, (d - self.now()) / timedelta(seconds=1)) for d in due]
        # A change in the forge's newest second may not be whole yet: look once more when that second is over.
        soon = [UNSETTLED_S for ticker in self.tickers if not ticker.observer.snapshot.settled]
        return min([poll, *waits, *soon])

    def _failed(self, why: str) -> None:
        self._failures += 1
        if why != self.trouble:
            self.said(f"trouble: {why}")
        self.trouble = why

    def _fine(self) -> None:
        if self.trouble:
            self.said("all is well again")
        self.trouble, self._failures = "", 0

    def _beat(self, now: datetime | None) -> None:
        running = sum(1 for run in self.runs() if not run.state.is_terminal)
        assert self._started is not None
        beat = Beat(self._started, self.meter.ticks, now, self.trouble, tuple(self.meter.last()), running)
        self.last_beat = beat
        self.beat(beat)
