"""The sentinel as the trusted part asks it: never an old answer, never a long wait."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.forge.values import RepoName
from factory.sandbox.doorway import reachable
from factory.vault.ports import Settings, Unclear
from factory.vault.watch import record, settings
from factory.vault.watch.record import POLLS, Record

WAIT_S = 20.0
FRESH_S = 1.0
"""How long an answer is taken for another one: a burst of requests is one look a second."""
SKEW = timedelta(seconds=120)


class AskedSentinel:
    """``ports.Sentinel`` of one ops repo: asks the sentinel's process for a fresh look, then reads what it wrote.

    ``clock`` is monotonic, ``now`` the host's time.
    """

    def __init__(
        self,
        folder: Path,
        door: Path,
        ops: RepoName,
        *,
        wait_s: float = WAIT_S,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder, self._door, self._ops = folder, door, ops
        self._wait, self._fresh, self._clock, self._now = wait_s, fresh_s, clock, now
        self._seen: Record | None = None
        self._asked = float("-inf")

    def settings(self) -> Settings:
        """What it sees now. Raises Unclear when it does not answer, or what it wrote is older than three polls."""
        return self._record().told()

    def writers(self) -> frozenset[int]:
        """Accounts that may write in the ops repo, as it sees it now. Raises Unclear."""
        return settings.writers(self._record().facts)

    def _record(self) -> Record:
        began = self._clock()
        if self._seen is not None and began - self._asked < self._fresh:
            return self._seen
        self._ask()
        self._seen = current(self._folder, self._now())
        self._asked = began
        return self._seen

    def _ask(self) -> None:
        doing = f"asking the sentinel about {self._ops}"
        deadline = self._clock() + self._wait
        got = b""
        try:
            with reachable(self._door) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
                line.settimeout(self._wait)
                line.connect(name)
                line.sendall(f"{self._ops}\n".encode())
                while not got.endswith(b"\n"):
                    line.settimeout(max(0.01, deadline - self._clock()))
                    piece = line.recv(4096)
                    if not piece or len(got) > 65536:
                        break
                    got += piece
            told = json.loads(got) if got.endswith(b"\n") else {"trouble": "it ended without an answer"}
        except TimeoutError:
            raise Unclear(f"{doing}: no answer within {self._wait:g} s") from None
        except (OSError, ValueError) as error:
            why = f"it does not run ({type(error).__name__}); `factory up --detach` starts it"
            raise Unclear(f"{doing}: {why}") from None
        if "trouble" in told:
            raise Unclear(f"{doing}: {told['trouble']}")


def current(folder: Path, now: datetime) -> Record:
    """The last look as the sentinel wrote it. Raises Unclear when there is none, or none within three polls of ``now``
    by this host's clock (a clock that was set back is no excuse)."""
    seen = record.read(folder)
    if seen is None:
        raise Unclear("the sentinel has not looked at the forge's settings yet")
    age = now - seen.looked
    if age > timedelta(seconds=POLLS * seen.poll_seconds) or age < -SKEW:
        raise Unclear(
            f"the sentinel last looked at {seen.looked:%Y-%m-%d %H:%M:%S} UTC; it is now {now:%Y-%m-%d %H:%M:%S}"
        )
    return seen
