"""The snapshot on a forge that speaks HTTP: its price counted by the forge, its picture compared with a full rescan."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from factory.errors import ForgeError
from factory.forge.snapshot import Snapshot
from factory.forge.values import CheckState, ItemState, RepoName, ReviewState
from factory.forge.view import ForgeView, Key, RepoView, is_open
from tests.soak_report import counts, record, seed_of_part

LABELS = ("backlog", "priority", "blocked")
FULL = 5000
PER_HISTORY = 250
SEED = 100


def facts(view: ForgeView) -> ForgeView:
    """What two observations must agree on. Not the head of a closed pull request: a forge shows the branch of that name
    as it is now, whoever made it anew, and a closed one is over."""
    return replace(
        view,
        changed=frozenset(),
        rescanned=None,
        requests=0,
        as_of=None,
        project=over(view.project),
        ops=over(view.ops),
    )


def over(view: RepoView) -> RepoView:
    pulls = (
        item if is_open(item) else replace(item, pull=replace(item.pull, head_ref="", head_sha=""))
        for item in view.pulls
    )
    return replace(view, pulls=tuple(pulls))


def rescanned(site, project: RepoName, ops: RepoName, folder: Path) -> ForgeView:
    path = folder / "fresh.json"
    path.unlink(missing_ok=True)
    return facts(Snapshot(site.client("factory"), project, ops, path).refresh())


@pytest.fixture
def pair(site) -> tuple[RepoName, RepoName]:
    rights = {"dev": "write", "rev": "write", "factory": "write"}
    return site.repo(**rights), site.repo(**rights)


def test_an_idle_look_is_three_requests_by_the_forges_own_count(embedded, tmp_path: Path) -> None:
    rights = {"factory": "write"}
    project, ops = embedded.repo(**rights), embedded.repo(**rights)
    for n in range(3):
        embedded.client("founder").create_issue(project, title=f"issue {n}", body="", labels=["backlog"])
    snap = Snapshot(embedded.client("factory"), project, ops, tmp_path / "s.json")
    snap.refresh()
    _settle(snap)
    login = embedded.login("factory")
    before = [row for row in embedded.access_log() if row["user"] == login]
    view = snap.refresh()
    after = [row for row in embedded.access_log() if row["user"] == login][len(before) :]
    assert view.requests == 3
    assert sorted(f"{row['method']} {row['path'].partition('?')[0]}" for row in after) == sorted(
        ["GET /api/v1/repos/issues/search", *(f"POST /{repo}.git/git-upload-pack" for repo in (project, ops))]
    )


def _settle(snap: Snapshot) -> None:
    """Look until every second that was read into is over; bounded."""
    until = time.monotonic() + 10
    while not (snap.settled and snap.refresh().requests == 3) and time.monotonic() < until:
        snap.refresh()
        time.sleep(0.25)


KINDS = (
    "issue", "comment", "label", "unlabel", "close", "title", "edit", "depend", "pull", "pull", "push", "base", "shut",
    "update", "ask", "review", "status", "merge", "delete",
)  # fmt: skip


def change(site, rng: random.Random, project: RepoName, ops: RepoName, kind: str) -> set[Key] | None:
    """One random change; returns the subjects only the daemon would know about, None when nothing was there for it."""
    client = site.client(rng.choice(("founder", "dev", "rev")))
    repo = rng.choice((project, project, ops))
    pulls = [p.number for p in client.pulls(repo, state="all")] if kind == "shut" else []
    numbers = [p.number for p in client.pulls(repo)]
    issues = [i.number for i in client.issues(repo, state="all")]
    if kind == "issue":
        labels = rng.sample(["backlog", "priority"], rng.randint(0, 2))
        client.create_issue(repo, title=f"t{rng.random()}", body="", labels=labels)
    elif kind == "comment" and issues + numbers:
        client.comment(repo, rng.choice(issues + numbers), "words")
    elif kind == "label" and issues:
        client.add_labels(repo, rng.choice(issues), ["blocked"])
    elif kind == "close" and issues:
        client.edit_issue(repo, rng.choice(issues), state=rng.choice(["open", "closed"]))
    elif kind == "edit" and issues:
        client.edit_issue(repo, rng.choice(issues), body=f"b{rng.random()}")
    elif kind == "depend" and len(issues) > 1:
        one, other = rng.sample(issues, 2)
        client.add_dependency(repo, one, (repo, other))
    elif kind == "pull":
        branch = f"b{rng.randint(1, 5)}"
        site.commit(repo, branch, {f"f{rng.randint(1, 3)}.txt": f"{rng.random()}\n"}, who="dev")
        client.create_pull(repo, head=branch, base="main", title="p", body="")
    elif kind == "push" and numbers:
        branch = client.pull(repo, rng.choice(numbers)).head_ref
        site.commit(repo, branch, {f"g{rng.randint(1, 3)}.txt": f"{rng.random()}\n"}, who="dev")
    elif kind == "base":
        site.commit(repo, "main", {f"f{rng.randint(1, 3)}.txt": f"{rng.random()}\n"}, who="dev")
    elif kind == "review" and numbers:
        number = rng.choice(numbers)
        state = rng.choice([ReviewState.APPROVED, ReviewState.REQUEST_CHANGES, ReviewState.COMMENT])
        client.review(repo, number, state=state, body="w", commit=client.pull(repo, number).head_sha)
    elif kind == "status" and numbers:
        number = rng.choice(numbers)
        sha = client.pull(repo, number).head_sha
        client.post_status(repo, sha, context="ci", state=CheckState.SUCCESS, description="")
        return {(repo, n) for n in numbers if client.pull(repo, n).head_sha == sha}
    elif kind == "merge" and numbers:
        number = rng.choice(numbers)
        client.merge(repo, number, head=client.pull(repo, number).head_sha, title="m", message="")
    elif kind == "title" and issues + numbers:
        client.edit_issue(repo, rng.choice(issues + numbers), title=f"t{rng.random()}")
    elif kind == "unlabel" and issues:
        client.remove_label(repo, rng.choice(issues), rng.choice(LABELS))
    elif kind == "shut" and pulls:
        client.edit_pull(repo, rng.choice(pulls), state=rng.choice(["open", "closed"]))
    elif kind == "update" and numbers:
        client.update_pull(repo, rng.choice(numbers))
    elif kind == "ask" and numbers:
        client.request_review(repo, rng.choice(numbers), [site.login("rev")])
    elif kind == "delete":
        client.delete_branch(repo, f"b{rng.randint(1, 5)}")
    else:
        return None
    return set()


@pytest.mark.parametrize("changes", counts(100, FULL))
def test_after_any_changes_it_equals_a_full_rescan(site, tmp_path: Path, changes: int) -> None:
    """Nothing tells it what happened: no webhook exists. Histories of their own repos, compared with a rescan at the
    end of each; in between it looks after some changes, is restarted, or misses many."""
    rights = {"dev": "write", "rev": "write", "factory": "write"}
    done = compared = 0
    kinds: Counter[str] = Counter()
    while done < changes:
        rng = random.Random(seed_of_part(SEED) + compared)
        project, ops = site.repo(**rights), site.repo(**rights)
        done += history(site, rng, project, ops, tmp_path, min(PER_HISTORY, changes - done), kinds)
        compared += 1
    assert len(kinds) >= len(set(KINDS)) - 2
    record(
        "random changes with every webhook lost, snapshot against a full rescan", done=done, full=FULL, seed=SEED,
        more=f"{site.name} forge",
        tally={"compared": compared, "effects": sum(kinds.values()), "merges": kinds["merge"]},
        result="equal after each of {compared} histories, without a rescan of its own; {effects:,} took effect "
        "({merges:,} merges), the others were refused",
    )  # fmt: skip


def history(
    site, rng: random.Random, project: RepoName, ops: RepoName, folder: Path, count: int, kinds: Counter[str]
) -> int:
    state = folder / f"{project.name}.json"
    snap = Snapshot(site.client("factory"), project, ops, state)
    snap.refresh()
    touched: set[Key] = set()
    done = 0
    while done < count:
        for _ in range(min(rng.choice((1, 1, 2, 3, 12)), count - done)):
            done += 1
            kind = rng.choice(KINDS)
            try:
                found = change(site, rng, project, ops, kind)
            except ForgeError:
                continue  # refused: nothing changed
            if found is not None:
                kinds[kind] += 1
                touched |= found
        if rng.random() < 0.6:
            assert snap.refresh(touched).rescanned is None
            touched = set()
        if rng.random() < 0.15:
            snap = Snapshot(site.client("factory"), project, ops, state)
    assert snap.refresh(touched).rescanned is None
    _settle(snap)
    view = snap.refresh()
    assert view.rescanned is None
    assert facts(view) == rescanned(site, project, ops, folder)
    return done


def test_what_a_merge_does_is_seen_in_one_look(site, pair: tuple[RepoName, RepoName], tmp_path: Path) -> None:
    project, ops = pair
    client = site.client("founder")
    client.create_issue(project, title="first", body="")
    client.create_issue(project, title="second", body="", labels=["backlog"])
    client.add_dependency(project, 2, (project, 1))
    number, sha = site.pull(project, "fix/1", {"a.txt": "1\n"})
    other, _ = site.pull(project, "fix/2", {"a.txt": "2\n"})
    site.client("dev").edit_pull(project, number, body="Fixes #1")
    snap = Snapshot(site.client("factory"), project, ops, tmp_path / "s.json")
    snap.refresh()
    commit = site.client("dev").merge(project, number, head=sha, title="t", message="m")
    view = snap.refresh()
    pulls = {p.pull.number: p.pull for p in view.project.pulls}
    issues = {i.issue.number: i for i in view.project.issues}
    assert view.rescanned is None
    assert view.project.tip == commit
    assert pulls[number].merged
    assert pulls[number].merge_commit == commit
    assert pulls[other].base_sha == commit
    assert not pulls[other].mergeable
    assert issues[1].issue.state is ItemState.CLOSED
    assert issues[2].dependencies[0].state is ItemState.CLOSED
