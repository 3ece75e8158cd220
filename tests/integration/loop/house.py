"""A real factory turned by hand: forge, gateway and sandboxed sessions are processes, the ticks are the test's own.

The model is the demo's script; every tick is one call, so that "nothing was started" is a fact after a tick and not a
matter of waiting.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.app.daemon import ticker
from factory.app.deployment import Deployment
from factory.daemon.executor import LocalExecutor
from factory.daemon.meter import Cost, Meter
from factory.daemon.tick import Ticker, TickReport
from factory.daemon.wake import Wake
from factory.demo.example import ISSUES
from factory.errors import FactoryError
from factory.forge.client import ForgejoClient
from factory.forge.values import RepoName
from factory.plan.labels import START
from factory.plan.model import Skip
from factory.runs.model import RunRecord
from factory.vault.dispatch import Dispatcher

COMMAS = ISSUES[1]
MEDIAN = ISSUES[0]


@dataclass
class House:
    """One deployment with the example project, served by ticks of the test."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    founder: ForgejoClient
    admin: ForgejoClient
    """The site's admin."""
    executor: LocalExecutor
    said: list[str] = field(default_factory=list)
    last: TickReport | None = None
    ahead: timedelta = timedelta()
    """How far this host's clock is in front."""
    dispatcher: Dispatcher | None = None
    """Where there is one, it turns with every tick."""
    _ticker: Ticker | None = None
    _wake: Wake = field(default_factory=Wake)

    @property
    def home(self) -> Path:
        return self.deployment.home

    def bot(self, login: str) -> ForgejoClient:
        return self.deployment.forge(login)

    def tick(self, times: int = 1) -> TickReport:
        """So many turns, whatever happens in them."""
        for _ in range(times):
            self.last = self.ticker.tick(self.now())
            if self.dispatcher is not None:
                self.dispatcher.turn()
        assert self.last is not None
        return self.last

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    @property
    def ticker(self) -> Ticker:
        if self._ticker is None:
            meter = Meter(lambda: Cost(0, 0, 0))
            self._ticker = ticker(self.deployment, self.project, self.ops, self.executor, meter, self.said.append)
        return self._ticker

    def until(
        self, what: str, there: Callable[[], object], seconds: float = 90, *, disturbed: bool = False
    ) -> None:
        """Tick until ``there``. Sleeps only while nothing progresses, and no longer than a session takes to end.

        ``disturbed``: a tick may fail with a named error, which the next one makes good, as in the daemon's loop.
        """
        deadline = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < deadline, f"not in {seconds} s: {what}\n" + "\n".join(
                [*self.said[-15:], *self.why()]
            )
            try:
                progressed = self.tick().progressed
            except FactoryError as error:
                if not disturbed:
                    raise
                self.said.append(f"trouble: {error.message}")
                progressed = False
            if not progressed:
                self._wake.sleep(0.2, self.executor.filenos())

    def why(self) -> list[str]:
        return [f"{s.subject.kind} {s.subject.id}: {s.rule}: {s.reason}" for s in self.skips()]

    def skips(self) -> tuple[Skip, ...]:
        return self.last.plan.skips if self.last is not None else ()

    def rule(self, kind: str, number: int) -> str | None:
        """The rule that stands in the way of an issue or pull request of the project, as the last tick found."""
        found = [
            s.rule for s in self.skips()
            if (s.subject.repo, s.subject.kind, s.subject.id) == (str(self.project), kind, str(number))
        ]  # fmt: skip
        return found[0] if found else None

    def runs(self, formula: str | None = None) -> list[RunRecord]:
        """As the journal says, oldest first."""
        runs = self.last.world.runs if self.last is not None else ()
        return [run for run in runs if formula in (None, run.formula)]

    def file(self, title: str, body: str = "Please.", *, start: bool = True, by: ForgejoClient | None = None) -> int:
        who = by or self.founder
        number = who.create_issue(self.project, title=title, body=body).number
        if start:
            who.add_labels(self.project, number, [START])
        return number

    def pull_of(self, number: int) -> int | None:
        """The pull request that closes an issue."""
        pulls = self.founder.pulls(self.project, state="all")
        found = [p.number for p in pulls if re.search(rf"(?mi)^(closes|fixes) #{number}\b", p.body)]
        return found[0] if found else None

    def merged(self, number: int) -> bool:
        pull = self.pull_of(number)
        return pull is not None and self.founder.pull(self.project, pull).merged


Build = Callable[..., House]


def outsider(house: House, login: str) -> ForgejoClient:
    """An account of the forge that has no right in the project."""
    house.admin.create_user(login, email=f"{login}@example.test", password=f"aA1-{login}-secret")
    token = house.admin.create_token(login, name="t", scopes=("write:issue", "write:repository", "read:user"))
    return ForgejoClient(house.deployment.host.forge_url, token)
