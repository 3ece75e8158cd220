"""Daemon and vault as two users of one machine, by the commands of docs/how-to/two-users.md: real users, processes,
homes and an embedded forge. Root makes the users and does nothing else."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from factory.app.people import SCOPES
from factory.app.setup import admin_of
from factory.app.units import WHAT
from factory.forge.values import RepoName
from tests.integration.cli.person import until
from tests.integration.users.machine import Machine, User, deployment_of, machine
from tests.integration.vault.attacks.register import Seen, rule

pytestmark = [
    pytest.mark.needs_bwrap,
    pytest.mark.needs_root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the suite runs as an ordinary user"),
]

ONE = "it happens: as one user each of them works"


@pytest.fixture(scope="module")
def apart() -> Iterator[Machine]:
    """Moved out, and both sides up."""
    with machine() as made:
        made.daemon.run("up", "--detach")
        until(lambda: (made.daemon.home / "state" / "vault" / made.folder / "ledger.json").exists())
        refused = made.daemon.run("vault", "move-out", code=7)
        assert "the factory runs in" in refused.err
        assert "factory down" in refused.err
        made.daemon.run("down")
        before = keys(made.daemon.home)
        assert {"tokens/dispatcher-bot", "tokens/release-bot", "vault/age.key", "vault/host_key",
                f"vault/{made.folder}/ledger.json"} <= before.keys()  # fmt: skip
        made.split()
        assert {name: data for name, data in keys(made.vault.home).items() if name in before} == before
        made.daemon.run("up", "--detach")
        made.vault.run("up", "--detach")
        yield made


def keys(home: Path) -> dict[str, bytes]:
    """What is to be in one home only."""
    state = home / "state"
    files = [state / "tokens" / "dispatcher-bot", state / "tokens" / "release-bot"]
    files += [path for path in (state / "vault").rglob("*")
              if path.is_file() and path.name in ("age.key", "host_key", "ledger.json")]  # fmt: skip
    return {path.relative_to(state).as_posix(): path.read_bytes() for path in files if path.exists()}


def contains(folder: Path, data: bytes) -> list[str]:
    """Files below a folder in which these bytes stand."""
    found = []
    for place, _, names in os.walk(folder):  # what goes away meanwhile (the forge is at work) is passed over
        for path in (Path(place) / name for name in names):
            with suppress(FileNotFoundError):
                if path.is_file() and not path.is_symlink() and data in path.read_bytes():
                    found.append(str(path))
    return found


def test_each_side_runs_its_own_processes_and_no_key_is_left_behind(apart: Machine) -> None:
    daemon, vault = apart.daemon, apart.vault
    for user, names in ((daemon, ("daemon", "gateway", "forge")), (vault, ("keeper", "dispatcher", "sentinel"))):
        told = {one["name"]: one["pid"] for one in user.run("status", "--json").facts()["services"]}
        assert told.keys() == set(names)
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in told.values()} == {user.uid}
    for name, data in keys(vault.home).items():
        secret = data.splitlines()[-2 if name == "vault/host_key" else -1]
        assert contains(daemon.home, secret) == [], name
    assert keys(daemon.home) == {}
    assert {path.lstat().st_uid for path in vault.home.rglob("*")} == {vault.uid}
    assert (vault.home.stat().st_mode & 0o777, (vault.home / "state").stat().st_mode & 0o777) == (0o700, 0o700)


def test_an_action_is_asked_for_on_one_side_and_started_on_the_other(apart: Machine) -> None:
    words = ("vault", "request", "rent-a-human", "what=Call the printer", "why=nobody else can", "steps=dial")
    id = apart.daemon.run(*words, "--json").facts()["id"]

    def state() -> str:
        told = apart.daemon.run("vault", "show", id, "--json").facts()
        return " ".join(entry["kind"] for entry in told["ledger"])

    until(lambda: "STARTED" in state(), 60)
    assert deployment_of(apart.daemon).host.runs == "daemon"
    by = {entry["by"] for entry in apart.daemon.run("vault", "show", id, "--json").facts()["ledger"]}
    assert all(name.startswith(deployment_of(apart.vault).host.host) for name in by)
    assert apart.vault.run("vault", "show", id, "--json").facts()["id"] == id
    audit = apart.daemon.run("vault", "audit", code=None)
    assert audit.code == 0, audit.out + audit.err


def test_doctor_and_status_say_who_is_who(apart: Machine) -> None:
    here, there = apart.daemon.findings(), apart.vault.findings()
    told = here["host: separation"]
    assert (told["state"], f"a dispatcher runs as {apart.vault.name} (process" in told["detail"]) == ("ok", True)
    assert "only signatures hold against that" in here["host: who has the forge"]["detail"]
    told = there["host: separation"]
    assert (told["state"], told["detail"].endswith(f"no daemon is {apart.vault.name}")) == ("ok", True)
    # As the printed unit has it: no new privileges, nothing in the bounding set. Bubblewrap starts all the same.
    for found in (here, there):
        assert found["machine: sandbox"]["state"] == "ok", found["machine: sandbox"]
        assert "host: left behind" not in found
    assert [name for name, one in there.items() if one["state"] == "problem"] == []
    assert "tokens work" in here["forge: tokens"]["detail"]
    assert "it runs as another user" in apart.daemon.run("status").out
    assert "the vault is up since" in apart.vault.run("status").out


def test_each_side_says_where_to_turn_for_what_is_on_the_other(apart: Machine) -> None:
    for user, words in (
        (apart.daemon, ("vault", "fire", "x")), (apart.daemon, ("secret", "set", "TOKEN", "--for", "release@1")),
        (apart.daemon, ("secret", "rotate", "--all")), (apart.vault, ("secret", "propose")),
        (apart.daemon, ("secret", "rotate", "--drop-old")), (apart.daemon, ("vault", "freeze", "--why", "x")),
    ):  # fmt: skip
        assert "two-users.md" in user.run(*words, code=2, given=b"x").err
    again = apart.daemon.run("init", apart.daemon.folder / "hello", code=2)
    assert "bring the vault back" in again.err
    assert not (apart.daemon.home / "state" / "vault" / "age.key").exists(), "nothing makes a second key there"


def test_it_is_frozen_where_the_vault_is_and_both_sides_say_so(apart: Machine) -> None:
    """The person's token is all that tells there who says it; the forge is the other user's."""
    with closing(deployment_of(apart.daemon)) as deployment, admin_of(deployment.host, None) as admin:
        token = admin.create_token("founder", name="brake", scopes=SCOPES)
    assert "takes founder's own token" in apart.vault.run("vault", "freeze", "--why", "x", code=5).err
    assert apart.vault.run("vault", "list", "--json").facts()["frozen"] is None, "nobody said that"
    file = apart.vault.folder / "token"
    file.write_text(token)
    os.chown(file, apart.vault.uid, -1)
    said = ("--token-file", str(file))
    ran = apart.vault.run("vault", "freeze", "--why", "a key has leaked", *said)
    assert "frozen by founder's word" in ran.out
    for user in (apart.vault, apart.daemon):
        assert user.run("vault", "list", "--json").facts()["frozen"] == "founder says: a key has leaked"
    apart.vault.run("vault", "unfreeze", "--reason", "it is changed", *said)
    assert apart.daemon.run("vault", "list", "--json").facts()["frozen"] is None
    file.unlink()


def test_a_secret_is_made_where_the_keys_are_and_proposed_where_the_account_is(apart: Machine) -> None:
    offer = apart.vault.run("secret", "set", "DEPLOY", "--for", "release@1", given=b"the value itself\n")
    assert "factory.secret-offer/v1" in offer.out
    assert "the value itself" not in offer.out
    proposed = apart.daemon.run("secret", "propose", "--json", given=offer.out.encode()).facts()
    assert proposed["number"]
    with closing(deployment_of(apart.daemon)) as deployment:
        pull = deployment.forge("factory-bot").pull(RepoName.parse(apart.ops), proposed["number"])
    age = apart.vault.run("secret", "list", "--json").facts()["host_keys"][0]
    assert age in pull.body
    assert contains(apart.daemon.home, b"the value itself") == []
    told = json.loads(offer.out)
    told["factory.secret-offer/v1"]["files"][0]["path"] = "vault/policy.toml"
    refused = apart.daemon.run("secret", "propose", code=2, given=json.dumps(told).encode())
    assert "is no file of a secret" in refused.err


@pytest.mark.parametrize("side", ["daemon", "vault"])
def test_the_printed_unit_is_one_that_systemd_takes(apart: Machine, side: str, tmp_path: Path) -> None:
    user: User = getattr(apart, side)
    text = user.run("up", "--print-unit").out
    assert f"User={user.name}\n" in text
    assert f"Description={WHAT[side]}\n" in text
    assert f'ReadWritePaths="{user.home}"' in text
    assert ("KillMode=process" in text) == (side == "daemon"), "sessions outlive a daemon, runs no dispatcher"
    said = [line for line in text.splitlines() if line and line[0] not in "#["]
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+=.*", line) for line in said)
    assert text.count("NoNewPrivileges=yes\nCapabilityBoundingSet=\n") == 1
    if shutil.which("systemd-analyze") is not None:
        # That a user is there is looked up on this machine.
        text = text.replace(f"User={user.name}\n", "User=daemon\n").replace(f"Group={user.uid}\n", "Group=daemon\n")
        unit = tmp_path / f"factory-{side}.service"
        unit.write_text(text, encoding="utf-8")
        words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_vaults_side_copies_the_ledger_as_it_grows(apart: Machine) -> None:
    far = apart.vault.folder / "far.git"
    refused = apart.daemon.run("vault", "mirror", "set", apart.daemon.folder / "near.git", code=5)
    assert "two-users.md" in refused.err
    apart.vault.run("vault", "mirror", "set", far)
    try:
        words = ("vault", "request", "rent-a-human", "what=Water the plants", "why=nobody else can", "steps=pour")
        id = apart.daemon.run(*words, "--json").facts()["id"]
        mark = apart.vault.home / "state" / "vault" / apart.folder / "ledger.json"
        copy = far / "refs" / "heads" / "ledger" / apart.ops
        until(lambda: apart.daemon.run("vault", "show", id, "--json").facts()["ledger"], 60)
        until(lambda: json.loads(mark.read_bytes())["tip"] == copy.read_text(encoding="ascii").strip(), 60)
        (told,) = apart.vault.run("status", "--json").facts()["ledger_mirrors"]
        assert (told["standing"], told["alarm"]) == ("same", "")
        assert apart.daemon.run("status", "--json").facts()["ledger_mirrors"] == []
    finally:
        apart.vault.run("vault", "mirror", "unset")


def test_brought_back_it_is_one_factory_again_and_moves_out_again(apart: Machine) -> None:
    daemon, vault = apart.daemon, apart.vault
    daemon.run("down")
    vault.run("down")
    before = keys(vault.home)
    number = daemon.run("vault", "move-in", given=vault.run("vault", "move-out").out.encode()).out.strip()
    vault.run("vault", "move-out", "--received", number)
    try:
        assert (keys(daemon.home), keys(vault.home)) == (before, {})
        assert not (vault.home / "state" / "tokens" / "sentinel-bot").exists()
        assert "docs/how-to/two-users.md" in vault.run("up", "--detach", code=2).err
        assert "nothing runs here" in vault.run("status").out
        daemon.run("up", "--detach")
        told = daemon.findings()
        assert "guards against bugs and against sessions" in told["host: separation"]["detail"]
        assert {told[f"host: {name}"]["state"] for name in ("daemon", "dispatcher", "sentinel")} == {"ok"}
        daemon.run("down")
    finally:
        apart.split()
        daemon.run("up", "--detach")
        vault.run("up", "--detach")


def test_started_as_the_unit_starts_it_it_is_found_and_stopped_as_any(apart: Machine) -> None:
    user = apart.vault
    user.run("down")
    with subprocess.Popen(
        user.command("-m", "factory", "up", "--foreground"), env=user.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/",
    ) as going:  # fmt: skip
        until(lambda: user.pid("keeper") == going.pid and user.pid("dispatcher"))
        assert user.run("status").out.startswith("the vault is up since")
        user.run("down")
        assert going.wait(20) == 0
    user.run("up", "--detach")


@rule("With a home of its own, owned by another user, the vault is out of reach of whoever has taken over the daemon: "
      "its tokens, keys and mark cannot be read, its processes not signalled, traced or looked into",
      vault="the kernel refuses each", off=ONE,
      check="two users of the machine; off: the same is tried as the vault's own user, which is what one user for both "
      "comes to")  # fmt: skip
def test_rule_who_has_the_daemons_user_does_not_reach_the_vault(apart: Machine) -> Seen:
    pids = [pid for name in ("keeper", "dispatcher", "sentinel") if (pid := apart.vault.pid(name)) is not None]
    assert len(pids) == 3
    found = apart.attack(apart.daemon, pids)
    assert not any(found.values()), found
    same = apart.attack(apart.vault, pids)
    assert all(same.values()), same
    assert all(apart.vault.pid(name) in pids for name in ("keeper", "dispatcher", "sentinel")), "none was ended by it"
    return Seen("-", "the kernel refuses each", ONE)
