"""A copy of the ledger on another machine: setting it, what is said of it, and a forge from an old backup."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from factory.app.deployment import Deployment
from factory.app.dispatcher import mark_copy
from factory.app.doctor import mirror as doctor
from factory.app.doctor.finding import Finding, State
from factory.app.opsrepo import mirror as ops_copy
from factory.app.services import ensure_daemon, ensure_forge, ensure_gateway, ensure_watch, stop_one
from factory.app.vault_audit import audit_ledger
from factory.app.vault_mirroring import DAY, Mirroring, last_look
from factory.cli.main import cli
from factory.config.model import LedgerMirror
from factory.errors import ConfigInvalid
from factory.git import objects
from factory.process import spawn
from factory.vault.action import Tier
from factory.vault.canonical import Refused
from factory.vault.watch import marks
from factory.vault.watch.mirroring import LEDGER
from tests.integration.cli.person import spoken
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.watch.conftest import Asked, House, until
from tests.integration.vault.watch.test_older import RAN, approved, bare, fired, read_ledger, void_is_over


@pytest.fixture
def elsewhere(watched: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """With the sentinel watching, commands that are about this home, and no mirror."""
    monkeypatch.setenv("FACTORY_HOME", str(watched.deployment.home))
    seen = watched.sentinel().settings()
    until(lambda: datetime.now(UTC) >= seen.since)
    yield watched
    if Deployment.open(watched.deployment.home).host.ledger_mirror is not None:
        said("unset")
    watched.deployment.host = Deployment.open(watched.deployment.home).host


def said(*words: str, code: int = 0) -> dict[str, Any]:
    """``factory vault mirror words...``; its facts."""
    done = CliRunner().invoke(cli, ["vault", "mirror", *words, "--json"])
    assert done.exit_code == code, (done.output, done.exception)
    (facts,) = json.loads(done.stdout).values()
    return dict(facts)


def refused(*words: str) -> str:
    """What the command says to a person where it does not do it."""
    done = spoken(["vault", "mirror", *words], os.environ.copy(), Path.cwd())
    assert done.code not in (0, 3), done
    return done.err


def set_to(house: House, place: Path) -> None:
    said("set", str(place))
    house.deployment.host = Deployment.open(house.deployment.home).host


def there(house: House, place: Path) -> str | None:
    return objects.read_ref(place, f"refs/heads/ledger/{house.ops}")


def findings(house: House) -> list[Finding]:
    return list(doctor.look(house.deployment, house.ops, datetime.now(UTC)))


# ---- setting it and what it says -------------------------------------------------------------------------------------


TOLD, NOWHERE = "doctor tells it", "cannot: doctor only reads what is set, and asks the mirror"


@rule("A mirror of the ledger on another machine is a finding of doctor until it is set", vault=TOLD, off=NOWHERE,
      check="doctor looks at the setting; with one, at the mirror itself")  # fmt: skip
def test_rule_doctor_finds_it_missing_until_it_is_set(elsewhere: House, tmp_path: Path) -> Seen:
    (found,) = findings(elsewhere)
    assert (found.state, found.name) == (State.NOTE, "ledger mirror")
    assert "on one machine and lost together" in found.detail
    assert str(found.hint).startswith("factory vault mirror set ")
    read_ledger(elsewhere)
    place = tmp_path / "far" / "ledger.git"
    set_to(elsewhere, place)
    near, found = findings(elsewhere)
    assert (near.state, "on the same disk" in near.detail) == (State.NOTE, True)
    assert (found.state, "has all of the ledger" in found.detail) == (State.OK, True)
    assert there(elsewhere, place) == elsewhere.ledger().tip
    shutil.rmtree(place)
    (_, found) = findings(elsewhere)
    assert (found.state, str(place) in found.detail) == (State.PROBLEM, True)
    return Seen("-", TOLD, NOWHERE)


def test_a_mirror_that_cannot_be_reached_is_not_set(elsewhere: House, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no repo")
    for url in (str(tmp_path / "file"), "http://127.0.0.1:9/ledger.git"):
        words = refused("set", url)
        assert "error:" in words or "reading the refs of" in words
        assert Deployment.open(elsewhere.deployment.home).host.ledger_mirror is None


@pytest.mark.parametrize("url", [
    "https://me:hunter2@example.test/ledger.git", "ssh://me:hunter2@example.test/l.git", "ext::sh -c hunter2",
    "https://example.test/l.git?token=hunter2", "../hunter2",
])  # fmt: skip
def test_an_address_with_a_password_is_refused_and_not_repeated(elsewhere: House, url: str) -> None:
    words = refused("set", url)
    assert "not an address it may have" in words
    assert "hunter2" not in words
    path = elsewhere.state / "host.toml"
    before = path.read_text()
    try:
        path.write_text(f'{before}\n[vault]\nledger_mirror = "{url}"\n')
        with pytest.raises(ConfigInvalid) as no:
            Deployment.open(elsewhere.deployment.home)
    finally:
        path.write_text(before)
    told = "\n".join(map(str, no.value.problems))
    assert "vault.ledger_mirror is not a repo address" in told
    assert "hunter2" not in told


def test_a_token_is_kept_private_and_said_nowhere(
    elsewhere: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over http with a login: a repo of the forge itself stands for another forge."""
    user = elsewhere.admin.create_user("keeper", email="k@example.invalid", password="a long enough password")
    token = elsewhere.admin.create_token("keeper", name="mirror", scopes=("write:repository", "write:user"))
    with_token = elsewhere.deployment.forge("factory-bot").__class__(elsewhere.deployment.host.forge_url, token)
    with_token.send("POST", "/user/repos", doing="test", body={"name": "far", "private": True})
    with_token.close()
    file = tmp_path / "token"
    file.write_text(token)
    read_ledger(elsewhere)
    url = f"{elsewhere.deployment.host.forge_url.rstrip('/')}/{user.login}/far.git"
    facts = said("set", url, "--token-file", str(file))
    assert facts["ledgers"][0]["standing"] == "same"
    assert "is the machine of the forge" in facts["near"] or "is this machine" in facts["near"]
    assert token not in json.dumps(facts)
    kept = elsewhere.state / "vault" / "mirror.token"
    assert kept.stat().st_mode & 0o077 == 0
    assert token not in (elsewhere.state / "host.toml").read_text()
    file.write_text("f" * 40)
    assert token not in refused("set", url, "--token-file", str(file))
    assert kept.read_text().strip() == token, "what was set stays"
    said("unset")
    assert not kept.exists()


# ---- beside the ticks ------------------------------------------------------------------------------------------------


def test_the_daemon_copies_what_grew_and_an_idle_turn_costs_nothing(elsewhere: House, tmp_path: Path) -> None:
    house, place, lines, now = elsewhere, tmp_path / "far.git", list[str](), [datetime.now(UTC)]
    read_ledger(house)
    mirrors = Mirroring(house.deployment, lines.append, lambda: now[0])
    mirrors.keep()
    assert mirrors.settled(0), "none is set: nothing is begun"
    set_to(house, place)
    for _ in range(100):
        before = spawn.started()
        mirrors.keep()
        assert (mirrors.settled(30), spawn.started()) == (True, before)
    house.write("FREEZE", "one more")
    house.write("UNFREEZE", "and on")
    read_ledger(house)
    ops_copy(house.deployment, house.ops, refresh=True)
    mirrors.keep()
    assert mirrors.settled(30)
    assert there(house, place) == house.ledger().tip
    before = spawn.started()
    mirrors.keep()
    assert (mirrors.settled(30), spawn.started()) == (True, before)
    now[0] += DAY
    mirrors.keep()
    assert (mirrors.settled(30), spawn.started()) == (True, before + 1), "once a day it is compared"
    assert lines == []


def test_a_mirror_that_is_away_is_told_once_and_tried_less_and_less(elsewhere: House, tmp_path: Path) -> None:
    house, place, lines, clock = elsewhere, tmp_path / "far.git", list[str](), [0.0]
    read_ledger(house)
    set_to(house, place)
    place.rename(tmp_path / "unplugged")
    at = [datetime.now(UTC) + DAY]
    mirrors = Mirroring(house.deployment, lines.append, lambda: at[0], lambda: clock[0])
    tries = []
    for minute in range(180):
        clock[0], before = 60.0 * minute, spawn.started()
        mirrors.keep()
        assert mirrors.settled(30)
        tries += [minute] if spawn.started() > before else []
    assert tries == [0, 1, 3, 7, 15, 31, 63, 123]
    assert len(lines) == 1
    assert "unplugged" not in lines[0]
    assert str(place) in lines[0]
    facts = last_look(house.deployment, house.ops, at[0])
    assert facts is not None
    assert facts["alarm"] in lines[0]
    mark_copy(house.deployment, house.folder).unlink()
    read_ledger(house)  # a dispatcher that would ask it how far the ledger was goes on without it
    (tmp_path / "unplugged").rename(place)
    clock[0] += 3600
    mirrors.keep()
    assert mirrors.settled(30)
    assert lines[1:] == [f"ledger mirror of {house.ops}: all is well again"]


def test_one_that_does_not_answer_holds_up_nothing(elsewhere: House, tmp_path: Path) -> None:
    """A socket that takes the connection and says nothing, as a hung machine does."""
    house = elsewhere
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/ledger.git"
        house.deployment.host = replace(house.deployment.host, ledger_mirror=LedgerMirror(url))
        mirrors = Mirroring(house.deployment, [].append)
        before = time.monotonic()
        mirrors.keep()
        mirrors.keep()
        assert time.monotonic() - before < 1
        silent.accept()[0].close()
        assert mirrors.settled(30)
    facts = last_look(house.deployment, house.ops, datetime.now(UTC))
    assert facts is not None
    assert facts["alarm"]


def test_status_says_what_the_last_look_found(elsewhere: House, tmp_path: Path) -> None:
    read_ledger(elsewhere)
    assert "ledger mirror" not in CliRunner().invoke(cli, ["status"]).output
    set_to(elsewhere, tmp_path / "far.git")
    assert f"ledger mirror of {elsewhere.ops} as of" in CliRunner().invoke(cli, ["status"]).output
    facts = last_look(elsewhere.deployment, elsewhere.ops, datetime.now(UTC) + timedelta(days=3))
    assert facts is not None
    assert "nobody has looked at it since" in facts["alarm"]


def test_the_running_daemon_takes_it_up_and_copies(elsewhere: House, tmp_path: Path) -> None:
    """Daemon and dispatcher as `factory up` starts them; the mirror is set while they run."""
    house, place = elsewhere, tmp_path / "far.git"
    host = house.deployment.host
    try:
        ensure_gateway(host)
        ensure_watch(host, "dispatcher")
        ensure_daemon(host)
        set_to(house, place)
        first = there(house, place)
        asked = house.ask()
        tip = until(lambda: (now := there(house, place)) != first and now)
        assert objects.is_ancestor(ops_copy(house.deployment, house.ops, refresh=True), str(first), str(tip))
        until(lambda: house.ledger().state(asked.id).final)  # cut off, it would hold its target in the tests after this
        until(lambda: there(house, place) == house.ledger().tip)
    finally:
        for name in ("daemon", "dispatcher", "gateway"):
            stop_one(house.deployment, name)


# ---- the forge comes back from an old backup -------------------------------------------------------------------------


@contextmanager
def forge_down(house: House) -> Iterator[Path]:
    """The embedded forge's folder while it does not run."""
    stop_one(house.deployment, "forge")
    yield house.state / "forge"
    ensure_forge(house.deployment.host)


def backed_up(house: House, place: Path) -> Path:
    with forge_down(house) as forge:
        shutil.copytree(forge, place)
    return place


def machine_lost(house: House, backup: Path, mark: bytes) -> None:
    """The forge and what this host remembers come from one backup; what no backup holds is gone."""
    with forge_down(house) as forge:
        for path in forge.iterdir():  # the folder itself stays: others hold on to it
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(backup, forge, dirs_exist_ok=True)
    for path in (*house.folder.glob("repo*.git"), *house.folder.glob("fence*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(house.deployment.host.cache, ignore_errors=True)
    (house.folder / marks.MARK).write_bytes(mark)


@rule("Forge and high-water mark are lost together and come back from an old backup: nothing runs again, and an admin "
      "brings the ledger back from its mirror", forge="allows", vault="ledger-gone",
      check="a home without its cache asks the mirror how far the ledger was")  # fmt: skip
def test_rule_an_old_backup_repeats_nothing(elsewhere: House, tmp_path: Path) -> Seen:
    house, place = elsewhere, tmp_path / "far.git"
    read_ledger(house)
    set_to(house, place)
    done, late = approved(house), approved_only(house)
    backup, mark = backed_up(house, tmp_path / "backup"), (house.folder / marks.MARK).read_bytes()
    assert fired(house, done)[-2:] == RAN
    said("check")
    entries, was = house.ledger().count, house.ledger()

    machine_lost(house, backup, mark)
    before = house.ledger().count
    assert before < entries
    with house.hand() as serving:
        with pytest.raises(Refused) as no:
            serving.turn()
        (alarm,) = [found for found in findings(house) if found.state is State.PROBLEM]
        assert was.tip[:12] in alarm.detail
        assert house.ledger().tip[:12] in alarm.detail
        facts = said("bring-back", "--reason", "the disk died; backup of the night")
        assert (facts["brought_back"], facts["same_commits"], facts["left_out"]) == (entries - before, True, [])
        serving.turn()
        now = house.ledger()
        assert objects.is_ancestor(ops_copy(house.deployment, house.ops), was.tip, now.tip)
        assert now.frozen
        house.merge(late)
        void_is_over(house)
        new = approved(house)
        house.fired(serving, late)
        assert str(house.entry(late.id, "REFUSED").evidence["code"]) == "approved-before-push"
        assert "VERIFIED" not in house.kinds(new.id), "nothing begins on a frozen ledger"
        unfrozen = CliRunner().invoke(cli, ["vault", "unfreeze", "--reason", "I looked"])
        assert unfrozen.exit_code == 0, unfrozen.output
        house.fired(serving, new)
        assert house.kinds(new.id)[-2:] == RAN
        assert house.kinds(done.id).count("STARTED") == 1, "what was done is not done again"
    said("check")
    assert there(house, place) == house.ledger().tip
    unsigned = {"not-signed"}  # what other tests here wrote with nobody's key
    assert {fault["code"] for fault in audit_ledger(house.deployment)["faults"]} <= unsigned

    said("unset")
    machine_lost(house, backup, mark)
    again = fired(house, done)
    return Seen("allows", no.value.code, RUNS if again[-2:] == RAN else str(again))


def approved_only(house: House) -> Asked:
    asked = house.ask(Tier.MEDIUM)
    house.approve(asked)
    return asked


def cut_off(house: House, tip: str) -> None:
    """The forge's ledger is put back to that, and this host remembers nothing."""
    repo = bare(house)
    objects.update_ref(repo, LEDGER, tip, objects.read_ref(repo, LEDGER))
    for path in (house.folder / marks.MARK, mark_copy(house.deployment, house.folder)):
        path.unlink(missing_ok=True)


def bring_back(*words: str, code: int = 0) -> dict[str, Any] | str:
    """Its facts, or what it says."""
    if code == 0:
        return said("bring-back", "--reason", "found cut off", *words)
    return refused("bring-back", "--reason", "found cut off", *words)


def thaw(house: House) -> None:
    if house.ledger().frozen:
        house.write("UNFREEZE", "for the next test")


def test_a_ledger_that_went_on_after_it_was_cut_off_gets_the_lost_entries_again(
    elsewhere: House, tmp_path: Path
) -> None:
    """Somebody went on with the older ledger before anybody looked: the lost entries follow on what is there now."""
    house, place = elsewhere, tmp_path / "far.git"
    thaw(house)
    read_ledger(house)
    early = house.ledger().tip
    set_to(house, place)
    done = approved(house)
    assert fired(house, done)[-2:] == RAN
    said("check")
    far = there(house, place)
    cut_off(house, early)
    house.write("FREEZE", "written on the older one")
    (one,) = said("check", code=1)["ledgers"]
    assert one["standing"] == "diverged"
    facts = bring_back()
    assert isinstance(facts, dict)
    assert (facts["same_commits"], facts["left_out"]) == (False, [])
    ledger = house.ledger()
    assert ledger.state(done.id).kind == "DONE"
    assert ledger.frozen
    assert ledger.restored is not None
    assert there(house, place) == far, "what the mirror has is not touched"
    assert CliRunner().invoke(cli, ["vault", "unfreeze", "--reason", "looked"]).exit_code == 0
    assert fired(house, done).count("STARTED") == 1
    assert (one := said("check", code=1)["ledgers"][0])["standing"] == "diverged", one
    objects.create_ref(place, f"refs/heads/was/{house.ops}", far or "")
    objects.delete_ref(place, f"refs/heads/ledger/{house.ops}")
    said("check")
    assert there(house, place) == house.ledger().tip


def test_what_no_host_of_the_vault_signed_comes_back_only_when_told(elsewhere: House, tmp_path: Path) -> None:
    """Who may write to the mirror could put entries there that never were on the ledger."""
    house, place = elsewhere, tmp_path / "far.git"
    thaw(house)
    read_ledger(house)
    early = house.ledger().tip
    set_to(house, place)
    house.write("FREEZE", "by nobody's key")
    read_ledger(house)
    said("check")
    cut_off(house, early)
    words = bring_back(code=7)
    assert "no host that the ledger names signed entry" in str(words)
    assert house.ledger().tip == early
    facts = bring_back("--unsigned")
    assert isinstance(facts, dict)
    assert facts["brought_back"] == 1
    assert "nothing is missing" in str(bring_back(code=2))


def test_only_an_admin_brings_it_back(elsewhere: House, tmp_path: Path) -> None:
    house, name, file = elsewhere, f"helper-{secrets.token_hex(3)}", tmp_path / "token"
    thaw(house)
    read_ledger(house)
    early = house.ledger().tip
    set_to(house, tmp_path / "far.git")
    assert "nothing is missing" in refused("bring-back", "--reason", "me")
    house.ask()
    read_ledger(house)
    said("check")
    cut_off(house, early)
    house.admin.create_user(name, email=f"{name}@example.invalid", password=secrets.token_urlsafe(16))
    house.admin.set_collaborator(house.ops, name, "write")
    file.write_text(house.admin.create_token(name, name="x", scopes=("write:repository", "read:user")))
    assert "as an admin" in refused("bring-back", "--reason", "me", "--token-file", str(file))
    assert house.ledger().tip == early
    facts = bring_back()
    assert isinstance(facts, dict)
    assert facts["by"] == "founder"
