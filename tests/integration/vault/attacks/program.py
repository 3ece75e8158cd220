"""The processes of a keep from outside: begun, woken, waited for, ended; and what is seen of them there."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from factory.sandbox.doorway import reachable
from factory.vault.canonical import Refused
from factory.vault.people.words import MEANINGS
from factory.vault.ports import Order, Outcome
from tests.integration.vault.attacks.carry import packed, parcel, unpacked
from tests.integration.vault.attacks.inside import Life, Off, add, every
from tests.integration.vault.kills.nursery import Nursery

NURSERY: list[Nursery] = []
"""The one of this session, once it is needed."""
INSIDE = "tests.integration.vault.attacks.inside"
WAIT_S = 60.0
SUBJECT = re.compile(r"([A-Za-z0-9._+-]+): (.*)", re.S)


def nursery() -> Nursery:
    """All processes of a session are its children."""
    if not NURSERY:
        NURSERY.append(Nursery.start(INSIDE))
    return NURSERY[0]


def close_nursery() -> None:
    while NURSERY:
        NURSERY.pop().close()


@dataclass
class Program:
    """One process, begun when it is first needed and begun anew when it is to be another one."""

    call: str
    """Function of ``inside`` that it begins with."""
    life: Life
    pid: int = 0
    _handle: int = -1
    _line: socket.socket | None = None

    def turn(self, off: tuple[Off, ...] = (), wake: Callable[[], object] = lambda: None) -> None:
        """Until it sleeps: from its beginning on, or after ``wake``."""
        self.go(off, wake)
        self.rest()

    def go(self, off: tuple[Off, ...] = (), wake: Callable[[], object] = lambda: None) -> None:
        """The same without waiting."""
        if not self.alive or [*map(id, off)] != [*map(id, self.life.off)]:
            self.end()
            self._begin(off)
        else:
            self._forget()
            wake()

    def _forget(self) -> None:
        """Sleeps that nobody waited for: it may wake by itself, when a run has ended."""
        assert self._line is not None
        while select.select([self._line], [], [], 0)[0]:
            self._line.recv(16)

    def rest(self) -> None:
        """Wait until it sleeps."""
        assert self._line is not None
        ready, _, _ = select.select([self._line, self._handle], [], [], WAIT_S)
        assert ready, f"it did not get done within {WAIT_S:g} s: {self.said}"
        assert self._line in ready, f"it ended: {self.said}"
        self._line.recv(16)

    @property
    def alive(self) -> bool:
        return self._handle >= 0 and not select.select([self._handle], [], [], 0)[0]

    @property
    def said(self) -> str:
        """Its log."""
        return self.life.log.read_text(encoding="utf-8") if self.life.log.exists() else ""

    @property
    def computed(self) -> float:
        """Seconds that it has computed, without the programs that it runs."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._handle >= 0:
            if self.alive:
                signal.pidfd_send_signal(self._handle, number)
                assert select.select([self._handle], [], [], WAIT_S)[0], f"it did not end: {self.said}"
            os.close(self._handle)
            self._handle = -1
        if self._line is not None:
            self._line.close()
            self._line = None

    def _begin(self, off: tuple[Off, ...]) -> None:
        life = self.life = replace(self.life, off=off)
        life.ear.parent.mkdir(parents=True, exist_ok=True)
        life.ear.unlink(missing_ok=True)
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with reachable(life.ear) as name:
            self._line.bind(name)
        request = life.ear.with_suffix(".life")
        data, modules = parcel(life)
        request.write_bytes(data)
        self.pid = nursery().child(f"{INSIDE}:{self.call}", str(request), load=sorted(modules))
        self._handle = os.pidfd_open(self.pid)


class Alarms(dict[str, str]):
    """What a person is told of a dispatcher's trouble, by subject; ``forge`` where the turn itself failed."""

    def __init__(self, trouble: str) -> None:
        super().__init__()
        subject = "forge"
        for piece in trouble.split("; ") if trouble else ():
            found = SUBJECT.fullmatch(piece)
            if found is not None:
                subject, piece = found.groups()
            self[subject] = f"{self[subject]}; {piece}" if subject in self else piece


def refusal(trouble: str) -> Refused | None:
    """The refusal of the ledger itself that these words for people stand for."""
    if "Nothing starts; " not in trouble:
        return None
    for code, meaning in MEANINGS.items():
        if trouble.startswith(f"{meaning.words}: "):
            return Refused(code, trouble)
    return None


@dataclass
class Lost:
    """Who counts as dead, besides those whose locks are free."""

    path: Path

    def add(self, by: str) -> None:
        add(self.path, by)


@dataclass
class Runs:
    """What was started behind the runner's port, and how that shall end."""

    folder: Path
    lost: Lost = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.lost = Lost(self.folder / "lost")
        self.fate = _done

    @property
    def orders(self) -> list[Order]:
        return every(self.folder / "orders")

    @property
    def fate(self) -> Any:
        """How each run ends; None: it never does."""
        return unpacked((self.folder / "fate").read_bytes())

    @fate.setter
    def fate(self, how: Callable[[Order], Outcome | None]) -> None:
        (self.folder / "fate").write_bytes(packed(how))

    def end(self, order: Order, outcome: Outcome | None = None) -> None:
        """One that was started ends now."""
        add(self.folder / "ended", (order, outcome or Outcome("done", "did it")))


def _done(order: Order) -> Outcome:
    return Outcome("done", "did it")
