"""The incremental snapshot equals a full rescan, at the promised price."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factory.errors import ForgeError, ForgeRefused, ForgeUnavailable
from factory.forge import snapshot_file
from factory.forge.searches import Searches
from factory.forge.snapshot import Snapshot
from factory.forge.values import CheckState, ItemState, RepoName, ReviewState
from factory.forge.view import ForgeView, IssueView, Key
from factory.testing.fake_forge import FakeForge

PROJECT = RepoName("founder", "tally")
OPS = RepoName("founder", "tally-ops")
LABELS = ("backlog", "priority", "blocked")
PEOPLE = ("founder", "dev-bot", "review-bot")


def world() -> FakeForge:
    forge = FakeForge("founder")
    for name in (PROJECT, OPS):
        forge.add_repo(
            name, permissions={"dev-bot": "write", "review-bot": "write", "factory-bot": "write"}, labels=LABELS
        )
    return forge


def snapshot(forge: FakeForge, folder: Path, *, login: str = "factory-bot") -> tuple[Snapshot, FakeForge]:
    account = forge.as_user(login)
    return Snapshot(account, PROJECT, OPS, folder / "snapshot.json"), account


def sharing(account: FakeForge, searches: Searches, folder: Path, name: str = "shared") -> Snapshot:
    """A second picture of the same owner's repos, of one host: it asks through ``searches``."""
    return Snapshot(account, PROJECT, OPS, folder / f"{name}.json", searches=searches)


def facts(view: ForgeView) -> ForgeView:
    """What two observations must agree on."""
    return replace(view, changed=frozenset(), rescanned=None, requests=0, as_of=None)


def fresh(forge: FakeForge, folder: Path) -> ForgeView:
    path = folder / "fresh.json"
    path.unlink(missing_ok=True)
    return facts(Snapshot(forge.as_user("factory-bot"), PROJECT, OPS, path).refresh())


def issue_of(view: ForgeView, number: int) -> IssueView:
    return next(item for item in view.project.issues if item.issue.number == number)


def test_an_idle_tick_costs_three_requests_however_much_is_open(tmp_path: Path) -> None:
    forge = world()
    for n in range(30):
        forge.create_issue(PROJECT, title=f"issue {n}", body="", labels=["backlog"])
    snap, account = snapshot(forge, tmp_path)
    forge.advance(5)
    first = snap.refresh()
    assert first.rescanned == "there was no snapshot"
    assert len(first.project.issues) == 30
    for _ in range(5):
        forge.advance(30)
        before = account.requests
        view = snap.refresh()
        assert account.requests - before == 3 == view.requests
        assert view.changed == frozenset()
        assert facts(view) == facts(first)


def test_projects_of_one_owner_share_its_search(tmp_path: Path) -> None:
    """Two requests per project and one per owner; and each sees the other's owner only once per turn."""
    forge = world()
    others = RepoName("founder", "abacus"), RepoName("founder", "abacus-ops")
    for name in others:
        forge.add_repo(name, permissions={"factory-bot": "write"}, labels=LABELS)
    account, searches = forge.as_user("factory-bot"), Searches()
    both = (
        Snapshot(account, PROJECT, OPS, tmp_path / "1.json", searches=searches),
        Snapshot(account, *others, tmp_path / "2.json", searches=searches),
    )

    def turn() -> list[tuple[int, frozenset[Key]]]:
        searches.begin()
        return [(view.requests, view.changed) for view in (snap.refresh() for snap in both)]

    forge.advance(5)
    turn()
    for _ in range(3):
        forge.advance(100)
        assert turn() == [(3, frozenset()), (2, frozenset())]
    assert turn() == [(3, frozenset()), (2, frozenset())], "a turn in the same second of the forge's clock"
    forge.create_issue(others[0], title="a", body="")
    forge.create_issue(PROJECT, title="b", body="")
    forge.advance(5)
    assert [changed for _, changed in turn()] == [{(PROJECT, 1)}, {(others[0], 1)}]
    forge.advance(100)
    assert turn() == [(3, frozenset()), (2, frozenset())]


def one_looked(folder: Path) -> tuple[FakeForge, Searches, Snapshot, Snapshot]:
    """Two that share their searches and know all; in a new turn the first has looked already."""
    forge = world()
    account, searches = forge.as_user("factory-bot"), Searches()
    one, other = (sharing(account, searches, folder, name) for name in ("1", "2"))
    for snap in (one, other):
        searches.begin()
        snap.refresh()
    forge.advance(100)
    searches.begin()
    one.refresh()
    return forge, searches, one, other


def test_a_search_is_shared_within_a_turn_only(tmp_path: Path) -> None:
    forge, searches, one, other = one_looked(tmp_path)
    forge.create_issue(PROJECT, title="a", body="")
    forge.advance(5)
    assert other.refresh().changed == frozenset(), "what this turn knows is from its beginning"
    searches.begin()
    assert [snap.refresh().changed for snap in (one, other)] == [{(PROJECT, 1)}] * 2


def test_who_looks_again_in_one_turn_is_not_told_what_was_said_before_its_last_look(tmp_path: Path) -> None:
    """What it has read since must not be unseen."""
    forge, _, one, other = one_looked(tmp_path)
    other.refresh()
    forge.create_issue(PROJECT, title="a", body="")
    assert other.refresh().changed == {(PROJECT, 1)}
    assert one.refresh().changed == {(PROJECT, 1)}, "an answer given after its own last look"
    assert one.refresh([(PROJECT, 1)]).project.issues == other.refresh().project.issues


def test_sixty_changes_in_one_second_do_not_make_later_ticks_dearer(tmp_path: Path) -> None:
    forge = world()
    for n in range(120):
        forge.create_issue(PROJECT, title=f"issue {n}", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(5)
    snap.refresh()
    forge.advance(90)
    snap.refresh()
    forge.advance(30)
    assert snap.refresh().requests == 3


def test_a_changed_issue_costs_only_its_own_reads(tmp_path: Path) -> None:
    forge = world()
    for n in range(10):
        forge.create_issue(PROJECT, title=f"issue {n}", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(5)
    snap.refresh()
    forge.advance(30)
    forge.add_labels(PROJECT, 4, ["backlog"])
    forge.advance(5)
    view = snap.refresh()
    assert view.changed == {(PROJECT, 4)}
    assert view.requests == 3 + 1  # its timeline
    assert issue_of(view, 4).issue.labels == {"backlog"}
    assert [event.author.login for event in issue_of(view, 4).timeline if event.kind == "label"] == ["founder"]


def test_a_second_change_in_the_same_second_is_seen(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(5)
    snap.refresh()
    forge.advance(30)
    forge.add_labels(PROJECT, 1, ["backlog"])
    assert issue_of(snap.refresh(), 1).issue.labels == {"backlog"}
    forge.add_labels(PROJECT, 1, ["priority"])  # same second: updated_at does not tell, the label does
    assert issue_of(snap.refresh(), 1).issue.labels == {"backlog", "priority"}
    sha = opened_pull(forge)
    snap.refresh()
    number = forge.review(PROJECT, 2, state=ReviewState.APPROVED, body="", commit=sha).id  # nothing tells of this
    assert snap.refresh().project.pulls[0].reviews == ()
    assert not snap.settled
    forge.advance(30)
    assert [review.id for review in snap.refresh().project.pulls[0].reviews] == [number]
    assert snap.settled
    forge.advance(30)
    assert snap.refresh().requests == 3


def test_closing_a_dependency_shows_on_the_issue_that_waits(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="first", body="")
    forge.create_issue(PROJECT, title="second", body="")
    forge.add_dependency(PROJECT, 2, (PROJECT, 1))
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(30)
    assert issue_of(snap.refresh(), 2).dependencies[0].state is ItemState.OPEN
    waits_since = forge.issue(PROJECT, 2).updated_at
    forge.advance(30)
    forge.edit_issue(PROJECT, 1, state="closed")
    forge.advance(5)
    view = snap.refresh()
    assert forge.issue(PROJECT, 2).updated_at == waits_since  # nothing on it moved
    assert issue_of(view, 2).dependencies[0].state is ItemState.CLOSED
    assert view.changed == {(PROJECT, 1), (PROJECT, 2)}


def test_a_dependency_in_another_repo_of_the_owner_is_seen_too(tmp_path: Path) -> None:
    forge = world()
    other = RepoName("founder", "library")
    forge.add_repo(other, permissions={"factory-bot": "read"})
    forge.create_issue(other, title="elsewhere", body="")
    forge.create_issue(PROJECT, title="here", body="")
    forge.add_dependency(PROJECT, 1, (other, 1))
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(30)
    snap.refresh()
    forge.advance(30)
    forge.edit_issue(other, 1, state="closed")
    forge.advance(5)
    assert issue_of(snap.refresh(), 1).dependencies[0].state is ItemState.CLOSED


def opened_pull(forge: FakeForge, number: int = 1) -> str:
    sha = forge.as_user("dev-bot").commit(PROJECT, f"fix/{number}", {f"f{number}.py": "x = 1\n"})
    forge.as_user("dev-bot").create_pull(PROJECT, head=f"fix/{number}", base="main", title=f"fix {number}", body="")
    return sha


def test_statuses_move_nothing_so_they_are_read_when_touched_or_awaited(tmp_path: Path) -> None:
    forge = world()
    sha = opened_pull(forge)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(30)
    snap.refresh()
    forge.advance(30)
    forge.as_user("dev-bot").post_status(PROJECT, sha, context="factory/ci", state=CheckState.SUCCESS, description="")
    assert snap.refresh().project.pulls[0].statuses == ()
    assert [s.context for s in snap.refresh([(PROJECT, 1)]).project.pulls[0].statuses] == ["factory/ci"]
    tip = forge.world.repos[PROJECT].branch("main")
    assert tip is not None
    forge.post_status(PROJECT, tip, context="woodpecker", state=CheckState.SUCCESS, description="")
    forge.advance(30)
    waiting = snap.refresh(contexts=["woodpecker"])
    assert waiting.requests == 3 + 2  # the tip and the one head that still waits
    assert [s.context for s in waiting.project.tip_statuses] == ["woodpecker"]
    forge.post_status(PROJECT, sha, context="woodpecker", state=CheckState.FAILURE, description="")
    snap.refresh(contexts=["woodpecker"])
    forge.advance(30)
    assert snap.refresh(contexts=["woodpecker"]).requests == 3


def test_a_moved_base_shows_on_every_open_pull_for_one_request(tmp_path: Path) -> None:
    forge = world()
    for n in range(1, 7):
        opened_pull(forge, n)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.advance(60)
    tip = forge.commit(PROJECT, "main", {"f3.py": "y = 2\n"})
    view = snap.refresh()
    assert {pull.pull.base_sha for pull in view.project.pulls} == {tip}
    assert [pull.pull.number for pull in view.project.pulls if not pull.pull.mergeable] == [3]
    assert view.requests == 3 + 1 + 1  # one list of pull requests, the tip's statuses
    forge.advance(60)
    assert snap.refresh().requests == 3 + 1  # once more, because mergeability comes late
    forge.advance(60)
    assert snap.refresh().requests == 3


def test_a_push_to_a_head_is_seen(tmp_path: Path) -> None:
    forge = world()
    opened_pull(forge)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.advance(60)
    sha = forge.as_user("dev-bot").commit(PROJECT, "fix/1", {"more.py": "z\n"})
    forge.advance(5)
    view = snap.refresh()
    assert view.project.pulls[0].pull.head_sha == sha
    assert [file.path for file in view.project.pulls[0].files] == ["f1.py", "more.py"]


def test_ops_pulls_and_refs_are_part_of_the_picture(tmp_path: Path) -> None:
    forge = world()
    bot = forge.as_user("factory-bot")
    sha = bot.commit(OPS, "edit/config", {"factory.toml": "mode = 'merge'\n"})
    bot.create_pull(OPS, head="edit/config", base="main", title="Merge", body="")
    forge.set_ref(OPS, "refs/factory/leases/x", sha)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.review(OPS, 1, state=ReviewState.APPROVED, body="", commit=sha)
    forge.advance(5)
    view = snap.refresh()
    assert view.ops.refs["refs/factory/leases/x"] == sha
    assert view.ops.pulls[0].reviews[0].author.login == "founder"
    bot.merge(OPS, 1, head=sha, title="t", message="m")
    forge.advance(5)
    merged = snap.refresh().ops.pulls[0]
    assert merged.pull.merged
    assert merged.reviews[0].commit == sha


def test_closed_subjects_leave_the_view_after_keep_days(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    forge.edit_issue(PROJECT, 1, state="closed")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(5)
    assert [item.issue.number for item in snap.refresh().project.issues] == [1]
    forge.advance(8 * 86400)
    assert snap.refresh().project.issues == ()


def test_it_survives_a_restart_without_reading_everything_again(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="", labels=["backlog"])
    opened_pull(forge)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    first = snap.refresh()
    forge.advance(600)
    forge.comment(PROJECT, 1, "while it was down")
    forge.advance(5)
    again, account = snapshot(forge, tmp_path)
    view = again.refresh()
    assert view.rescanned is None
    assert view.changed == {(PROJECT, 1)}
    assert account.requests == view.requests == 3 + 2
    assert facts(view) == fresh(forge, tmp_path) != facts(first)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b'{"schema": 1}', b"\xff\xfe"])
def test_an_unreadable_file_means_a_full_rescan(tmp_path: Path, content: bytes) -> None:
    forge = world()
    (tmp_path / "snapshot.json").write_bytes(content)
    snap, _ = snapshot(forge, tmp_path)
    assert snap.refresh().rescanned == "the kept snapshot is unreadable"


def test_the_file_of_another_forge_or_schema_is_not_used(tmp_path: Path) -> None:
    forge = world()
    snap, _ = snapshot(forge, tmp_path)
    snap.refresh()
    path = tmp_path / "snapshot.json"
    where = {"project": PROJECT, "ops": OPS}
    assert snapshot_file.load(path, url=forge.url, **where)[0] is not None
    assert snapshot_file.load(path, url="http://other", **where)[0] is None
    path.write_bytes(path.read_bytes().replace(b'"schema":1', b'"schema":99'))
    assert snapshot_file.load(path, url=forge.url, **where) == (None, "the kept snapshot has schema 99")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_restored_forge_is_noticed(tmp_path: Path) -> None:
    forge = world()
    for title in "ab":
        forge.create_issue(PROJECT, title=title, body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.advance(60)
    forge.create_issue(PROJECT, title="c", body="")
    forge.advance(5)
    assert len(snap.refresh().project.issues) == 3
    forge.advance(60)
    del forge.world.repos[PROJECT].items[3]  # the backup was older
    view = snap.refresh()
    assert view.rescanned is not None
    assert [item.issue.number for item in view.project.issues] == [1, 2]


def test_a_restored_forge_is_noticed_even_after_new_work_on_it(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    forge.create_issue(PROJECT, title="b", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.add_labels(PROJECT, 2, ["backlog"])
    forge.advance(5)
    snap.refresh()
    item = forge.world.repos[PROJECT].items[2]
    item.labels.clear()  # back to before the label
    item.timeline.clear()
    item.updated_at = item.created_at
    forge.comment(PROJECT, 1, "newer than everything")
    forge.advance(5)
    view = snap.refresh()
    assert view.rescanned is not None
    assert issue_of(view, 2).issue.labels == frozenset()


def test_a_clock_that_jumps_back_loses_nothing(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.advance(-3600)
    forge.add_labels(PROJECT, 1, ["backlog"])
    assert issue_of(snap.refresh(), 1).issue.labels == {"backlog"}
    for _ in range(3):
        forge.advance(20)
        forge.comment(PROJECT, 1, "more")
        assert facts(snap.refresh()) == fresh(forge, tmp_path)


def test_a_clock_that_was_ahead_for_a_while_loses_nothing(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    forge.advance(86400)
    forge.create_issue(PROJECT, title="from the future", body="")
    snap, _ = snapshot(forge, tmp_path)
    snap.refresh()
    forge.advance(-86400 + 30)
    snap.refresh()
    forge.advance(30)
    forge.add_labels(PROJECT, 1, ["backlog"])
    forge.advance(30)
    assert issue_of(snap.refresh(), 1).issue.labels == {"backlog"}


def test_an_error_half_way_leaves_the_picture_whole(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    forge.create_issue(PROJECT, title="b", body="")
    snap, account = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.advance(60)
    forge.comment(PROJECT, 1, "x")
    forge.comment(PROJECT, 2, "y")
    forge.advance(5)
    calls = iter(range(100))
    real = account.timeline

    def broken(repo: RepoName, number: int) -> object:
        if next(calls) == 1:
            raise ForgeUnavailable("reading: no answer")
        return real(repo, number)

    account.timeline = broken  # type: ignore[method-assign,assignment]
    with pytest.raises(ForgeError):
        snap.refresh()
    view = snap.refresh()
    assert view.changed == {(PROJECT, 1), (PROJECT, 2)}
    assert facts(view) == fresh(forge, tmp_path)


def test_a_renamed_repo_stops_it(tmp_path: Path) -> None:
    forge = world()
    snap, account = snapshot(forge, tmp_path)
    real = account.repo
    account.repo = lambda repo: replace(real(repo), name=RepoName("founder", "other"))  # type: ignore[method-assign]
    with pytest.raises(ForgeRefused, match="is called founder/other now"):
        snap.refresh()


def test_a_deleted_issue_leaves_the_view(tmp_path: Path) -> None:
    forge = world()
    forge.create_issue(PROJECT, title="a", body="")
    forge.create_issue(PROJECT, title="b", body="")
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    del forge.world.repos[PROJECT].items[1]
    assert [item.issue.number for item in snap.refresh([(PROJECT, 1)]).project.issues] == [2]


# the property


def change(forge: FakeForge, rng: random.Random) -> set[Key]:
    """One random change by anybody; returns the subjects only the daemon would know about (statuses)."""
    account = forge.as_user(rng.choice(PEOPLE))
    repo = rng.choice((PROJECT, PROJECT, PROJECT, OPS))
    kept = forge.world.repos[repo]
    issues = [n for n, item in kept.items.items() if item.head is None]
    pulls = [n for n, item in kept.items.items() if item.head is not None and item.state is ItemState.OPEN]
    kind = rng.choice(
        ["issue", "issue", "comment", "label", "unlabel", "close", "reopen", "depend", "edit", "pull", "pull", "push",
         "base", "review", "status", "tip-status", "merge", "ref", "update", "drop"]
    )  # fmt: skip
    touched: set[Key] = set()
    if kind == "issue":
        account.create_issue(repo, title=f"t{rng.random()}", body="b", labels=rng.sample(LABELS, rng.randint(0, 2)))
    elif kind == "comment" and kept.items:
        account.comment(repo, rng.choice(list(kept.items)), f"c{rng.random()}")
    elif kind == "label" and kept.items:
        account.add_labels(repo, rng.choice(list(kept.items)), [rng.choice(LABELS)])
    elif kind == "unlabel" and kept.items:
        account.remove_label(repo, rng.choice(list(kept.items)), rng.choice(LABELS))
    elif kind in ("close", "reopen") and issues:
        account.edit_issue(repo, rng.choice(issues), state="closed" if kind == "close" else "open")
    elif kind == "edit" and issues:
        account.edit_issue(repo, rng.choice(issues), title=f"n{rng.random()}", body=f"n{rng.random()}")
    elif kind == "depend" and len(issues) > 1:
        one, other = rng.sample(issues, 2)
        account.add_dependency(repo, one, (repo, other))
    elif kind == "pull":
        branch = f"b{rng.randint(1, 6)}"
        account.commit(repo, branch, {f"f{rng.randint(1, 4)}.txt": f"{rng.random()}\n"})
        account.create_pull(repo, head=branch, base="main", title=f"p{rng.random()}", body="")
    elif kind == "push" and pulls:
        account.commit(
            repo, kept.items[rng.choice(pulls)].head or "", {f"f{rng.randint(1, 4)}.txt": f"{rng.random()}\n"}
        )
    elif kind == "base":
        account.commit(repo, "main", {f"f{rng.randint(1, 4)}.txt": f"{rng.random()}\n"})
    elif kind == "review" and pulls:
        number = rng.choice(pulls)
        state = rng.choice([ReviewState.APPROVED, ReviewState.REQUEST_CHANGES, ReviewState.COMMENT])
        account.review(repo, number, state=state, body="words", commit=account.pull(repo, number).head_sha)
    elif kind == "status" and pulls:
        number = rng.choice(pulls)
        sha = account.pull(repo, number).head_sha
        account.post_status(repo, sha, context="ci", state=rng.choice(list(CheckState)), description="")
        touched = {(repo, n) for n in pulls if account.pull(repo, n).head_sha == sha}
    elif kind == "tip-status":
        tip = forge.world.repos[PROJECT].branch("main") or ""
        account.post_status(PROJECT, tip, context="ci", state=rng.choice(list(CheckState)), description="")
        touched = {(PROJECT, 0)}
    elif kind == "merge" and pulls:
        number = rng.choice(pulls)
        account.merge(repo, number, head=account.pull(repo, number).head_sha, title="m", message="")
    elif kind == "update" and pulls:
        account.update_pull(repo, rng.choice(pulls))
    elif kind == "drop" and pulls:
        account.delete_branch(repo, kept.items[rng.choice(pulls)].head or "")
    elif kind == "ref":
        forge.set_ref(repo, f"refs/factory/wip/{rng.randint(1, 5)}", kept.branch("main"))
    return touched


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 60))
def test_after_any_changes_with_every_webhook_lost_it_equals_a_full_rescan(
    tmp_path: Path, seed: int, steps: int
) -> None:
    """Also of the second one to look in a turn, which is shown the first one's search."""
    rng = random.Random(seed)
    forge = world()
    for file in tmp_path.glob("*.json"):
        file.unlink()
    account, searches = forge.as_user("factory-bot"), Searches()
    snaps = [sharing(account, searches, tmp_path, name) for name in ("one", "two")]
    touched: list[set[Key]] = [set(), set()]
    rescans = 0
    for _ in range(steps):
        if rng.random() < 0.5:
            searches.begin()
        for _ in range(rng.randint(1, 4)):
            try:
                told = change(forge, rng)
            except ForgeError:
                told = set()  # the forge said no: nothing changed
            for known in touched:
                known |= told
            forge.advance(rng.choice([0, 0, 0.3, 1, 7, 40, 100]))
        for at in range(2):
            if rng.random() < 0.5:
                rescans += snaps[at].refresh(touched[at]).rescanned is not None
                touched[at] = set()
            if rng.random() < 0.1:
                snaps[at] = sharing(account, searches, tmp_path, ("one", "two")[at])  # a restart
    # What shares a second with the last look is settled by the next ones.
    searches.begin()
    rescans += sum(snap.refresh(known).rescanned is not None for snap, known in zip(snaps, touched, strict=True))
    assert rescans == 2  # the first looks; the rest was incremental
    for requests in ([None, None], [None, None], [3, 2]):
        forge.advance(30)
        searches.begin()
        views = [snap.refresh() for snap in snaps]
        assert [facts(view) for view in views] == [fresh(forge, tmp_path)] * 2
        assert [view.requests for view in views] == requests or requests == [None, None]


def test_the_property_can_fail(tmp_path: Path) -> None:
    """Without the extra read of a hot subject, the second change of a second is lost."""
    forge = world()
    sha = opened_pull(forge)
    snap, _ = snapshot(forge, tmp_path)
    forge.advance(60)
    snap.refresh()
    forge.add_labels(PROJECT, 1, ["backlog"])
    snap.refresh()
    forge.review(PROJECT, 1, state=ReviewState.APPROVED, body="", commit=sha)  # in the same second
    assert snap._state is not None
    snap._state.hot.clear()
    forge.advance(30)
    assert facts(snap.refresh()) != fresh(forge, tmp_path)
