"""kill -9 of daemon, forge, gateway, dispatcher, sessions at random moments of a demo: the same end, and nothing twice.

The long form deletes ``cache/`` among them, too.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.acceptance.conftest import Installed, end
from tests.acceptance.looking import Looker, git
from tests.soak_report import PART, PARTS, SHARE, record

pytestmark = pytest.mark.needs_bwrap

SERVICES = ("daemon", "forge", "gateway", "dispatcher")
VICTIMS = (*SERVICES, "session")
ALL = (*VICTIMS, "cache")
SEEDS, KILLS = 6, 7
"""Demos of the long form, and kills in each before the last one, which meets the release."""


@dataclass
class Killer:
    """Kills one process of each kind after the other, in an order and at moments that the seed decides."""

    home: Path
    seed: int
    kills: int
    victims: tuple[str, ...] = VICTIMS
    done: list[str] = field(default_factory=list)

    def run(self, alive: Callable[[], bool], approved: Callable[[], bool]) -> None:
        """Until all kills are done or the demo is over. The last kill meets the dispatcher while the release, which
        comes late, is approved, verified, started or just done."""
        chance = random.Random(self.seed)
        order: list[str] = []
        while len(order) < self.kills:
            order += chance.sample(self.victims, len(self.victims))
        while alive() and not (self.home / "state" / "services" / "daemon.pid").exists():
            time.sleep(0.05)
        for victim in order[: self.kills]:
            until = time.monotonic() + chance.uniform(0.3, 2.5)
            while alive() and time.monotonic() < until:
                time.sleep(0.02)
            while alive() and not self._kill(victim):
                time.sleep(0.02)
        while alive() and not approved():
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 4))
        while alive() and not self._kill("dispatcher"):
            time.sleep(0.02)

    def _kill(self, victim: str) -> bool:
        if victim == "cache":
            shutil.rmtree(self.home / "cache", ignore_errors=True)
            self.done.append(victim)
            return True
        for pid in self._pids(victim):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.done.append(victim)
            return True
        return False

    def _pids(self, victim: str) -> list[int]:
        """Processes of ours only: what a file of this home names, and what really was started for this home."""
        state = self.home / "state"
        if victim in SERVICES:
            files = [state / "services" / f"{victim}.pid"]
        else:
            runs = [f.parent for f in sorted((state / "runs").glob("*/process.json"))]
            files = [run / "process.json" for run in runs if not (run / "result.json").exists()]
        found = []
        for file in files:
            try:
                pid = int(json.loads(file.read_bytes())["pid"])
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError, ValueError):
                continue
            if f"FACTORY_HOME={self.home}".encode() in environment:
                found.append(pid)
        return found


def survives(
    installed: Installed, folder: Path, home: Path, seed: int, kills: int, victims: tuple[str, ...] = VICTIMS
) -> list[str]:
    """A demo that is disturbed so; what was killed."""
    argv = [installed.program, "demo", "--json", "--keep", "--home", home]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        demo = subprocess.Popen(argv, env=installed.env(home), cwd=folder, stdout=out, stderr=err)
        try:
            killer = Killer(home, seed, kills, victims)
            told_approved = b"APPROVED by the demo"
            killer.run(lambda: demo.poll() is None, lambda: told_approved in (folder / "err").read_bytes())
            code = demo.wait(400)
        finally:
            demo.kill()
            demo.wait()
    said = (folder / "err").read_text(encoding="utf-8")
    assert code == 0, f"seed {seed}, killed {killer.done}: {said}\n{_logs(home)}"
    assert len(killer.done) == kills + 1, f"seed {seed}: it was over after {killer.done}"

    told = json.loads((folder / "out").read_bytes())["factory.demo/v1"]
    look = Looker(
        told["forge"]["url"], told["login"], told["password"], told["project"]["repo"], told["ops"]["repo"], folder
    )
    about = f"seed {seed}, killed {killer.done}"
    assert look.duplicates() == [], about
    assert len(look.issues()) == len(look.pulls()) == 3, about
    main = look.clone(look.project)
    assert len(git(main, "log", "--merges", "--format=%H", "origin/main").splitlines()) == 3, about
    for pull in look.pulls():
        assert pull["merged"], about
        git(main, "merge-base", "--is-ancestor", pull["merge_commit_sha"], "origin/main")
        last = look.reviews(pull["number"])[-1]
        assert (last["state"], last["commit_id"]) == ("APPROVED", pull["head"]["sha"]), about
        assert last["user"]["login"] != pull["user"]["login"]
        assert look.states(pull["head"]["sha"])[-1] == "success", about
    look_at_the_journal(look, about)
    look_at_the_ledger(look, told["action"]["id"], about)
    look.close()
    return killer.done


def look_at_the_journal(look: Looker, about: str) -> None:
    """Every run that was started has ended, once, and no lease is left."""
    ops = look.clone(look.ops, mirror=True)
    files = git(ops, "ls-tree", "-r", "--name-only", "journal").splitlines()
    entries = [json.loads(x) for f in files for x in git(ops, "show", f"journal:{f}").splitlines()]
    began = [e["data"]["run"]["run"] for e in entries if e["kind"] == "started"]
    ended = [e["data"]["run"]["run"] for e in entries if e["kind"] == "finished"]
    assert len(set(began)) == len(began), about
    assert sorted(set(ended)) == sorted(began), about
    assert len(set(ended)) == len(ended), about
    assert "refs/factory/leases" not in git(ops, "for-each-ref", "--format=%(refname)"), about


def look_at_the_ledger(look: Looker, id: str, about: str) -> None:
    """The release was started once in each of its epochs, ended as done, and is there once."""
    ops = look.clone(look.ops, mirror=True)
    names = git(ops, "ls-tree", "-r", "--name-only", "ledger", f"e/{id}/").splitlines()
    entries = [tomllib.loads(git(ops, "show", f"ledger:{name}")) for name in sorted(names)]
    assert [entry["kind"] for entry in entries][-1] == "DONE", about
    started = [entry["epoch"] for entry in entries if entry["kind"] == "STARTED"]
    assert len(set(started)) == len(started) >= 1, about
    actions = {name.split("/")[1] for name in git(ops, "ls-tree", "--name-only", "ledger", "e/").splitlines()}
    assert actions == {"_", id}, about
    releases = look.every(f"/repos/{look.project}/releases")
    assert [(one["tag_name"], len(one["assets"])) for one in releases] == [("v0.2.0", 1)], about
    main = look.clone(look.project)
    assert git(main, "tag", "--list").splitlines() == ["v0.2.0"], about


def _logs(home: Path) -> str:
    logs = sorted((home / "state" / "services").glob("*.log"))
    return "\n".join(f"== {f.name}\n{f.read_text(encoding='utf-8', errors='replace')[-3000:]}" for f in logs)


def test_five_kills_change_nothing(installed: Installed, tmp_path: Path, stop_after: Callable[[Path], Path]) -> None:
    survives(installed, tmp_path, stop_after(tmp_path / "home"), seed=20, kills=5)


@pytest.mark.soak
@pytest.mark.skipif(not SHARE, reason="a long form: FACTORY_SOAK=1")
def test_many_kills_change_nothing(installed: Installed, tmp_path: Path, stop_after: Callable[[Path], Path]) -> None:
    killed: Counter[str] = Counter()
    seeds = range(1, SEEDS + 1)[PART - 1 :: PARTS]
    for seed in seeds:
        folder = tmp_path / str(seed)
        folder.mkdir()
        victims = (*VICTIMS, "cache") if seed > SEEDS // 2 else VICTIMS
        killed.update(survives(installed, folder, stop_after(folder / "home"), seed, KILLS, victims))
        end(installed, folder / "home")
    record(
        "kill -9 of daemon, forge, gateway, dispatcher and sessions in demos", done=killed.total(),
        full=SEEDS * (KILLS + 1), seed=f"1 to {SEEDS}", tally={"demos": len(seeds), **{v: killed[v] for v in ALL}},
        result="the whole end state in each of {demos} demos, no issue, comment, pull request, review, run, merge or "
        "release twice (killed: daemon {daemon}, forge {forge}, gateway {gateway}, dispatcher {dispatcher}, session "
        "{session}; cache/ deleted {cache} times)",
    )  # fmt: skip
