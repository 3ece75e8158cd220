"""The dispatcher as a real process on the embedded forge: it fires what was approved, says why not, and lives through
what may happen to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from factory.app import beats
from factory.app.editing import share
from factory.app.opsrepo import mirror
from factory.app.people import as_person
from factory.app.places import vault_home
from factory.app.services import ensure_forge, ensure_watch, folder, forge_home
from factory.app.status import status
from factory.config.surroundings import inherited
from factory.forge.values import ReviewState
from factory.git import objects
from factory.ops.edit import whole
from factory.process import service
from factory.process.lock import is_held
from factory.vault.action import Tier
from factory.vault.policy import PATH
from factory.vault.watch.asking import FRESH_S
from factory.vault.watch.instance import lock_of
from factory.vault.watch.wake import poke
from tests.integration.vault.watch.conftest import Asked, House, until

FIRED = ["SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"]


def opened(house: House, tier: Tier = Tier.LOW) -> Asked:
    """A request that the dispatcher has seen open."""
    asked = house.ask(tier)
    until(lambda: house.kinds(asked.id) == ["SEEN"])
    return asked


def stop(house: House, name: str = "dispatcher") -> None:
    service.stop(name, folder(house.state))


def trouble(house: House) -> str:
    return str(house.beat().get("trouble", ""))


def test_a_low_request_fires_by_itself(served: House) -> None:
    asked = opened(served)
    assert asked.base == "auto"
    served.merge(asked)
    until(lambda: served.kinds(asked.id) == FIRED)
    assert trouble(served) == ""
    assert served.entry(asked.id, "STARTED").by == served.beat()["instance"]


def test_a_medium_request_fires_once_a_person_approved_it(served: House) -> None:
    asked = opened(served, Tier.MEDIUM)
    served.approve(asked)
    served.merge(asked)
    until(lambda: served.kinds(asked.id) == FIRED)
    person = served.admin.user("founder")
    assert person is not None
    assert served.entry(asked.id, "VERIFIED").evidence["approvers"] == [person.id]


def test_attack_46_an_approval_that_is_taken_back_before_the_start_counts_no_more(served: House) -> None:
    asked = opened(served, Tier.MEDIUM)
    served.approve(asked)
    stop(served)
    served.merge(asked)
    with as_person(served.deployment, "founder") as founder:
        (review,) = founder.reviews(served.ops, asked.number)
        founder.send("DELETE", f"/repos/{served.ops}/pulls/{asked.number}/reviews/{review.id}", doing="test")
    ensure_watch(served.deployment.host, "dispatcher")
    until(lambda: served.kinds(asked.id) == ["SEEN", "REFUSED"])
    said = served.entry(asked.id, "REFUSED").evidence
    assert (said["code"], said["words"]) == ("no-approval", "nobody approved it")


def test_a_change_of_the_policy_counts_from_its_own_approval_on(served: House) -> None:
    copy = mirror(served.deployment, served.ops, refresh=True)
    text = (objects.read_file(copy, "refs/heads/main", PATH) or b"").decode()
    newer = text.replace("version = 1\n", "version = 2\n").replace("pending = 5\n", "pending = 6\n").encode()
    made = share(served.deployment, served.ops, [whole(PATH, newer)], "Let more wait", "founder")
    with as_person(served.deployment, "founder") as founder:
        founder.review(served.ops, made["number"], state=ReviewState.APPROVED, body="", commit=made["commit"])
    served.bot("factory-bot").merge(served.ops, made["number"], head=made["commit"], title="t", message="m")
    until(lambda: "TRUST" in served.kinds("_"))
    assert served.entry("_", "TRUST").evidence["policy_version"] == 2
    asked = opened(served)
    served.merge(asked)
    until(lambda: served.kinds(asked.id) == FIRED)
    assert served.entry(asked.id, "VERIFIED").evidence["policy_version"] == 2


def test_an_idle_turn_costs_one_request_and_no_process(served: House) -> None:
    """Counted at the forge and by the kernel, not by itself."""
    until(lambda: trouble(served) == "")
    log, pid = forge_home(served.state) / "access.log", served.pid("dispatcher")

    def requests() -> int:
        return sum(b'"user": "dispatcher-bot"' in line for line in log.read_bytes().splitlines())

    def reaped() -> list[str]:
        """What the kernel booked to it for children that ended."""
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[8:11:2]

    def polls() -> int:
        return int(served.beat()["polls"])

    until(lambda: (before := reaped()) and not time.sleep(1.2) and before == reaped())
    first, asked, children = polls(), requests(), reaped()
    until(lambda: polls() >= first + 4)
    passed, cost = polls() - first, requests() - asked
    assert children == reaped()
    assert passed - 1 <= cost <= passed + 1
    told = next(watch for watch in status(served.deployment)["vault"] if watch["service"] == "dispatcher")
    assert told["up"]
    assert told["requests"] > 0
    assert told["appended"] > 0


def test_attack_55_a_wake_makes_it_look_at_once_and_a_flood_changes_nothing(served: House) -> None:
    asked = opened(served)
    served.merge(asked)
    for _ in range(200):
        poke(vault_home(served.state))
    until(lambda: served.kinds(asked.id) == FIRED)
    assert served.kinds(asked.id).count("STARTED") == 1


def test_killed_it_is_proved_dead_and_the_next_one_goes_on(served: House) -> None:
    asked = opened(served)
    pid, name = served.pid("dispatcher"), served.beat()["instance"].partition("/")[2]
    assert pid is not None
    assert is_held(lock_of(served.folder, name))
    os.kill(pid, signal.SIGKILL)
    until(lambda: served.pid("dispatcher") is None)
    until(lambda: not is_held(lock_of(served.folder, name)))  # a git that it was just starting may outlive it
    served.merge(asked)
    assert ensure_watch(served.deployment.host, "dispatcher")
    until(lambda: served.kinds(asked.id) == FIRED)
    assert served.beat()["instance"].partition("/")[2] != name


def test_it_ends_when_told_to_and_leaves_nothing_behind(served: House) -> None:
    until(lambda: trouble(served) == "")
    began = time.monotonic()
    assert service.stop("dispatcher", folder(served.state), grace_s=20)
    assert time.monotonic() - began < 10
    assert not (vault_home(served.state) / "wake.sock").exists()
    assert not [lock for lock in (served.folder / "locks").glob("*.lock") if is_held(lock)]
    assert "Traceback" not in served.log("dispatcher")


def test_a_mirror_that_was_cut_off_in_the_middle_is_begun_anew(served: House) -> None:
    stop(served)
    (served.folder / "repo.git" / "packed-refs.lock").touch()
    ensure_watch(served.deployment.host, "dispatcher")
    asked = opened(served)
    served.merge(asked)
    until(lambda: served.kinds(asked.id) == FIRED)
    assert not list(served.folder.glob("repo.git.left-*"))


def test_without_forge_or_sentinel_nothing_starts_and_then_it_goes_on_by_itself(served: House) -> None:
    asked = opened(served)
    stop(served, "sentinel")
    time.sleep(FRESH_S)  # what the sentinel said in its last second still counts, also for a start
    served.merge(asked)
    until(lambda: "asking the sentinel" in trouble(served))
    assert "STARTED" not in served.kinds(asked.id), "it may be judged and claimed by what was just asked, no more"
    service.stop("forge", folder(served.state))
    until(lambda: "cannot reach the forge" in trouble(served))
    told = next(watch for watch in status(served.deployment)["vault"] if watch["service"] == "dispatcher")
    assert "cannot reach the forge" in told["trouble"]
    ensure_forge(served.deployment.host)
    ensure_watch(served.deployment.host, "sentinel")
    until(lambda: served.kinds(asked.id) == FIRED)
    until(lambda: trouble(served) == "")


@contextmanager
def beside(house: House, name: str, most_bytes: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """One more dispatcher of this host, as a process; it can write so many bytes into a file."""

    def limited() -> None:
        if most_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    argv = [sys.executable, "-m", "factory.app.dispatcher", "--home", str(house.deployment.home), "--beat", name]
    with (house.state / "services" / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            # A module's compiled form that is cut short by the limit would spoil every later process.
            argv, env={**inherited(house.deployment.home), "PYTHONDONTWRITEBYTECODE": "1"}, stdout=log, stderr=log,
            start_new_session=True, preexec_fn=limited,
        )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(20) == 0, house.log(name)


def test_several_of_them_share_the_work_and_nothing_starts_twice(served: House) -> None:
    with beside(served, "second"), beside(served, "third"):
        until(lambda: all(beats.read(served.state, name).get("polls") for name in ("second", "third")))
        names = {beats.read(served.state, name)["instance"] for name in ("dispatcher", "second", "third")}
        assert len(names) == 3
        assert {path.name for path in served.folder.glob("repo*.git")} == {"repo.git", "repo-1.git", "repo-2.git"}
        asked = [served.ask() for _ in range(3)]
        until(lambda: all(served.kinds(one.id) == ["SEEN"] for one in asked))
        for one in asked:
            served.merge(one)
            poke(vault_home(served.state))
        until(lambda: all("DONE" in served.kinds(one.id) for one in asked), 60)
        assert all(served.kinds(one.id).count("STARTED") == 1 for one in asked)


def test_attack_50_on_a_full_disk_it_starts_nothing_and_says_so(served: House) -> None:
    stop(served)
    shutil.rmtree(served.folder / "repo.git")
    asked = served.ask()
    served.merge(asked)
    # No file of more than this: enough to say what is wrong, not for git to keep a copy of the repo.
    with beside(served, "full", most_bytes=1500) as process:
        until(lambda: ": git " in beats.read(served.state, "full").get("trouble", ""))
        assert process.poll() is None
        assert served.kinds(asked.id) == []
    ensure_watch(served.deployment.host, "dispatcher")
    until(lambda: served.kinds(asked.id)[-2:] == FIRED[-2:])
    assert served.kinds(asked.id).count("STARTED") == 1


def test_a_state_directory_restored_from_yesterday_starts_nothing(house: House) -> None:
    """Forge and vault are restored together: nothing in what came back knows what was done since. The copy of the mark
    outside of it does; without that copy, what was done would be done again."""
    for name in ("sentinel", "dispatcher"):
        ensure_watch(house.deployment.host, name)
    asked = opened(house)
    stop(house)
    house.merge(asked)
    for name in ("sentinel", "forge"):
        service.stop(name, folder(house.state))
    backup = house.deployment.home / "backup"
    for part in ("forge", "vault"):
        shutil.copytree(house.state / part, backup / part, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))

    def up() -> None:
        ensure_forge(house.deployment.host)
        for name in ("sentinel", "dispatcher"):
            ensure_watch(house.deployment.host, name)

    def restored() -> None:
        for name in ("dispatcher", "sentinel", "forge"):
            service.stop(name, folder(house.state))
        for part in ("forge", "vault"):
            shutil.rmtree(house.state / part)
            shutil.copytree(backup / part, house.state / part, symlinks=True)

    up()
    until(lambda: house.kinds(asked.id) == FIRED)
    copy = house.deployment.host.cache / "vault" / f"{house.folder.name}.mark.json"
    until(lambda: copy.exists() and json.loads(copy.read_bytes())["count"] >= len(FIRED))
    restored()
    up()
    until(lambda: trouble(house))
    assert "the ledger lost entries that this host saw on it" in trouble(house)
    assert "Nothing starts; an admin must put it right" in trouble(house)
    assert house.kinds(asked.id) == ["SEEN"]
    said = [watch["trouble"] for watch in status(house.deployment)["vault"] if watch["service"] == "dispatcher"]
    assert "is not on the ledger any more" in said[0]
    # The same without what remembers it.
    restored()
    copy.unlink()
    up()
    until(lambda: house.kinds(asked.id) == FIRED)


def test_a_ledger_that_has_not_begun_is_told_with_the_remedy(house: House) -> None:
    """Last in this file: the ledger is gone afterwards."""
    bare = forge_home(house.state) / "repos" / house.ops.owner / f"{house.ops.name}.git"
    stop(house)
    ensure_forge(house.deployment.host)
    for mark in (house.folder / "ledger.json", house.deployment.host.cache / "vault"):
        shutil.rmtree(mark, ignore_errors=True) if mark.is_dir() else mark.unlink(missing_ok=True)
    subprocess.run(["git", f"--git-dir={bare}", "update-ref", "-d", "refs/heads/ledger"], check=True)
    ensure_watch(house.deployment.host, "dispatcher")
    until(lambda: trouble(house))
    assert "factory init" in trouble(house)
