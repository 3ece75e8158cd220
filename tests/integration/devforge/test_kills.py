"""kill -9 at random moments under load: what was acknowledged is there, nothing is half there, git finds no fault."""

from __future__ import annotations

import base64
import itertools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory.devforge import agreement
from factory.git import objects
from factory.git.values import Signature
from factory.testing.forge_process import start_forge
from tests.soak_report import counts, record, seed_of_part

SEED = 20_26
FULL = 500
TURNS_PER_REPO = 25
WHO = Signature("A", "a@example.test", 1_700_000_000)


@dataclass
class Said:
    """What the forge said yes to before it was killed."""

    pushed: dict[str, str] = field(default_factory=dict)
    """Branch -> commit."""
    opened: dict[int, str] = field(default_factory=dict)
    """Pull request -> head."""
    merged: dict[int, str] = field(default_factory=dict)
    issues: dict[int, str] = field(default_factory=dict)
    comments: dict[int, int] = field(default_factory=dict)
    """Comment -> issue."""
    statuses: list[str] = field(default_factory=list)
    """Contexts on the first commit."""
    files: dict[str, str] = field(default_factory=dict)
    """Branch -> commit made by the contents API."""

    @property
    def count(self) -> int:
        return sum(len(kept) for kept in vars(self).values())


class Turn:
    """Three clients at work on one repo until the forge is gone."""

    def __init__(self, world: Any, repo: str, local: Path, first: str, number: int, rng: random.Random) -> None:
        self.world, self.repo, self.local, self.first, self.number = world, repo, local, first, number
        self.said = Said()
        self._delay = rng.choice([rng.uniform(0.0, 0.03), rng.uniform(0.0, 0.25)])
        self._token = {"Authorization": f"token {world.token('ann')}"}
        self._numbers = itertools.count()

    def run(self) -> None:
        begun = threading.Barrier(4)
        workers = [threading.Thread(target=self._until_gone, args=(begun, step)) for step in self._steps()]
        for worker in workers:
            worker.start()
        begun.wait()
        time.sleep(self._delay)  # the moment of the kill is the random part
        os.kill(self.world.process.pid, signal.SIGKILL)
        self.world.process.kill()
        for worker in workers:
            worker.join()

    def _steps(self) -> list[Callable[[httpx.Client], None]]:
        return [self._push, self._merge, self._write]

    def _until_gone(self, begun: threading.Barrier, step: Callable[[httpx.Client], None]) -> None:
        base = f"{self.world.url}/api/v1/repos/{self.repo}"
        with httpx.Client(base_url=base, headers=self._token, timeout=20, trust_env=False) as client:
            begun.wait()
            try:
                while True:
                    step(client)
            except (httpx.TransportError, Gone):
                return

    def _push(self, _client: httpx.Client) -> None:
        n = next(self._numbers)
        branch = f"push-{self.number}-{n}"
        sha = objects.build_commit(
            self.local, parent=self.first, changes={f"{branch}.txt": b"x\n"}, message=branch, author=WHO, committer=WHO
        )
        git(self.local, "push", "-q", self.world.remote(self.repo), f"{sha}:refs/heads/{branch}")
        self.said.pushed[branch] = sha

    def _merge(self, client: httpx.Client) -> None:
        name = f"fix-{self.number}-{next(self._numbers)}"
        body = {"content": base64.b64encode(name.encode()).decode(), "new_branch": name, "message": name}
        sha = ok(client.post(f"/contents/{name}.txt", json=body))["commit"]["sha"]
        self.said.files[name] = sha
        pull = {"head": name, "base": "main", "title": name, "body": "Fixes #1"}
        number = ok(client.post("/pulls", json=pull))["number"]
        self.said.opened[number] = sha
        style = ("merge", "squash", "rebase")[number % 3]
        merge = {"Do": style, "head_commit_id": sha, "delete_branch_after_merge": number % 2 == 0}
        ok(client.post(f"/pulls/{number}/merge", json=merge))
        self.said.merged[number] = sha

    def _write(self, client: httpx.Client) -> None:
        title = f"issue-{self.number}-{next(self._numbers)}"
        issue = ok(client.post("/issues", json={"title": title}))["number"]
        self.said.issues[issue] = title
        self.said.comments[ok(client.post(f"/issues/{issue}/comments", json={"body": title}))["id"]] = issue
        ok(client.post(f"/statuses/{self.first}", json={"state": "success", "context": title}))
        self.said.statuses.append(title)


class Gone(Exception):
    """git could not reach the forge."""


def git(folder: Path, *argv: str) -> str:
    done = subprocess.run(["git", *argv], cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise Gone(done.stderr)
    return done.stdout


def ok(answer: httpx.Response) -> Any:
    assert answer.status_code < 300, f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def kept(world: Any, repo: str, said: Said, first: str) -> None:
    """Everything acknowledged survived."""
    bare = world.bare(repo)
    refs = objects.list_refs(bare)
    for branch, sha in said.pushed.items():
        assert refs[f"refs/heads/{branch}"] == sha
    for number, sha in said.opened.items():
        assert refs[f"refs/pull/{number}/head"] == sha
    for number in said.merged:
        assert world.ok("ann", "GET", f"/repos/{repo}/pulls/{number}")["merged"]
    for branch, sha in said.files.items():
        assert refs.get(f"refs/heads/{branch}", sha) == sha
        assert objects.exists(bare, sha)
    for number, title in said.issues.items():
        assert world.ok("ann", "GET", f"/repos/{repo}/issues/{number}")["title"] == title
    for comment, number in said.comments.items():
        assert comment in [c["id"] for c in world.ok("ann", "GET", f"/repos/{repo}/issues/{number}/comments")]
    if said.statuses:
        found = world.ok("ann", "GET", f"/repos/{repo}/commits/{first}/statuses", limit=50)
        assert {s["context"] for s in found} >= set(said.statuses[-10:])


def whole(world: Any, repo: str) -> None:
    """No pull request is half merged: nobody pushes to main, so what main has beyond its first commit was merged."""
    bare = world.bare(repo)
    log = objects.log(bare, "refs/heads/main")
    pulls = world.ok("ann", "GET", f"/repos/{repo}/pulls", state="all", limit=50, sort="recentupdate")
    for pull in pulls:
        on_main = [
            c for c in log if c.message.split("\n")[0] in (pull["title"], f"{pull['title']} (#{pull['number']})")
        ]
        assert pull["merged"] == bool(on_main), pull["number"]
        assert len(on_main) <= 1
        assert pull["state"] == ("closed" if pull["merged"] else "open")
    closed = world.ok("ann", "GET", f"/repos/{repo}/issues/1")["state"] == "closed"
    assert closed == any(pull["merged"] for pull in pulls)


@pytest.fixture
def forge(world: Any, tmp_path: Path) -> Iterator[Any]:
    """A forge of its own: others may be using the module's."""
    made = type(world)(tmp_path / "forge", start_forge(tmp_path / "forge"))
    yield made
    made.close()


@pytest.mark.parametrize("kills", counts(10, FULL))
def test_killed_under_load(forge: Any, tmp_path: Path, kills: int) -> None:
    rng = random.Random(seed_of_part(SEED))
    acknowledged = merged = 0
    repo, local, first = "", tmp_path / "local", ""
    for number in itertools.count():
        if number >= kills and (merged or number >= 10 * kills):
            break  # on a busy machine it may take more of them until one strikes after a merge
        if number % TURNS_PER_REPO == 0:
            repo = forge.repo()
            forge.ok("ann", "POST", f"/repos/{repo}/issues", {"title": "closed by the first merge"})
            git(tmp_path, "clone", "-q", "--bare", forge.remote(repo), f"local{number}")
            local = tmp_path / f"local{number}"
            first = git(local, "rev-parse", "main").strip()
        turn = Turn(forge, repo, local, first, number, rng)
        turn.run()
        forge.restart(kill=True)
        assert agreement.findings(forge.home) == []
        assert git(forge.bare(repo), "fsck", "--strict", "--no-dangling") == ""
        assert not list(forge.bare(repo).glob("incoming-*"))
        assert not list(forge.bare(repo).rglob("*.lock"))
        kept(forge, repo, turn.said, first)
        whole(forge, repo)
        acknowledged += turn.said.count
        merged += len(turn.said.merged)
    assert merged
    assert "Traceback" not in (forge.home / "forge.log").read_text()
    record(
        "kill -9 of the forge during pushes, merges and API writes", done=number, full=FULL, seed=SEED,
        tally={"acknowledged": acknowledged, "merged": merged},
        result="{acknowledged:,} acknowledged writes ({merged:,} merges), none lost; `git fsck` clean, database and "
        "refs agree, no half-merged pull request",
    )  # fmt: skip


def test_the_check_sees_what_it_is_for(forge: Any) -> None:
    """Each damage it looks for, made by hand on a stopped forge."""
    repo = forge.repo()
    body = {"content": "eA==", "new_branch": "fix", "message": "m"}
    sha = forge.ok("ann", "POST", f"/repos/{repo}/contents/f.txt", body)["commit"]["sha"]
    forge.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": "fix", "base": "main", "title": "T"})
    main = objects.read_ref(forge.bare(repo), "refs/heads/main")
    forge.process.stop()

    def damaged(sql: str) -> list[str]:
        with sqlite3.connect(forge.home / "forge.db") as db:
            db.execute("SAVEPOINT s")
            db.execute(sql)
        found = agreement.findings(forge.home)
        db.close()
        return found

    assert agreement.findings(forge.home) == []
    objects.update_ref(forge.bare(repo), "refs/heads/fix", str(main))
    assert agreement.findings(forge.home) == [f"{repo}: pull request 1: its branch is at {main}, it is at {sha}"]
    objects.update_ref(forge.bare(repo), "refs/heads/fix", sha)
    for sql, said in (
        ("UPDATE pulls SET merged = 1", "it has 0 merge events and is merged"),
        ("UPDATE pulls SET merged = 0, merge_commit = 'x'", "it has a merge commit and is not merged"),
        ("UPDATE pulls SET merge_commit = NULL, head_sha = 'x'", "its ref is not at its head"),
        ("UPDATE repos SET next_number = 1", "number 1 is given out and would be given again"),
        ("UPDATE repos SET default_branch = 'gone'", "its default branch gone is missing"),
        ("UPDATE repos SET empty = 1", "it counts as empty and has branches"),
        ("DELETE FROM pulls", "half a pull request"),
        ("DELETE FROM users WHERE login = 'ann'", "names a row of users that is not there"),
    ):
        assert any(said in found for found in damaged(sql)), sql
    done = subprocess.run(
        [sys.executable, "-m", "factory.devforge", "--home", str(forge.home), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "half a pull request" in done.stdout
