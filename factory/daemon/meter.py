"""What ticks cost, counted where it is spent: forge requests, processes started, model calls, CPU seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from factory.errors import FactoryError
from factory.ops.dashboard import Idle

WINDOW = timedelta(hours=24)
LAST = 10


@dataclass(frozen=True)
class Cost:
    """Counters at one moment, or their difference over one tick."""

    forge_requests: int
    processes: int
    model_calls: int

    def __sub__(self, other: Cost) -> Cost:
        return Cost(
            self.forge_requests - other.forge_requests,
            self.processes - other.processes,
            self.model_calls - other.model_calls,
        )

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class _Row:
    at: datetime
    cost: Cost
    idle: bool


class Remembered:
    """A counter that only grows, kept by another process and counted from its first answer on.

    While it does not answer (``ask`` raises FactoryError) it stands where it stood: a zero would be taken for a
    difference, and the whole for another one when it answers again.
    """

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._first: int | None = None
        self._last = 0

    def __call__(self) -> int:
        with suppress(FactoryError):
            self._last = self._ask()
            self._first = self._last if self._first is None else self._first
        return self._last - (self._first or 0)


class Meter:
    """``read`` returns the counters of this process now."""

    def __init__(self, read: Callable[[], Cost]) -> None:
        self._read = read
        self._before = read()
        self._rows: deque[_Row] = deque()
        self.ticks = 0

    def tick(self, now: datetime, *, idle: bool) -> Cost:
        """Close a tick's account. ``idle``: nothing was decided and nothing was performed in it."""
        after = self._read()
        cost, self._before = after - self._before, after
        self.ticks += 1
        self._rows.append(_Row(now, cost, idle))
        while self._rows and now - self._rows[0].at > WINDOW:
            self._rows.popleft()
        return cost

    def last(self) -> list[Cost]:
        """The newest ticks' costs, oldest first."""
        return [row.cost for row in list(self._rows)[-LAST:]]

    def invoice(self) -> Idle | None:
        """What the idle ticks of the window cost; None before there was one."""
        idle = [row for row in self._rows if row.idle]
        if not idle:
            return None
        return Idle(
            hours=round((idle[-1].at - idle[0].at).total_seconds() / 3600, 1),
            ticks=len(idle),
            model_calls=sum(row.cost.model_calls for row in idle),
            forge_requests=sum(row.cost.forge_requests for row in idle),
            processes=sum(row.cost.processes for row in idle),
            cpu_seconds=round(time.process_time(), 1),
        )
