"""The dispatcher's loop: a turn for each ops repo, sleep, and again. What goes wrong is told and tried again later.

An idle turn costs one request and no process. A wake (webhook, the end of a run) only makes it turn now.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from factory.errors import FactoryError
from factory.git.hardened import GitTrouble
from factory.vault.canonical import Refused, Unclear
from factory.vault.ledger import Ledger
from factory.vault.watch.wake import Poke

RETRY_MAX_S = 60.0
QUIET_S, BURST_S = 0.08, 0.4
"""Pokes come in bursts: several for one merge, and merges one after the other. A turn takes up all of a burst when it
was quiet for so long, or has gone on for so long."""
MAX_ROUNDS = 50
"""Turns in a row that each wrote to the ledger; what never settles must not spin."""


class Turning(Protocol):
    """What the loop turns: ``factory.vault.dispatch.Dispatcher``."""

    @property
    def ledger(self) -> Ledger: ...
    @property
    def alarms(self) -> Mapping[str, str]: ...
    def turn(self) -> None: ...


@dataclass
class Post:
    """One ops repo that is served."""

    name: str
    dispatcher: Callable[[], Turning]
    """Made when first needed: that may need the forge."""
    poll_seconds: Callable[[], float]
    words: Callable[[Refused], str] = str
    """Of a ledger that is not as this host knows it, for people."""
    after: Callable[[], None] = lambda: None
    """After each turn that came to its end. Raises OSError."""
    trouble: str = ""
    """Why nothing can be done now, or what a person should know."""
    turns: int = 0
    failed: int = 0
    again: float = 0.0
    """After a failure: when the next try is due."""
    _turning: Turning | None = None

    def step(self) -> bool:
        """One turn; whether the ledger grew meanwhile. Raises what the turn raises."""
        if self._turning is None:
            self._turning = self.dispatcher()
        tip = self._turning.ledger.tip
        self.turns += 1
        self._turning.turn()
        alarms = self._turning.alarms
        if "forge" in alarms:
            raise Unclear(alarms["forge"])
        self.after()
        self.failed, self.trouble = 0, _words(self._turning.ledger, alarms)
        return self._turning.ledger.tip != tip

    def fail(self, why: str, now: float) -> None:
        """Remember why it did not work, and wait longer each time."""
        self.trouble, self.failed = why, self.failed + 1
        self.again = now + min(RETRY_MAX_S, 2.0 ** min(self.failed - 1, 6))

    def pause(self, now: float) -> float:
        """Seconds until the next turn."""
        return max(0.0, self.again - now) if self.failed else self.poll_seconds()


def _words(ledger: Ledger, alarms: Mapping[str, str]) -> str:
    said = [f"{subject}: {words}" for subject, words in sorted(alarms.items())]
    return "; ".join([*([f"frozen: {ledger.frozen}"] if ledger.frozen else []), *said])


@dataclass
class Loop:
    """Turns all posts until ``stopped``."""

    posts: Sequence[Post]
    sleep: Callable[[float, Iterable[int]], object]
    """Sleeps so many seconds, or until one of the descriptors is readable, or somebody of this process asks."""
    stopped: Callable[[], bool]
    ear: int
    """Readable when somebody outside pokes."""
    heard: Callable[[], Poke]
    """Takes the pokes that came."""
    beat: Callable[[], None]
    said: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    _told: dict[str, str] = field(default_factory=dict)

    def run(self) -> None:
        """Until asked to stop; a turn in progress is finished first."""
        rounds = 0
        self.beat()
        while not self.stopped():
            progressed = self.round()
            self.beat()
            rounds = rounds + 1 if progressed else 0
            if not progressed or rounds >= MAX_ROUNDS:
                rounds, now = 0, self.clock()
                self.sleep(min((post.pause(now) for post in self.posts), default=RETRY_MAX_S), (self.ear,))
            if self.heard() is Poke.SOME:
                self._take_the_burst()

    def _take_the_burst(self) -> None:
        """Wait for the end of the pokes, not longer. The end of a run is no poke, and is not waited for."""
        ends = self.clock() + BURST_S
        while not self.stopped() and (left := ends - self.clock()) > 0:
            self.sleep(min(QUIET_S, left), (self.ear,))
            if self.heard() is not Poke.SOME:
                return

    def round(self) -> bool:
        """One turn of every post; whether a ledger grew. One that failed waits for its time, however often it is
        woken."""
        progressed = False
        for post in self.posts:
            if self.stopped():
                break
            if post.failed and self.clock() < post.again:
                continue
            progressed = self._turn(post) or progressed
        return progressed

    def _turn(self, post: Post) -> bool:
        grew = False
        try:
            grew = post.step()
        except FactoryError as error:
            post.fail(error.message, self.clock())
        except Refused as refused:
            post.fail(post.words(refused), self.clock())
        except (Unclear, GitTrouble, OSError) as error:
            post.fail(str(error) or type(error).__name__, self.clock())
        except Exception:
            # A bug must neither end the dispatcher, whose runs go on, nor pass for an answer: nothing starts.
            self.said(traceback.format_exc())
            post.fail("a bug in a turn; it is in the dispatcher's log", self.clock())
        if post.trouble != self._told.get(post.name, ""):
            self._told[post.name] = post.trouble
            self.said(f"{post.name}: trouble: {post.trouble}" if post.trouble else f"{post.name}: all is well again")
        return grew

    @property
    def trouble(self) -> str:
        """What keeps it from its work now."""
        return "; ".join(f"{post.name}: {post.trouble}" for post in self.posts if post.trouble)
