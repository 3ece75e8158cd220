"""Killed at every write-ahead point, and at random moments: a change has happened entirely or not at all."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from factory.devforge import moves
from factory.devforge.moves import Change
from factory.devforge.recovery import recover
from factory.devforge.store import issues, pulls, repos, timeline, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.devforge.store.reviews import of_pull
from factory.git import objects
from factory.git.objects import ZERO, Signature

WHO = Signature("A", "a@example.test", 1_700_000_000)

SETUP = """
import os, signal, sys
from pathlib import Path
from factory.devforge import merge, moves
from factory.devforge.moves import Change
from factory.devforge.store import pulls, repos, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.git.objects import ZERO

left = int(sys.argv[2])
def countdown(name):
    module, function = name
    real = getattr(module, function)
    def counted(*args, **kwargs):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args, **kwargs)
    setattr(module, function, counted)
# Before every ref that is set or deleted, before what follows, and before every row that follows.
for point in (
    (moves, "_set"), (moves, "_settle"), (moves.timeline, "add"), (moves.repos, "touch"), (moves.objects, "update_ref"),
):
    countdown(point)
store = Store(Path(sys.argv[1]))
repo = repos.get(store, "ann", "r")
ann = users.get(store, "ann")
tips = dict(pair.split("=") for pair in sys.argv[3:])
"""

MERGE = "merge.merge_pull(store, Actor(user=ann), repo, 2, merge.Options(head=tips['fix'], delete_branch=True))"
PUSH = """moves.apply(store, repo, ann, [Change("refs/heads/fix", tips["fix"], tips["next"]),
    Change("refs/heads/new", ZERO, tips["next"])])"""
RENAME = """moves.apply(store, repo, ann, [Change("refs/heads/moved", ZERO, tips["fix"]),
    Change("refs/heads/fix", tips["fix"], ZERO)], rename=("fix", "moved"))"""


def make(home: Path) -> dict[str, str]:
    """A forge with issue 1, pull request 2 (``fix`` into ``main``, closing 1) and a further commit to push."""
    store = Store(home)
    ann = users.create(store, login="ann", email="ann@example.test")
    repo = repos.create(store, ann, name="r")
    commits = {}
    parent = None
    for name, files in (("main", {"a": b"1"}), ("fix", {"b": b"1"}), ("next", {"c": b"1"})):
        commits[name] = parent = objects.build_commit(
            repo.path, parent=parent, changes=files, message=name, author=WHO, committer=WHO
        )
    objects.create_ref(repo.path, "refs/heads/main", commits["main"])
    objects.create_ref(repo.path, "refs/heads/fix", commits["fix"])
    store.update("repos", repo.id, empty=0)
    repo = repos.by_id(store, repo.id)
    issues.create(store, Actor(user=ann), repo, title="Bug")
    pulls.create(store, Actor(user=ann), repo, head="fix", base="main", title="Fix", body="Fixes #1")
    store.close()
    return commits


def run_until_killed(home: Path, action: str, point: int, tips: dict[str, str]) -> bool:
    """Perform the action in a process that kills itself at the point; whether it got that far."""
    words = [f"{name}={sha}" for name, sha in tips.items()]
    done = subprocess.run(
        [sys.executable, "-c", SETUP + action, str(home), str(point), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def check(
    home: Path, verify: Callable[[Store, Any, dict[str, str], dict[str, str]], None], tips: dict[str, str]
) -> None:
    for _ in range(2):  # recovering twice is recovering once
        store = Store(home)
        recover(store)
        assert store.all("SELECT * FROM moves") == []
        repo = repos.get(store, "ann", "r")
        refs = objects.list_refs(repo.path)
        for row in store.all(
            "SELECT i.number, p.* FROM pulls p JOIN issues i ON i.id = p.issue_id WHERE i.state = 'open'"
        ):
            assert refs[f"refs/heads/{row['head_branch']}"] == row["head_sha"]
            assert refs[f"refs/pull/{row['number']}/head"] == row["head_sha"]
        verify(store, repo, refs, tips)
        store.close()


def verify_merge(store: Store, repo: Any, refs: dict[str, str], tips: dict[str, str]) -> None:
    pull = pulls.get(store, repo, 2)
    merges = timeline.of_issue(store, pull.issue.id, kinds=("merge_pull",))
    landed = refs["refs/heads/main"] != tips["main"]
    assert (pull.merged, len(merges), issues.get(store, repo, 1).state) == (
        landed,
        landed,
        "closed" if landed else "open",
    )
    assert pull.issue.open is not landed
    if landed:
        assert pull.merge_commit == refs["refs/heads/main"]
        assert objects.commit_info(repo.path, refs["refs/heads/main"]).parents == (tips["main"], tips["fix"])
    else:
        assert refs["refs/heads/fix"] == tips["fix"]


def verify_push(store: Store, repo: Any, refs: dict[str, str], tips: dict[str, str]) -> None:
    pull = pulls.get(store, repo, 2)
    pushes = timeline.of_issue(store, pull.issue.id, kinds=("pull_push",))
    moved = refs["refs/heads/fix"] == tips["next"]
    assert len(pushes) == 1 + moved  # the first one is the opening
    assert refs.get("refs/heads/new") in (None, tips["next"])
    if moved:
        assert json.loads(pushes[-1].body) == {"is_force_push": False, "commit_ids": [tips["next"]]}
        assert [r.stale for r in of_pull(store, pull)] == []


def verify_rename(store: Store, repo: Any, refs: dict[str, str], tips: dict[str, str]) -> None:
    pull = pulls.get(store, repo, 2)
    assert pull.issue.open
    there = {name for name in ("refs/heads/fix", "refs/heads/moved") if name in refs}
    assert there == {f"refs/heads/{pull.head_branch}"}


@pytest.mark.parametrize(
    ("action", "verify"),
    [(MERGE, verify_merge), (PUSH, verify_push), (RENAME, verify_rename)],
    ids=["merge", "push", "rename"],
)
def test_killed_at_every_point(tmp_path: Path, action: str, verify: Any) -> None:
    point = 0
    while True:
        home = tmp_path / f"h{point}"
        tips = make(home)
        killed = run_until_killed(home, action, point, tips)
        check(home, verify, tips)
        if not killed:
            break
        point += 1
    assert point >= 3  # there were points to be killed at


def test_a_pull_request_made_while_killed_leaves_nothing_half(tmp_path: Path) -> None:
    """The ref of a pull request whose row was never committed is nobody's: the next one with the number takes it."""
    tips = make(tmp_path)
    store = Store(tmp_path)
    repo = repos.get(store, "ann", "r")
    objects.update_ref(repo.path, "refs/pull/3/head", tips["main"])
    objects.create_ref(repo.path, "refs/heads/other", tips["next"])
    made = pulls.create(store, Actor(user=users.get(store, "ann")), repo, head="other", base="main", title="T")
    assert made.number == 3
    assert objects.read_ref(repo.path, "refs/pull/3/head") == tips["next"]
    store.close()


def test_killed_at_random_while_pushing_and_merging(world: Any, clone: Any) -> None:
    repo = world.repo()
    git = clone(repo)
    merged: list[int] = []
    for turn in range(5):
        git("fetch", "-q", "origin")
        git("checkout", "-q", "-B", f"fix{turn}", "origin/main")
        sha = git.commit(**{f"f{turn}": "x"})
        assassin = threading.Timer(0.02 + turn * 0.06, os.kill, (world.process.pid, signal.SIGKILL))
        assassin.start()
        acknowledged = attempt(world, git, repo, turn, sha)
        assassin.join()
        world.process.kill()
        world.restart(kill=True)
        finish(world, git, repo, turn, sha, acknowledged)
        merged.append(turn)
    found = world.ok("ann", "GET", f"/repos/{repo}/pulls", state="all", limit=50)
    assert len(found) == len(merged)
    assert all(pull["merged"] for pull in found)
    git("-C", str(world.bare(repo)), "fsck", "--strict")
    with sqlite3.connect(world.home / "forge.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list(world.bare(repo).glob("incoming-*"))


def attempt(world: Any, git: Any, repo: str, turn: int, sha: str) -> set[str]:
    """Push, open, merge until the forge is gone; what it said yes to."""
    said: set[str] = set()
    if git("push", "-q", "origin", f"fix{turn}", check=False).returncode == 0:
        said.add("push")
    try:
        body = {"head": f"fix{turn}", "base": "main", "title": f"T{turn}"}
        made = world.call("ann", "POST", f"/repos/{repo}/pulls", body)
        if made.status_code == 201:
            said.add("pull")
            path = f"/repos/{repo}/pulls/{made.json()['number']}/merge"
            if world.call("ann", "POST", path, {"Do": "merge", "head_commit_id": sha}).status_code == 200:
                said.add("merge")
    except httpx.TransportError:
        pass  # it is gone
    return said


def finish(world: Any, git: Any, repo: str, turn: int, sha: str, said: set[str]) -> None:
    """After the restart: everything acknowledged is there, nothing is half done, and it can be carried on."""
    git("remote", "set-url", "origin", world.remote(repo))
    tips = dict(line.split("\t")[::-1] for line in git("ls-remote", "origin").stdout.splitlines())
    pushed = f"refs/heads/fix{turn}" in tips
    assert pushed or "push" not in said
    found = [
        p for p in world.ok("ann", "GET", f"/repos/{repo}/pulls", state="all", limit=50) if p["title"] == f"T{turn}"
    ]
    assert len(found) <= 1
    assert found or "pull" not in said
    if not pushed:
        git("push", "-q", "origin", f"fix{turn}")
    if not found:
        found = [
            world.ok("ann", "POST", f"/repos/{repo}/pulls", {"head": f"fix{turn}", "base": "main", "title": f"T{turn}"})
        ]
    pull = found[0]
    assert pull["head"]["sha"] == sha
    assert pull["merged"] or "merge" not in said
    landed = git("-C", str(world.bare(repo)), "merge-base", "--is-ancestor", sha, "main", check=False).returncode == 0
    assert pull["merged"] == landed
    if not landed:
        path = f"/repos/{repo}/pulls/{pull['number']}/merge"
        world.ok("ann", "POST", path, {"Do": "merge", "head_commit_id": sha})
    events = world.ok("ann", "GET", f"/repos/{repo}/issues/{pull['number']}/timeline")
    assert [event["type"] for event in events].count("merge_pull") == 1


def test_two_forges_on_one_home_are_refused(world: Any) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "factory.devforge", "--home", str(world.home), "--port", "0"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 6
    assert "another forge is running" in done.stderr
    assert world.call(None, "GET", "/version").status_code == 200


def test_a_ref_lock_of_a_dead_process_is_removed(world: Any, clone: Any) -> None:
    repo = world.repo()
    git = clone(repo)
    git.commit(a="1")
    world.process.kill()
    for name in ("refs/heads/main.lock", "packed-refs.lock", "HEAD.lock"):
        (world.bare(repo) / name).touch()
    world.restart(kill=True)
    git("push", "-q", world.remote(repo), "HEAD:main")
    assert not list(world.bare(repo).rglob("*.lock"))


def test_a_folder_that_is_nobodys_is_not_taken_over(tmp_path: Path) -> None:
    """Left by a kill while a repo was deleted: its branches must not come back under a new repo of the name."""
    store = Store(tmp_path)
    ann = users.create(store, login="ann", email="ann@example.test")
    stray = store.repo_path("ann", "r")
    objects.init_bare(stray)
    old = objects.build_commit(stray, parent=None, changes={"a": b"1"}, message="m", author=WHO, committer=WHO)
    objects.create_ref(stray, "refs/heads/secret", old)
    made = repos.create(store, ann, name="r")
    assert objects.list_refs(made.path) == {}
    assert not objects.exists(made.path, old)
    store.close()


def test_an_end_that_failed_is_made_up_before_refs_move_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tips = make(tmp_path)
    store = Store(tmp_path)
    repo, ann = repos.get(store, "ann", "r"), users.get(store, "ann")
    real = moves.repos.touch

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(moves.repos, "touch", full)
    with pytest.raises(sqlite3.OperationalError):
        moves.apply(store, repo, ann, [Change("refs/heads/fix", tips["fix"], tips["next"])])
    assert pulls.get(store, repo, 2).head_sha == tips["fix"]
    monkeypatch.setattr(moves.repos, "touch", real)
    moves.apply(store, repo, ann, [Change("refs/heads/else", ZERO, tips["main"])])
    pull = pulls.get(store, repo, 2)
    assert pull.head_sha == tips["next"]
    assert len(timeline.of_issue(store, pull.issue.id, kinds=("pull_push",))) == 2
    store.close()
