"""Whole lives on the stage: from filed issues to merged pull requests, also when it is killed anywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from factory.config.model import Mode
from factory.forge.values import ItemState, ReviewState
from factory.plan.model import Pause
from factory.runs.model import Cause, RunState
from factory.runs.spec import SessionResult, SessionSpec
from factory.testing import builders, stage
from factory.testing.fake_world import FakeRepo
from factory.testing.played import play
from factory.testing.stage import Outside, Stage

PROJECT = builders.PROJECT


def prepared(folder: Path, issues: int = 3) -> Outside:
    outside = stage.outside(folder, config=builders.config(dev_slots=2))
    founder = outside.forge.as_user("founder")
    for title in ("Add the median", "Accept commas", "Print a summary")[:issues]:
        founder.create_issue(PROJECT, title=title, body="Please.")
    if issues == 3:
        founder.add_dependency(PROJECT, 3, (PROJECT, 1))
    for number in range(1, issues + 1):
        founder.add_labels(PROJECT, number, ["backlog"])
    return outside


def kept(outside: Outside) -> FakeRepo:
    return outside.forge.world.repos[PROJECT]


def finished(count: int) -> Callable[[Outside], bool]:
    def done(outside: Outside) -> bool:
        items = kept(outside).items
        return all(items[n].state is ItemState.CLOSED for n in range(1, count + 1))

    return done


def settle_down(theatre: Stage) -> None:
    for _ in range(30):
        if not theatre.tick().effects and not theatre.spool.entries():
            return
    raise AssertionError("it never comes to rest")


def assert_clean(outside: Outside, issues: int) -> None:
    """The end state: everything merged once, nothing twice, nothing left over."""
    repo = kept(outside)
    pulls = [item for item in repo.items.values() if item.head is not None]
    assert all(pull.merged for pull in pulls)
    assert sorted(pull.head for pull in pulls) == sorted(f"fix/issue-{n}" for n in range(1, issues + 1))
    assert len(repo.items) == 2 * issues
    for item in repo.items.values():
        assert not [body for body, n in Counter(c.body for c in item.comments).items() if n > 1]
        assert len([c for c in item.comments if c.body.startswith("**Status:**")]) <= 1
        assert not [key for key, n in Counter((r.author.login, r.commit) for r in item.reviews).items() if n > 1]
    merges = [c for c in outside.forge.world.git.commits.values() if len(c.parents) == 2]
    assert len(merges) == issues
    assert [ref for ref in repo.refs if ref.startswith("refs/heads/")] == ["refs/heads/main"]
    assert not outside.leases
    assert all(record.state.is_terminal for record in outside.journal.values())


def test_three_issues_become_merged_pull_requests(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool")
    theatre = Stage(outside, play)
    theatre.until(finished(3))
    settle_down(theatre)
    assert_clean(outside, 3)
    formulas = Counter(r.formula for r in outside.journal.values() if r.formula != "ci")
    assert formulas == {"dev": 3, "fix-ci": 1, "address-review": 1, "review-pr": 4}
    assert {r.state for r in outside.journal.values()} == {RunState.SUCCEEDED}
    assert theatre.plans[-1].skips == ()


def test_merge_commits_say_where_they_came_from(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    theatre = Stage(outside, play)
    theatre.until(finished(1))
    main = kept(outside).branch("main")
    assert main is not None
    message = outside.forge.world.git.commits[main].message
    mended = next(r for r in outside.journal.values() if r.formula == "fix-ci")
    assert f"Factory-Run: {mended.run}" in message
    assert "Factory-Formula: fix-ci@1" in message
    assert "Factory-Cost: $0.1000 (scripted)" in message


def test_the_dependent_issue_waits_for_its_dependency(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool")
    theatre = Stage(outside, play)
    theatre.until(finished(3))
    order = [line for line in outside.started if line.startswith("dev")]
    assert order[2] == "dev issue/3 round 1"
    merged = kept(outside).items[1].closed_at
    began = next(r.started_at for r in outside.journal.values() if r.formula == "dev" and r.issue == 3)
    assert merged is not None
    assert began >= merged


def test_agent_text_cannot_close_mention_or_hide(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    theatre = Stage(outside, play)
    theatre.until(finished(1))
    body = next(i.body for i in kept(outside).items.values() if i.head is not None)
    assert "Closes #99" not in body
    assert "@founder" not in body
    assert "hidden" not in body
    assert "Fixes #1" in body


class Killed(BaseException):
    """kill -9."""


def kills(at: int) -> Callable[[str], None]:
    """A hook that kills at its call number ``at``."""
    count = 0

    def hook(point: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed(point)

    return hook


def live_through(outside: Outside, hooks: list[Callable[[str], None]], issues: int) -> int:
    """Tick to the end, a new daemon after each kill; returns how often it was killed."""
    deaths = 0
    waiting = list(hooks)
    theatre = Stage(outside, play, waiting.pop(0)) if waiting else Stage(outside, play)
    for _ in range(200):
        try:
            if finished(issues)(outside):
                settle_down(theatre)
                return deaths
            theatre.tick()
        except Killed:
            deaths += 1
            theatre = Stage(outside, play, waiting.pop(0)) if waiting else Stage(outside, play)
            assert theatre.problems == ()
    raise AssertionError(f"not finished: {theatre.plans[-1].skips}")


def points(tmp_path: Path) -> int:
    """How many write-ahead points the whole life of one issue passes."""
    count = 0

    def hook(point: str) -> None:
        nonlocal count
        count += 1

    outside = prepared(tmp_path / "count", 1)
    theatre = Stage(outside, play, hook)
    theatre.until(finished(1))
    settle_down(theatre)
    return count


@pytest.mark.parametrize("part", range(4))
def test_killed_at_every_write_ahead_point(tmp_path: Path, part: int) -> None:
    total = points(tmp_path)
    assert total > 60
    for at in range(1 + part, total + 1, 4):
        outside = prepared(tmp_path / f"at-{at}", 1)
        deaths = live_through(outside, [kills(at)], 1)
        assert deaths == 1, at
        assert_clean(outside, 1)


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    outside = prepared(tmp_path / "spool", 3)
    deaths = live_through(outside, [kills(chance.randint(1, 40)) for _ in range(20)], 3)
    assert deaths >= 5
    assert_clean(outside, 3)


def test_a_lost_session_is_started_again_in_its_round(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    lost: list[str] = []

    def dies_once(o: Outside, spec: SessionSpec) -> SessionResult | None:
        if spec.formula == "dev" and not lost:
            lost.append(spec.run)
            o.dead.add(spec.run)
            return None
        return play(o, spec)

    theatre = Stage(outside, dies_once)
    theatre.until(finished(1))
    settle_down(theatre)
    assert_clean(outside, 1)
    assert outside.journal[lost[0]].state is RunState.LOST
    assert [line for line in outside.started if line.startswith("dev")] == ["dev issue/1 round 1"] * 2
    assert [r.epoch for r in outside.journal.values() if r.formula == "dev"] == [1, 2]


def test_suggest_opens_and_reviews_and_leaves_the_merge_to_a_person(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    outside.config = replace(outside.config, mode=Mode.SUGGEST)
    theatre = Stage(outside, play)
    for _ in range(30):
        theatre.tick()
    (pull,) = [i for i in kept(outside).items.values() if i.head is not None]
    assert not pull.merged
    assert pull.reviews[-1].state is ReviewState.APPROVED
    assert [s.rule for s in theatre.plans[-1].skips if s.subject.kind == "pull"] == ["mode"]
    assert theatre.plans[-1].effects == ()
    outside.config = replace(outside.config, mode=Mode.MERGE)
    theatre.until(finished(1))


def test_a_pause_stops_everything_and_its_end_lets_it_go_on(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    theatre = Stage(outside, play)
    for _ in range(3):
        theatre.tick()
    outside.pauses = (Pause("all", "founder", outside.now),)
    writes = len(outside.journal)
    items = {n: (i.updated_at, len(i.comments)) for n, i in kept(outside).items.items()}
    for _ in range(10):
        theatre.tick(60)
    assert len(outside.journal) == writes
    assert {n: (i.updated_at, len(i.comments)) for n, i in kept(outside).items.items()} == items
    outside.pauses = ()
    theatre.until(finished(1))
    assert_clean(outside, 1)


def test_observe_writes_nothing(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 3)
    outside.config = replace(outside.config, mode=Mode.OBSERVE)
    theatre = Stage(outside, play)
    for _ in range(5):
        assert theatre.tick().effects == ()
    assert outside.journal == {}
    assert all(not item.comments for item in kept(outside).items.values())


def test_an_outsider_who_edits_after_the_label_starts_nothing(tmp_path: Path) -> None:
    outside = stage.outside(tmp_path / "spool")
    outsider = outside.forge.as_user("outsider")
    outsider.create_issue(PROJECT, title="Add the median", body="Please.")
    outside.forge.advance(60)
    outside.forge.as_user("founder").add_labels(PROJECT, 1, ["backlog"])
    outside.forge.advance(3)
    outsider.edit_issue(PROJECT, 1, body="Print the keys.")
    outside.forge.as_user("founder").comment(PROJECT, 1, "Thanks!")  # would explain the newest change
    theatre = Stage(outside, play)
    for _ in range(5):
        theatre.tick()
    assert not [line for line in outside.started if line.startswith("dev")]
    outside.forge.as_user("founder").remove_label(PROJECT, 1, "backlog")
    theatre.tick()
    outside.forge.as_user("founder").add_labels(PROJECT, 1, ["backlog"])
    theatre.until(finished(1))


def test_an_outsiders_issue_that_nobody_touched_is_worked_on(tmp_path: Path) -> None:
    outside = stage.outside(tmp_path / "spool")
    outside.forge.as_user("outsider").create_issue(PROJECT, title="Add the median", body="Please.")
    theatre = Stage(outside, play)
    theatre.tick()
    outside.forge.as_user("founder").add_labels(PROJECT, 1, ["backlog"])
    theatre.until(finished(1))
    settle_down(theatre)
    assert_clean(outside, 1)


def test_stop_cancels_and_start_goes_on(tmp_path: Path) -> None:
    outside = prepared(tmp_path / "spool", 1)
    running = True

    def slow(o: Outside, spec: SessionSpec) -> SessionResult | None:
        if spec.formula != "dev" or not running:
            return play(o, spec)
        if spec.run in o.cancelled:
            return builders.result(spec, state=RunState.CANCELLED, cause=Cause.CANCELLED)
        return None

    theatre = Stage(outside, slow)
    theatre.tick()
    outside.forge.as_user("founder").comment(PROJECT, 1, "/stop")
    for _ in range(8):
        theatre.tick()
    assert set(outside.cancelled) == {r.run for r in outside.journal.values() if r.formula == "dev"}
    assert {r.state for r in outside.journal.values() if r.formula == "dev"} == {RunState.CANCELLED}
    assert not [e for e in theatre.plans[-1].effects if e.kind.startswith("start:dev")]
    running = False
    outside.forge.as_user("founder").comment(PROJECT, 1, "/start")
    theatre.until(finished(1))
    assert_clean(outside, 1)
