"""The world outside: counts effects, and lets only those through that the ledger names. Nothing here is ever killed."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pygit2

from tests.integration.vault.history import Effect, Line, lines


def branch(remote: Path, name: str) -> str:
    """Where it stands: in a file of its own, or, once a push made git tidy up, in ``packed-refs``."""
    try:
        return (remote / "refs" / "heads" / name).read_text().strip()
    except FileNotFoundError:
        packed = (remote / "packed-refs").read_text().splitlines()
        return next(line.split()[0] for line in packed if line.endswith(f" refs/heads/{name}"))


@dataclass
class World:
    """A provider behind a broker: between the look at the fence and the effect passes some time, as it does."""

    remote: Path
    door: Path
    seed: int = 0
    effects: list[Effect] = field(default_factory=list)
    refused: list[Effect] = field(default_factory=list)
    _known: dict[str, Line] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._repo = pygit2.Repository(str(self.remote))
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server.bind(str(self.door))
        self._server.listen(64)
        self._spawn(self._serve)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()

    def _spawn(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while True:
            try:
                end, _ = self._server.accept()
            except OSError:
                return
            self._spawn(self._answer, end)

    def _answer(self, end: socket.socket) -> None:
        with end:
            end.settimeout(10)
            try:
                asked = json.loads(end.makefile("rb").readline() or b"{}")
                if asked:
                    end.sendall(self.answer(asked).encode() + b"\n")
            except OSError:
                return  # whoever asked is dead; what was done is done

    def answer(self, asked: dict[str, object]) -> str:
        effect = Effect(str(asked["key"]), str(asked["id"]), int(str(asked["epoch"])), str(asked["run"]))
        if asked["probe"]:
            with self._lock:
                return "applied" if any(done.key == effect.key for done in self.effects) else "absent"
        with self._lock:
            kind, epoch, run = self.last(effect.id)
            pause = self._random.uniform(0, 0.05)
        if (kind, epoch, run) != ("STARTED", effect.epoch, effect.run):
            with self._lock:
                self.refused.append(effect)
            return "refused"
        time.sleep(pause)
        with self._lock:
            self.effects.append(effect)
        return "done"

    def last(self, id: str) -> tuple[str, int, str]:
        """Kind, epoch and run of the newest entry but notes."""
        found = [line for line in self.ledger() if line.id == id and line.kind != "LATE"]
        return (found[-1].kind, found[-1].epoch, found[-1].run) if found else ("", 0, "")

    def ledger(self) -> list[Line]:
        # Written by other processes: the reference is read anew, and so are packs that came since.
        tip = branch(self.remote, "ledger")
        if tip not in self._repo:
            self._repo = pygit2.Repository(str(self.remote))
        return lines(self._repo, tip, self._known)
