from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from factory.errors import LeaseHeld, UsageError
from factory.git import leases, objects
from factory.git.leases import Lease, acquire, lease_ref, lease_update, read_all, release, renew, takeover
from factory.git.transport import RefUpdate, Remote, ls_remote, push

if TYPE_CHECKING:
    from conftest import Project, Serve, UserGit

AT = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 21, 9, 5, tzinfo=UTC)
REF = lease_ref("issue-12")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Another host's local repo."""
    repo = tmp_path / "elsewhere.git"
    objects.init_bare(repo)
    return repo


def take(repo: Path, remote: Remote, run: str, host: str) -> Lease:
    return acquire(repo, remote, REF, run=run, host=host, boot=f"boot-{host}", at=AT)


def test_a_lease_lives_from_acquire_to_release(project: Project, elsewhere: Path) -> None:
    lease = take(project.local, project.remote, "run-1", "alpha")
    assert (lease.run, lease.host, lease.epoch, lease.at, lease.key) == ("run-1", "alpha", 1, AT, "issue-12")
    assert project.refs()[REF] == lease.oid
    renewed = renew(project.local, project.remote, lease, at=LATER)
    assert (renewed.at, renewed.epoch, renewed.run) == (LATER, 1, "run-1")
    assert renewed.oid != lease.oid
    assert read_all(elsewhere, project.remote, ls_remote(project.remote)).held == {REF: renewed}
    release(project.local, project.remote, renewed)
    release(project.local, project.remote, renewed)
    assert REF not in project.refs()


def test_who_holds_it_since_when_is_said(project: Project, elsewhere: Path) -> None:
    take(project.local, project.remote, "run-1", "alpha")
    with pytest.raises(
        LeaseHeld, match=r"held by run run-1 on host alpha since 2026-11-21T09:00:00\+00:00 \(epoch 1\)"
    ):
        take(elsewhere, project.remote, "run-2", "beta")


def test_a_stale_holder_can_neither_renew_nor_release(project: Project, elsewhere: Path) -> None:
    dead = take(project.local, project.remote, "run-1", "alpha")
    read_all(elsewhere, project.remote, ls_remote(project.remote))
    mine = takeover(elsewhere, project.remote, dead, run="run-2", host="beta", boot="b", at=LATER)
    assert mine.epoch == 2
    for act in (
        lambda: renew(project.local, project.remote, dead, at=LATER),
        lambda: release(project.local, project.remote, dead),
        lambda: takeover(project.local, project.remote, dead, run="run-3", host="alpha", boot="b", at=LATER),
    ):
        with pytest.raises(LeaseHeld, match=r"held by run run-2 on host beta.*epoch 2"):
            act()
    assert project.refs()[REF] == mine.oid
    release(elsewhere, project.remote, mine)
    with pytest.raises(LeaseHeld, match="released by somebody else"):
        renew(project.local, project.remote, dead, at=LATER)


def test_twenty_acquirers_have_one_winner(project: Project, serve: Serve, tmp_path: Path) -> None:
    remote = serve().remote
    barrier = threading.Barrier(20)
    won: list[Lease] = []
    lost: list[LeaseHeld] = []

    def race(number: int) -> None:
        repo = tmp_path / f"host-{number}.git"
        objects.init_bare(repo)
        barrier.wait()
        try:
            won.append(take(repo, remote, f"run-{number}", f"host-{number}"))
        except LeaseHeld as error:
            lost.append(error)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 19)
    assert project.refs()[REF] == won[0].oid
    assert all(f"held by run {won[0].run} " in error.message for error in lost)


def test_without_the_expectation_the_last_one_wins(project: Project, elsewhere: Path, user_git: UserGit) -> None:
    """The fault that compare-and-swap answers: a forced push takes a held lease without a word."""
    mine = take(project.local, project.remote, "run-1", "alpha")
    forged = lease_update(elsewhere, REF, run="run-2", host="beta", epoch=1, boot="b", at=AT, previous=None)
    user_git(elsewhere, "push", "--force", str(project.bare), f"{forged.new}:{REF}")
    assert project.refs()[REF] != mine.oid


def test_a_claim_in_the_same_second_is_another_claim(project: Project) -> None:
    one, two = (
        lease_update(project.local, REF, run="r", host="h", epoch=1, boot="b", at=AT, previous=None) for _ in range(2)
    )
    assert one.new != two.new


def test_a_lease_and_a_heartbeat_go_in_one_push(project: Project) -> None:
    host = leases.host_ref("alpha")
    updates = [
        lease_update(project.local, REF, run="run-1", host="alpha", epoch=1, boot="b", at=AT, previous=None),
        lease_update(project.local, host, run="", host="alpha", epoch=1, boot="b", at=AT, previous=None),
        RefUpdate("refs/heads/work/12", project.base, None),
    ]
    push(project.local, project.remote, updates)
    found = read_all(project.local, project.remote, ls_remote(project.remote))
    assert set(found.held) == {REF, host}
    assert found.held[host].host == "alpha"


@pytest.mark.parametrize(
    "message",
    ["", "not json", "[]", "{}", '{"run":1,"host":"h","boot":"b","epoch":1,"at":"2026-11-21T09:00:00+00:00"}',
     '{"run":"r","host":"h","boot":"b","epoch":true,"at":"2026-11-21T09:00:00+00:00"}',
     '{"run":"r","host":"h","boot":"b","epoch":1,"at":"2026-11-21T09:00:00"}',
     '{"run":"r","host":"h\\u001b[2J","boot":"b","epoch":1,"at":"2026-11-21T09:00:00+00:00"}', "[" * 100_000],
)  # fmt: skip
def test_a_forged_lease_is_reported_not_believed(project: Project, elsewhere: Path, message: str) -> None:
    forged = project.commit(message, changes={})
    push(project.local, project.remote, [RefUpdate(REF, forged, None)])
    found = read_all(elsewhere, project.remote, ls_remote(project.remote))
    assert not found.held
    assert "it states no lease" in found.unreadable[REF]
    with pytest.raises(LeaseHeld, match="taken by something unreadable"):
        take(elsewhere, project.remote, "run-1", "alpha")


@pytest.mark.parametrize("key", ["", "../heads/main", "a/b", "-x", "a b", "x.lock", "a..b", "é"])
def test_a_key_is_a_plain_word(key: str) -> None:
    with pytest.raises(UsageError):
        lease_ref(key)
