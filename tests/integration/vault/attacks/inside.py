"""The processes of a keep from within: the dispatcher's and the sentinel's real programs, begun by the nursery's fork.

What is not as in service, all of it here: the run behind the runner's port is written down instead of had; the
formulas are those of the tests; when nothing is left to do it sleeps until it is woken, however long, and says that it
does; a turn begins at the first poke, whatever follows it; a failed turn is tried again when it is woken next; no
answer of the sentinel outlives a sleep; the clocks can be moved; whose signature counts can be told; and what a test
switched off.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from factory.app import dispatcher, sentinel, vault_running
from factory.daemon.wake import Wake
from factory.forge.client import ForgejoClient
from factory.process.lock import is_held
from factory.sandbox.doorway import reachable
from factory.vault.gather import Handed
from factory.vault.keys.hostkeys import HostKeys
from factory.vault.ports import Order, Outcome
from factory.vault.watch import loop
from factory.vault.watch.asking import AskedSentinel
from factory.vault.watch.forge_reads import ForgeReads
from factory.vault.watch.instance import lock_of
from tests.integration.vault.attacks.carry import packed, unpacked
from tests.integration.vault.house import formula_bytes

FOR_EVER = 3600.0
slept = [0.0]
"""Seconds that this process slept, as it takes them."""
ForgejoClient("http://127.0.0.1:9").close()  # what its first one takes for good is there before the fork


@dataclass(frozen=True)
class Off:
    """One thing that is put in another's place: an attribute of ``where``, or an environment variable (None)."""

    where: Any
    name: str
    value: Any

    def put(self) -> None:
        if self.where is None:
            os.environ[self.name] = self.value
        else:
            setattr(self.where, self.name, self.value)


@dataclass(frozen=True)
class Life:
    """How a process is to be."""

    home: Path
    ear: Path
    """Where it says that it goes to sleep."""
    log: Path
    runs: Path | None = None
    """Where runs are written down; None: they are had."""
    clock: Path | None = None
    """A file with three numbers: seconds that its clock is ahead, its monotonic clock, and seconds that the forge's
    clock is ahead as it is told; None: the clocks that there are."""
    signers: Path | None = None
    """Where it is told whose signatures there are; where nothing is, it looks for them."""
    off: tuple[Off, ...] = ()


@dataclass
class Recorder:
    """``ports.Runner``: what is started is written into ``folder``, and so is how it ended, here or from outside."""

    folder: Path
    host: str
    state: Path
    instance: str
    read: int = field(init=False)
    running: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.read = size(self.folder / "ended")  # what ended before is none of ours

    def start(self, order: Order) -> None:
        add(self.folder / "orders", order)
        self.running.add(order.run)
        fate: Callable[[Order], Outcome | None] = unpacked((self.folder / "fate").read_bytes())
        if order.probe:
            applied = order.idem_key in every(self.folder / "effects")
            outcome: Outcome | None = Outcome("applied" if applied else "absent", "looked")
        else:
            outcome = fate(order)
        if outcome is not None and outcome.state == "done":
            add(self.folder / "effects", order.idem_key)
        if outcome is not None:
            add(self.folder / "ended", (order, outcome))

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        at, self.read = self.read, size(self.folder / "ended")
        ended: list[tuple[Order, Outcome]] = every(self.folder / "ended", at)
        self.running -= {order.run for order, _ in ended}
        return tuple(ended)

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        """As the real one proves it: of this host, by the locks; what a test calls dead is as well."""
        if by in every(self.folder / "lost"):
            return True
        host, _, instance = by.partition("/")
        if by == self.instance:
            return run not in self.running
        return host == self.host and not is_held(lock_of(self.state, instance))

    def close(self, seconds: float) -> None:
        """Nothing of it goes on."""


def add(path: Path, value: object) -> None:
    with path.open("ab") as file:
        file.write(packed(value))


def every(path: Path, at: int = 0) -> list[Any]:
    """All that was added, from a place in the file on."""
    found: list[Any] = []
    if path.exists():
        with path.open("rb") as file:
            file.seek(at)
            while file.peek(1):
                found.append(pickle.load(file))
    return found


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def serve(request: str) -> None:
    """A dispatcher, as ``factory up`` starts it."""
    life = begin(request)
    loop.RETRY_MAX_S = loop.BURST_S = 0.0
    asking: Any = AskedSentinel.__init__
    asking.__kwdefaults__["clock"] = lambda: time.monotonic() + slept[0]
    if life.clock is not None:
        more = {} if life.runs is None else {"monotonic": monotonic(life.clock)}  # a real run has one of its own
        moved: Any = functools.partial(Handed, clock=clock(life.clock), **more)
        dispatcher.Handed = moved  # type: ignore[misc]
        ForgeReads.now = forge_clock(life.clock)  # type: ignore[method-assign]
    if life.runs is not None:
        runs: Path = life.runs

        def recorder(deployment: Any, *_: Any, folder: Path, instance: str, **__: Any) -> Any:
            return Recorder(runs, deployment.host.host, folder, instance)

        vault_running.make = recorder
        dispatcher.packaged_formula = formula_bytes  # type: ignore[assignment]
    if life.signers is not None:
        HostKeys.signers = signers(life.signers)  # type: ignore[method-assign]
    for one in life.off:
        one.put()
    os._exit(dispatcher.main(["--home", str(life.home)]))


def watch(request: str) -> None:
    """A sentinel; it looks when it is asked."""
    life = begin(request)
    os._exit(sentinel.main(["--home", str(life.home), "--poll", str(FOR_EVER)]))


def begin(request: str) -> Life:
    """Its own session and its own log; from here on whoever started it hears of its sleeps."""
    os.setsid()
    told = Path(request).read_bytes()
    life: Life = unpacked(told)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log = os.open(life.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, there in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(number, there)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115 - for its life
    really = Wake.sleep

    def sleep(self: Wake, seconds: float, until_readable: Iterable[int] = ()) -> str:
        if self.stop:
            return "asked"
        with reachable(life.ear) as name, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # so many were not read yet that one more says nothing
                line.sendto(b"x", name)
        slept[0] += FOR_EVER
        return really(self, FOR_EVER, until_readable)

    Wake.sleep = sleep  # type: ignore[method-assign]
    return life


def clock(path: Path) -> Callable[[], datetime]:
    """This host's clock, as far ahead as the file says."""
    return lambda: datetime.now(UTC) + timedelta(seconds=float(path.read_text().split()[0]))


def forge_clock(path: Path) -> Any:
    """The forge's, as far ahead as the file says."""
    really = ForgeReads.now
    return lambda self: really(self) + timedelta(seconds=float(path.read_text().split()[2]))


def signers(path: Path) -> Any:
    really = HostKeys.signers

    def told(self: HostKeys, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        if not path.exists():
            return really(self, statement, pulls)
        found: frozenset[int] = unpacked(path.read_bytes())(statement, pulls)
        return found

    return told


def monotonic(path: Path) -> Callable[[], float]:
    return lambda: float(path.read_text().split()[1])
