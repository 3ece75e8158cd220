"""The sentinel as a process: asked over its socket, killed, without a forge, without room; and what people are told."""

from __future__ import annotations

import os
import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory.app import beats
from factory.app.doctor import vault as doctor
from factory.app.doctor.finding import State
from factory.app.places import sentinel_door
from factory.app.services import ensure_forge, ensure_watch, folder
from factory.app.status import status
from factory.forge.values import BranchProtection
from factory.process import service
from factory.sandbox.doorway import reachable
from factory.vault.ports import Unclear
from factory.vault.watch import record
from factory.vault.watch.asking import AskedSentinel, current
from factory.vault.watch.sentinel import Sentinel
from tests.integration.vault.watch.conftest import House, until


def rule(house: House, name: str = "mai[n]") -> BranchProtection:
    return next(rule for rule in house.admin.protections(house.ops) if rule.rule_name == name)


def test_right_after_set_up_all_is_well_and_doctor_says_so(watched: House) -> None:
    settings = watched.sentinel().settings()
    assert settings.wrong == ""
    assert settings.since <= settings.at + timedelta(seconds=1)
    now = datetime.now(UTC)
    found = [*doctor.processes(watched.deployment), *doctor.look(watched.deployment, watched.project, watched.ops, now)]
    assert [f.state for f in found] == [State.OK, State.OK]
    assert "its admins are founder, sentinel-bot" in found[1].detail


def test_attack_35_a_rule_weakened_for_a_moment_changes_the_generation(watched: House) -> None:
    """Removed and put back between two polls: who asks next sees it all the same. Told from the rule's content alone,
    nothing would have happened."""
    sentinel = watched.sentinel()
    before, kept = sentinel.settings(), rule(watched)
    watched.admin.delete_protection(watched.ops, kept.rule_name)
    during = sentinel.settings()
    assert "main is not protected" in during.wrong
    watched.admin.set_protection(watched.ops, kept)
    after = sentinel.settings()
    assert after.wrong == ""
    assert after.generation > during.generation > before.generation
    assert rule(watched) == kept
    seen = record.read(watched.folder)
    assert seen is not None
    assert any("removed" in words for words in seen.changed_since(before.generation))


def test_what_is_wrong_is_told_by_doctor_with_the_remedy(watched: House) -> None:
    kept = rule(watched)
    watched.admin.set_protection(watched.ops, replace(kept, required_approvals=0))
    watched.sentinel().settings()
    (found,) = doctor.look(watched.deployment, watched.project, watched.ops, datetime.now(UTC))
    assert found.state is State.PROBLEM
    assert found.detail == "the rule mai[n]: required_approvals: 0 instead of 1"
    assert found.hint is not None
    assert "factory init" in found.hint
    watched.admin.set_protection(watched.ops, kept)
    assert watched.sentinel().settings().wrong == ""


def test_every_question_is_a_look_of_its_own_and_a_burst_is_one(
    watched: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    sentinel = watched.sentinel()
    first = sentinel.settings()
    until(lambda: sentinel.settings().at > first.at)
    lazy = watched.sentinel(fresh_s=60.0)
    asked, real = list[AskedSentinel](), AskedSentinel._ask

    def ask(self: AskedSentinel) -> None:
        asked.append(self)
        real(self)

    monkeypatch.setattr(AskedSentinel, "_ask", ask)
    for _ in range(5):
        lazy.settings()
        lazy.writers()
    assert asked == [lazy]


def test_killed_and_started_again_it_goes_on_where_it_was(watched: House) -> None:
    before = watched.sentinel().settings()
    pid = watched.pid("sentinel")
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: watched.pid("sentinel") is None)
    with pytest.raises(Unclear, match="it does not run"):
        watched.sentinel().settings()
    assert ensure_watch(watched.deployment.host, "sentinel")
    after = watched.sentinel().settings()
    assert (after.generation, after.digest, after.since) == (before.generation, before.digest, before.since)


def test_without_a_forge_nothing_is_known_and_status_says_why(watched: House) -> None:
    watched.sentinel().settings()
    service.stop("forge", folder(watched.state))
    began = time.monotonic()
    with pytest.raises(Unclear, match="cannot reach the forge"):
        watched.sentinel().settings()
    assert time.monotonic() - began < 15
    until(lambda: "cannot reach the forge" in beats.read(watched.state, "sentinel")["trouble"])
    (told,) = [watch for watch in status(watched.deployment)["vault"] if watch["service"] == "sentinel"]
    assert told["up"]
    assert "cannot reach the forge" in told["trouble"]
    found = next(doctor.processes(watched.deployment))
    assert found.state is State.PROBLEM
    ensure_forge(watched.deployment.host)
    assert watched.sentinel().settings().wrong == ""
    until(lambda: beats.read(watched.state, "sentinel")["trouble"] == "")


def test_attack_50_without_room_to_write_it_says_no(watched: House) -> None:
    """What cannot be kept is not told either: the generation would not survive a restart."""
    watched.sentinel().settings()
    file = watched.folder / record.NAME
    kept = file.read_bytes()
    file.unlink()
    file.mkdir()  # no file can take its place: as on a full or read-only disk, writing fails
    try:
        with pytest.raises(Unclear, match="keeping what was seen"):
            watched.sentinel().settings()
    finally:
        file.rmdir()
        file.write_bytes(kept)
    assert watched.sentinel().settings().wrong == ""


def test_a_silent_asker_holds_nobody_up_for_long(watched: House) -> None:
    with reachable(sentinel_door(watched.state)) as name, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.connect(name)
        began = time.monotonic()
        watched.sentinel().settings()
        assert time.monotonic() - began < 15


def test_an_unknown_repo_is_not_watched(watched: House) -> None:
    asked = watched.sentinel()
    asked._ops = replace(asked._ops, name="other-ops")
    with pytest.raises(Unclear, match="is not watched here"):
        asked.settings()


def test_it_ends_when_told_to(watched: House) -> None:
    began = time.monotonic()
    assert service.stop("sentinel", folder(watched.state), grace_s=20)
    assert time.monotonic() - began < 10
    assert not sentinel_door(watched.state).exists()
    assert "Traceback" not in watched.log("sentinel")


def test_from_its_first_beat_on_it_can_be_asked(tmp_path: Path) -> None:
    """Who starts it waits for that beat."""
    door, seen = tmp_path / "door.sock", list[bool]()
    Sentinel((), door, lambda *_: None, lambda: True, lambda _: None, lambda: seen.append(door.is_socket())).run()
    assert seen == [True]


def test_an_old_record_is_no_answer(watched: House) -> None:
    watched.sentinel().settings()
    seen = record.read(watched.folder)
    assert seen is not None
    assert current(watched.folder, seen.looked + timedelta(seconds=3 * seen.poll_seconds)) == seen
    for now in (seen.looked + timedelta(seconds=3 * seen.poll_seconds + 1), seen.looked - timedelta(seconds=121)):
        with pytest.raises(Unclear, match="the sentinel last looked at"):
            current(watched.folder, now)


def test_an_idle_look_is_a_handful_of_requests(watched: House) -> None:
    """Counted at the forge, and the same as it says of itself; the first look asks for people's rights as well."""
    log = watched.state / "forge" / "access.log"

    def looks() -> list[bytes]:
        return [line for line in log.read_bytes().splitlines() if b'"user": "sentinel-bot"' in line]

    service.stop("sentinel", folder(watched.state))
    before = len(looks())
    ensure_watch(watched.deployment.host, "sentinel")
    until(lambda: beats.read(watched.state, "sentinel").get("polls", 0) >= 1)
    first = len(looks()) - before
    assert beats.read(watched.state, "sentinel")["requests"] == first
    assert 4 <= first <= 10
