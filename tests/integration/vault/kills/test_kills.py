"""Three dispatcher processes on one ledger, and one that kills, stops and starves them at random.

What is promised (vault-security.md, 3.1): never two effects of an action of class C or D, none at all without a
STARTED, no DONE without effect, and every action ends, or waits for a person. A second reading of the ledger decides.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
import pytest

from tests.integration.vault.history import Line, check
from tests.integration.vault.kills.ground import Ground
from tests.integration.vault.kills.nursery import Nursery
from tests.integration.vault.kills.world import World, branch
from tests.soak_report import counts, record, seed_of_part

WORK = "tests.integration.vault.kills.worker:work"
HOSTS = ("one", "one", "two")
"""Where the three run: of a dispatcher of another host nothing can be proved."""


@dataclass
class Nest:
    """The three, each begun anew when it is gone."""

    folder: Path
    rng: random.Random
    nursery: Nursery
    pids: list[int] = field(default_factory=lambda: [0, 0, 0])
    stopped: dict[int, float] = field(default_factory=dict)
    """Until when they are stopped."""
    starved: dict[int, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)

    def fill(self) -> None:
        for place, pid in enumerate(self.pids):
            if not pid or not Path(f"/proc/{pid}").exists():
                words = (str(self.folder), HOSTS[place], str(self.rng.getrandbits(40)))
                self.pids[place] = self.nursery.child(WORK, *words)

    def strike(self, row: list[Line]) -> None:
        """Something bad happens to one of them, or to the forge. Half of the time it is one that has just started a
        run; seldom one that did not live to its first turn yet."""
        what = self.rng.choices(("kill", "stop", "starve", "lock"), (64, 20, 10, 6))[0]
        awake = {int(path.name) for path in self.folder.glob("host-*/awake/*")}
        grown = [pid for pid in self.pids if pid in awake and self.rng.random() < 0.9]
        pid = self.rng.choice(grown or self.pids)
        starters = [line.by.partition("/") for line in row[-6:] if line.kind == "STARTED"]
        if starters and self.rng.random() < 0.5:
            host, _, instance = self.rng.choice(starters)
            writer = int((self.folder / f"host-{host}" / "pids" / instance).read_text() or 0)
            pid = writer if writer in self.pids else pid
        if what == "lock":
            with contextlib.suppress(FileExistsError):
                lock = self.folder / "remote.git" / "refs" / "heads" / "ledger.lock"
                lock.touch(exist_ok=False)
                self.starved[-1] = time.monotonic() + 0.2
                self.done[what] += 1
            return
        with contextlib.suppress(ProcessLookupError):
            if what == "kill":
                os.kill(pid, signal.SIGKILL)
            elif what == "stop":
                os.kill(pid, signal.SIGSTOP)
                self.stopped[pid] = time.monotonic() + self.rng.choice((0.1, 0.5, 2.0, 6.0, 12.0))
            else:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (self.rng.randrange(3000), resource.RLIM_INFINITY))
                self.starved[pid] = time.monotonic() + self.rng.uniform(0.2, 1)
            self.done[what] += 1

    def heal(self, *, all_: bool = False) -> None:
        """Those whose time has come go on."""
        now = float("inf") if all_ else time.monotonic()
        for pid in [pid for pid, until in self.stopped.items() if until < now]:
            del self.stopped[pid]
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        for pid in [pid for pid, until in self.starved.items() if until < now]:
            del self.starved[pid]
            with contextlib.suppress(ProcessLookupError):
                if pid < 0:
                    (self.folder / "remote.git" / "refs" / "heads" / "ledger.lock").unlink(missing_ok=True)
                else:
                    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def end(self) -> None:
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def nursery() -> Iterator[Nursery]:
    with Nursery.start() as made:
        yield made


def test_a_branch_is_found_where_git_tidied_up(tmp_path: Path) -> None:
    """Some thousands of pushes make git pack the references; later ones have files of their own again."""
    repo, who = pygit2.init_repository(tmp_path, bare=True), pygit2.Signature("x", "x@y", 1_700_000_000, 0)
    tree, tips = repo.TreeBuilder().write(), dict[str, str]()
    for name in ("ledger", "main", "ledger"):
        above = [tips[name]] if name in tips else []
        tips[name] = str(repo.create_commit(f"refs/heads/{name}", who, who, "m", tree, above))
        assert branch(tmp_path, name) == tips[name]
        subprocess.run(["git", "pack-refs", "--all"], cwd=tmp_path, check=True)
        assert not (tmp_path / "refs" / "heads" / name).exists()
        assert {there: branch(tmp_path, there) for there in tips} == tips


ROUND = 250
"""Actions of one ledger."""
STUCK_S = 60
"""Nothing is written for so long, and there is something open: it will stay so."""
COUNTED = ("kill", "stop", "starve", "lock", "DONE", "PARKED", "FAILED", "REVOKED", "happened", "not", "refused",
           "LATE", "UNKNOWN", "cut", "lost")  # fmt: skip


@pytest.mark.parametrize("actions", counts(40, 2_000))
def test_random_kills(tmp_path: Path, nursery: Nursery, actions: int) -> None:
    """A kill for each action at least, something bad every 0.15 to 0.5 s (in the short form more often), but a second
    more where nothing was written since the last one; in the long form on one ledger after the other."""
    total: Counter[str] = Counter()
    first, rest = seed_of_part(20), (0.15, 0.5) if actions >= ROUND else (0.05, 0.15)
    for number, begin in enumerate(range(0, actions, ROUND)):
        folder = tmp_path / f"{number}"
        total += one_ledger(folder, nursery, min(ROUND, actions - begin), random.Random(first + number), rest)
        print(number, total)
    record(
        f"Random kills of three vault dispatcher processes on one ledger ({ROUND} actions each)", done=actions,
        full=2_000, seed=first,
        tally={name: total[name] for name in COUNTED},
        result="{kill:,} SIGKILL, {stop:,} SIGSTOP, {starve:,} full disks, {lock:,} stale locks, {cut:,} pushes cut "
        "off, {lost:,} replies lost: 0 double effects, 0 DONE without effect; {DONE:,} DONE, {PARKED:,} PARKED "
        "({happened:,} had run, {not:,} had not), {FAILED:,} FAILED before they began, {REVOKED:,} REVOKED; "
        "{UNKNOWN:,} lost runs fenced, {refused:,} effects refused by the fence, {LATE:,} late notes",
    )  # fmt: skip


def one_ledger(
    folder: Path, nursery: Nursery, actions: int, rng: random.Random, rest: tuple[float, float]
) -> Counter[str]:
    ground = Ground(folder, actions)
    world = World(folder / "remote.git", folder / "door", rng.getrandbits(30))
    nest = Nest(folder, rng, nursery)
    try:
        ground.release(6)
        seen = 0
        while nest.done["kill"] < actions or ground.released < actions:
            nest.fill()
            time.sleep(rng.uniform(*rest))
            nest.heal()
            patient = time.monotonic() + 1
            while len(world.ledger()) == seen and time.monotonic() < patient:
                time.sleep(0.01)
            row = world.ledger()
            seen = len(row)
            nest.strike(row)
            # Work comes as the kills do, so that none of them hits an idle process.
            ground.release(max(0, 6 + nest.done["kill"] - ground.released))
        nest.heal(all_=True)
        report, deadline = None, time.monotonic() + STUCK_S
        while report is None or report.open:
            if len(row := world.ledger()) > seen:  # every life is of so many entries at most, so this ends
                seen, deadline = len(row), time.monotonic() + STUCK_S
            elif time.monotonic() > deadline:
                break
            nest.fill()
            time.sleep(0.25)
            report = check(row, tuple(world.effects), ground.merged(), ground.targets)
    finally:
        nest.end()
        world.close()
    row = world.ledger()
    report = check(row, world.effects, ground.merged(), ground.targets)
    crashes = folder / "crashes"
    assert [path.read_text() for path in crashes.glob("*")] == []
    assert report.wrong == ()
    assert report.open == ()
    assert [line.evidence for line in row if line.kind in ("REVOKED", "REFUSED")] == [], "nothing was withdrawn"
    there = {f"e/{line.id}/{line.seq:08d}-{line.kind}.toml {line.run}" for line in row}
    # What a full disk cut off is no such line.
    believed = set(re.findall(r"^e/\S+\.toml [0-9a-f]{32}$", (folder / "believed").read_text(), re.MULTILINE))
    assert believed <= there, "a dispatcher believed to have written what is not there"
    parked = [id for id, end in report.ends.items() if end == "PARKED"]
    found = nest.done + Counter(report.ends.values())
    found["happened"] = sum(1 for id in parked if report.effects.get(id))
    found["not"] = len(parked) - found["happened"]
    found["refused"] = len(world.refused)
    found.update(line.kind for line in row if line.kind in ("LATE", "UNKNOWN"))
    found.update(re.findall(r"^(?:cut|lost)$", (folder / "replies").read_text(), re.MULTILINE))
    assert found["cut"] + found["lost"] > 0
    assert len(believed) > actions
    return found
