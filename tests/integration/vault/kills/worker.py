"""A dispatcher as a process of its own: it can be killed, stopped, starved of disk, cut off in the middle of a push.

Real: the process, its locks and mirror, the trusted part, the git binary for all that touches the ledger. Stood in for:
the forge's facts (they do not change here), the sentinel, and the run, which is a thread that asks the world outside.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import signal
import socket
import threading
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from factory.git.hardened import Git, GitTrouble
from factory.process.lock import is_held
from factory.vault.chain import Chain
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.gather import Handed
from factory.vault.keys import listed
from factory.vault.ledger import Entry
from factory.vault.ports import Order, Outcome, PullFact, Repo, Settings
from factory.vault.watch.instance import enlist, lock_of
from tests.integration.vault.kills.ground import formula
from tests.integration.vault.kills.world import branch
from tests.integration.vault.quick import QuickGit, Store

FAST = 10.0
"""How much faster the dispatchers' own clocks go: the 30 s in which a run must begin are 3."""
PATIENCE = Patience(claim=40, grace=10, probe=10)
REST_S = 0.05


class LossyGit(QuickGit):
    """Objects are read in process; fetch, commit and push are the git binary's, and some replies get lost."""

    def __init__(self, remote: Path, mirror: Path, seed: int, log: Path) -> None:
        self._real = Git(mirror, str(remote))
        super().__init__(Store(remote, self._real))
        self.repo, self._random, self._log = mirror, random.Random(seed), log

    def fetch(self, *branches: str) -> None:
        self._real.fetch(*branches)
        self.own.update({name: self._real.text("rev-parse", "--verify", f"refs/heads/{name}") for name in branches})

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        return self._real.append(parent, files, note)

    def push(self, commit: str, branch: str) -> bool:
        chance = self._random.random()
        if chance < 0.05:  # cut off in the middle: it may have arrived, and may still arrive
            spec = f"{commit}:refs/heads/{branch}"
            try:
                self._real.run("push", "--porcelain", "--no-verify", "--", self._real.url, spec, codes=(0, 1), net=True,
                               seconds=self._random.uniform(0.002, 0.03))  # fmt: skip
            except GitTrouble:
                note(self._log, "cut")
                raise
        done = self._real.push(commit, branch)
        if chance > 0.95:
            note(self._log, "lost")
            raise GitTrouble("git push: the connection was reset")
        return done


@dataclass
class Outside:
    """Forge, sentinel and keys: what the ground says, and refs as they are."""

    remote: Path
    heads: Mapping[str, int]
    pulls_: Mapping[int, PullFact]
    settings_: Settings
    repo_: Repo

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        return {f"refs/heads/{name}": branch(self.remote, name) for name in ("main", "auto", "ledger")}

    def repo(self) -> Repo:
        return self.repo_

    def ahead(self, heads: Iterable[str]) -> None:
        """What this double knows it knows already."""

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        return (self.pulls_[self.heads[head]],) if head in self.heads else ()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        return ids

    def settings(self) -> Settings:
        return self.settings_

    def signers(self, statement: bytes, pulls: object) -> frozenset[int]:
        return frozenset()

    def sign(self, data: bytes) -> str:
        return ""

    changes = staticmethod(listed.changes)


@dataclass
class Runs:
    """Each run is a thread that takes a moment and then asks the world; it dies with the process."""

    home: Path
    door: Path
    host: str
    seed: int
    wake: threading.Event
    done: list[tuple[Order, Outcome]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, order: Order) -> None:
        threading.Thread(target=self._run, args=(order,), daemon=True).start()

    def _run(self, order: Order) -> None:
        chance = random.Random(f"{self.seed}{order.run}")
        time.sleep(chance.uniform(0, 0.3))  # the sandbox is built
        if not order.probe and clock() > order.deadline:
            said = Outcome("clean", "it was too late to begin")
        else:
            said = {
                "applied": Outcome("applied", "looked"), "absent": Outcome("absent", "looked"),
                "done": Outcome("done", "did it"), "refused": Outcome("unclear", "the fence let nothing through"),
                "": Outcome("unclear", "no answer"),
            }[self._ask(order)]  # fmt: skip
        time.sleep(chance.uniform(0, 1.2))  # the log is read, the result is typed
        with self.lock:
            self.done.append((order, said))
        self.wake.set()

    def _ask(self, order: Order) -> str:
        asked = {"key": order.idem_key, "id": order.id, "epoch": order.epoch, "run": order.run, "probe": order.probe}
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
                end.settimeout(10)
                end.connect(str(self.door))
                end.sendall(json.dumps(asked).encode() + b"\n")
                return end.makefile("r").readline().strip()
        except OSError:
            return ""

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        with self.lock:
            done, self.done = tuple(self.done), []
        return done

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        host, _, instance = by.partition("/")
        if host != self.host:
            return False
        lock = lock_of(self.home, instance)
        if kill and is_held(lock):
            try:
                os.kill(int((self.home / "pids" / instance).read_text()), signal.SIGKILL)
            except (ProcessLookupError, FileNotFoundError):
                return not is_held(lock)
            for _ in range(200):
                if not is_held(lock):
                    break
                time.sleep(0.01)
        return not is_held(lock)


def clock() -> float:
    return time.monotonic() * FAST


def note(log: Path, words: str) -> None:
    """Add to a file of the test's. A full disk takes no notes, or the beginning of one: the next is on a new line."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, f"\n{words}\n".encode())
    except OSError:
        return
    finally:
        os.close(descriptor)


class LoggedChain(Chain):
    """Writes down what it believes to have written."""

    log: Path

    def append(self, entries: Sequence[Entry], *more: object) -> tuple[Entry, ...]:
        landed = super().append(entries, *more)  # type: ignore[arg-type]
        note(self.log, "\n".join(f"{entry.path} {entry.run}" for entry in landed))
        return landed


def work(place: str, host: str, number: str) -> None:
    """Turn until killed. What nothing should ever raise is left in ``crashes``."""
    folder, seed = Path(place), int(number)
    home = folder / f"host-{host}"
    try:
        with enlist(home, [home], host) as instance:
            name = instance.name.partition("/")[2]
            (home / "pids").mkdir(exist_ok=True)
            (home / "pids" / name).write_text(str(os.getpid()))
            turn(folder, home, instance.name, instance.mirror(home), seed)
    except BaseException:
        (folder / "crashes").mkdir(exist_ok=True)
        (folder / "crashes" / f"{os.getpid()}-{seed}").write_text(traceback.format_exc())
        raise


def turn(folder: Path, home: Path, me: str, mirror: Path, seed: int) -> None:
    remote, wake = folder / "remote.git", threading.Event()
    heads, pulls, settings, repo = pickle.loads((folder / "facts").read_bytes())
    outside = Outside(remote, heads, pulls, settings, repo)
    runs = Runs(home, folder / "door", me.partition("/")[0], seed, wake)
    git = LossyGit(remote, mirror, seed, folder / "replies")
    handed = Handed(git, outside, outside, runs, outside, formula, monotonic=clock)
    dispatcher = Dispatcher(handed, me, home / "ledger.json", PATIENCE)
    dispatcher.chain.__class__ = LoggedChain
    dispatcher.chain.log = folder / "believed"  # type: ignore[attr-defined]
    (home / "awake").mkdir(exist_ok=True)
    while True:
        dispatcher.turn()
        (home / "awake" / str(os.getpid())).touch()
        wake.wait(REST_S)
        wake.clear()
