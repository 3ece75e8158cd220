"""Claim and journal entry land together or not at all; hosts that race lose nothing and never both win."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from factory.daemon.heartbeat import EVERY, Heartbeat
from factory.daemon.journal_view import JournalView
from factory.daemon.records import OpsRecords
from factory.errors import LeaseHeld
from factory.git import objects
from factory.git.leases import host_ref, lease_ref, read
from factory.git.transport import Remote, fetch, ls_remote
from factory.git.values import Signature
from factory.runs.ids import run_id
from factory.runs.journal import REF
from factory.runs.model import RunRecord, RunState, Usage
from factory.testing import builders as b


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    repo = tmp_path / "ops.git"
    objects.init_bare(repo)
    first = objects.build_commit(repo, parent=None, changes={}, message="Begin", author=who(), committer=who())
    objects.create_ref(repo, REF, first)
    return Remote(str(repo))


def who() -> Signature:
    return Signature("factory-bot", "factory-bot@factory.invalid", 1_800_000_000, 0)


def now() -> datetime:
    return datetime.now(UTC)


def host(tmp_path: Path, remote: Remote, name: str) -> tuple[OpsRecords, Path]:
    mirror = tmp_path / f"{name}.git"
    objects.init_bare(mirror)
    fetch(mirror, remote, ["+refs/heads/*:refs/heads/*"])
    return OpsRecords(lambda: mirror, remote, name, who, now), mirror


def a_run(name: str, number: int = 1) -> RunRecord:
    return b.unfinished(run=run_id(now(), f"{name} {number}"), host=name, started_at=now(), reserved_usd=1.0)


def seen(remote: Remote, tmp_path: Path) -> dict[str, RunRecord]:
    mirror = tmp_path / "reader.git"
    if not mirror.exists():
        objects.init_bare(mirror)
    fetch(mirror, remote, [f"+{REF}:{REF}"])
    view = JournalView()
    runs = view.read(mirror, objects.read_ref(mirror, REF), now(), EVERY * 1000)
    assert view.problems == ()
    return {run.run: run for run in runs}


def ended(run: RunRecord) -> RunRecord:
    return replace(run, state=RunState.SUCCEEDED, finished_at=now(), usage=Usage(1, 10, 0, 5, 0.01))


def test_a_claim_is_told_and_released_with_the_end(tmp_path: Path, remote: Remote) -> None:
    records, _ = host(tmp_path, remote, "a")
    run = a_run("a")
    records.begin(run, "key", None)
    holder = records.holder("key")
    assert holder is not None
    assert (holder.run, holder.host, holder.epoch) == (run.run, "a", run.epoch)
    assert not records.is_finished(run.run)
    records.finish(ended(run), "key")
    assert records.holder("key") is None
    assert records.is_finished(run.run)
    assert seen(remote, tmp_path)[run.run].state is RunState.SUCCEEDED


def test_a_held_lease_refuses_and_leaves_no_trace_in_the_journal(tmp_path: Path, remote: Remote) -> None:
    one, _ = host(tmp_path, remote, "a")
    two, _ = host(tmp_path, remote, "b")
    first, second = a_run("a"), a_run("b")
    one.begin(first, "key", None)
    with pytest.raises(LeaseHeld, match=f"held by a for {first.run}"):
        two.begin(second, "key", None)
    assert set(seen(remote, tmp_path)) == {first.run}


def test_an_end_does_not_release_what_somebody_else_took_over(tmp_path: Path, remote: Remote) -> None:
    one, _ = host(tmp_path, remote, "a")
    two, _ = host(tmp_path, remote, "b")
    first = a_run("a")
    one.begin(first, "key", None)
    held = two.holder("key")
    assert held is not None
    second = replace(a_run("b"), epoch=first.epoch + 1)
    two.begin(second, "key", held.commit)
    one.finish(ended(first), "key")
    holder = one.holder("key")
    assert holder is not None
    assert holder.run == second.run


def test_twelve_hosts_race_for_one_lease_and_all_write_their_journal(tmp_path: Path, remote: Remote) -> None:
    hosts = [host(tmp_path, remote, f"h{number}")[0] for number in range(12)]

    def claim(number: int) -> bool:
        try:
            hosts[number].begin(a_run(f"h{number}"), "key", None)
        except LeaseHeld:
            return False
        return True

    def own(number: int) -> None:
        hosts[number].begin(a_run(f"h{number}", 2), f"own-{number}", None)

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(claim, range(12)))
        list(pool.map(own, range(12)))
    assert won.count(True) == 1
    assert len(seen(remote, tmp_path)) == 13
    leases = ls_remote(remote, (lease_ref("key").rpartition("/")[0],))
    assert len(leases) == 13


def test_a_host_shows_life_only_while_it_works_and_not_too_often(tmp_path: Path, remote: Remote) -> None:
    _, mirror = host(tmp_path, remote, "a")
    told: list[str] = []
    heart = Heartbeat(lambda: mirror, remote, "a", told.append)
    refs: Callable[[], dict[str, str]] = lambda: dict(ls_remote(remote, ("refs/factory/",)))  # noqa: E731
    start = now()
    assert not heart.beat([], refs(), start)
    assert not heart.beat(["r1"], refs(), start), "the lease of a fresh run is a sign of life itself"
    assert not heart.beat(["r1"], refs(), start + EVERY / 2)
    assert heart.beat(["r1"], refs(), start + EVERY)
    assert heart.beat(["r1"], refs(), start + EVERY * 2)
    assert read(mirror, host_ref("a"), refs()[host_ref("a")]).at == start + EVERY * 2
    assert told == []


def test_a_lost_forge_costs_a_heartbeat_and_nothing_more(tmp_path: Path, remote: Remote) -> None:
    _, mirror = host(tmp_path, remote, "a")
    told: list[str] = []
    heart = Heartbeat(lambda: mirror, Remote(str(tmp_path / "gone.git")), "a", told.append)
    heart.beat(["r1"], {}, now() - EVERY)
    assert not heart.beat(["r1"], {}, now())
    assert len(told) == 1
    assert "the heartbeat was not pushed" in told[0]
