"""``factory secret`` on a forge: what it proposes, what counts once it is approved, and what doctor says of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from pyrage import x25519

from factory.app import vault_secrets
from factory.app.deployment import Deployment
from factory.app.doctor import secrets as doctor
from factory.app.doctor.finding import State
from factory.app.opsrepo import factory_signature, mirror
from factory.app.people import as_person
from factory.app.vault_secrets import Secrets, drop_old_keys, listed, open_secrets
from factory.errors import FactoryError, UsageError
from factory.forge.values import RepoName, ReviewState
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, push
from factory.vault.keys import agekey, sshsig
from factory.vault.keys.opening import Opener
from tests.integration.cli.person import Person, Ran
from tests.unit.vault.keys.shelves import order

OPS, PROJECT = RepoName("founder", "hello-ops"), RepoName("founder", "hello")
VALUE = "correct horse battery staple"
ANN = str(x25519.Identity.generate().to_public())
POLICY = f"""v = 1
version = 1
admins = [1]
approvers = []
[formulas."release@1"]
digest = "{"0" * 64}"
tier = "high"
secrets = ["TOKEN"]
"""


@pytest.fixture(autouse=True)
def clean(settled: Person) -> None:
    """The ops repo as it was set up, and a policy; the key of the host stays, and none is to come."""
    deployment = Deployment.open(settled.home)
    for key in (deployment.state / "vault").glob("host_key.new*"):
        key.unlink()
    write(deployment, {"vault/policy.toml": POLICY.encode()}, fresh=True)
    for left in (deployment.state / "vault" / "versions").glob("*"):
        left.unlink()


def write(deployment: Deployment, files: Mapping[str, bytes | None], *, fresh: bool = False) -> str:
    """Main with these files, as if they had been approved. ``fresh``: no secrets left from the test before."""
    copy = mirror(deployment, OPS, refresh=True)
    tip = objects.read_ref(copy, "refs/heads/main")
    assert tip is not None
    changes = dict(files)
    if fresh and objects.find_entry(copy, tip, "vault/secrets") is not None:
        changes |= {entry.path: None for entry in objects.list_tree(copy, tip, "vault/secrets")}
    me = factory_signature()
    commit = objects.build_commit(copy, parent=tip, changes=changes, message="x", author=me, committer=me)
    repo = next((deployment.state / "forge").rglob("hello-ops.git"))
    push(copy, Remote(str(repo)), [RefUpdate("refs/heads/main", commit, tip)], atomic=True)
    mirror(deployment, OPS, refresh=True)
    return commit


def landed(settled: Person, ran: Ran) -> dict[str, object]:
    """The command's pull request approved by the founder and merged by factory-bot; the command's facts."""
    facts = ran.facts()
    with closing(Deployment.open(settled.home)) as deployment:
        forge = deployment.forge("factory-bot")
        pull = forge.pull(OPS, facts["number"])
        assert pull.author.login == "factory-bot"
        assert "Requested-by: founder" in pull.body
        assert VALUE not in pull.body + pull.title + ran.out + ran.err
        with as_person(deployment, "founder") as person:
            person.review(OPS, pull.number, state=ReviewState.APPROVED, body="", commit=pull.head_sha)
        forge.merge(OPS, pull.number, head=pull.head_sha, title="Merge", message="")
        mirror(deployment, OPS, refresh=True)
    return facts


def value(settled: Person, name: str = "TOKEN") -> bytes:
    deployment = Deployment.open(settled.home)
    copy = mirror(deployment, OPS, refresh=True)
    tip = objects.read_ref(copy, "refs/heads/main")
    return Opener(deployment.state, copy).secret(name, order("release@1", ("TOKEN", "OTHER"), tip or ""))


def told(settled: Person) -> dict[str, tuple[State, str, str | None]]:
    with closing(Deployment.open(settled.home)) as deployment:
        found = list(doctor.look(deployment, PROJECT))
    return {one.name: (one.state, one.detail, one.hint) for one in found}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "value"
    path.write_text(VALUE + "\n")
    return path


def test_a_secret_from_setting_to_removing(settled: Person, file: Path) -> None:
    before = settled.run("secret", "list", "--json", code=1).facts()
    assert [(row["name"], row["code"]) for row in before["secrets"]] == [("TOKEN", "secret-missing")]
    facts = landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    assert facts["secrets"] == [
        {"name": "TOKEN", "version": 1, "formulas": ["release@1"],
        "readers": [f"{Deployment.open(settled.home).host.host} (dispatcher)"]}
    ]  # fmt: skip
    assert value(settled) == VALUE.encode(), "the policy's formulas have it, and the line end is gone"
    (row,) = settled.run("secret", "list", "--json").facts()["secrets"]
    assert (row["version"], row["readable_here"], row["used"], row["policy"]) == (1, True, True, ["release@1"])
    assert VALUE not in settled.run("secret", "list").out

    file.write_text("another value")
    assert landed(settled, settled.run("secret", "rotate", "TOKEN", "--file", file,
    "--json"))["secrets"][0]["version"] == 2  # type: ignore[index]
    assert value(settled) == b"another value"

    facts = landed(settled, settled.run("secret", "remove", "TOKEN", "--json"))
    assert any("release@1 may still ask for it" in note for note in facts["notes"])  # type: ignore[attr-defined]
    assert settled.run("secret", "list", "--json", code=1).facts()["secrets"][0]["code"] == "secret-missing"


def test_a_newer_wish_closes_the_older(settled: Person, file: Path) -> None:
    first = settled.run("secret", "set", "TOKEN", "--file", file, "--json").facts()
    second = settled.run("secret", "set", "TOKEN", "--file", file, "--json").facts()
    with closing(Deployment.open(settled.home)) as deployment:
        forge = deployment.forge("factory-bot")
        assert [forge.pull(OPS, facts["number"]).state for facts in (first, second)] == ["closed", "open"]


def test_a_recovery_key_and_a_new_key_of_the_host(settled: Person, file: Path) -> None:
    landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    state, detail, hint = told(settled)["recovery"]
    assert (state, "only this host" in detail) == (State.NOTE, True)
    assert "--recovery" in str(hint)
    landed(settled, settled.run("secret", "rotate", "--all", "--recovery", f"ann={ANN}", "--json"))
    assert "recovery" not in told(settled)
    assert "ann (recovery)" in told(settled)["secret TOKEN"][1]

    facts = landed(settled, settled.run("secret", "rotate", "--key", "--json"))
    assert settled.run("secret", "list", "--json").facts()["joins_with"] == "", "it signs with the one before"
    assert any("drop-old" in note for note in facts["notes"])  # type: ignore[attr-defined]
    assert told(settled)["old age key"][0] is State.NOTE
    assert settled.run("secret", "rotate", "--drop-old", "--json").facts()["dropped"]
    assert value(settled) == VALUE.encode()
    assert "old age key" not in told(settled)
    assert [(state, name) for name, (state, _, _) in told(settled).items() if state is State.PROBLEM] == []


def test_a_key_that_another_project_needs_is_kept(
    settled: Person, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host has one age key for all its projects."""
    landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    with closing(Deployment.open(settled.home)) as deployment:
        before = open_secrets(deployment)
        landed(settled, settled.run("secret", "rotate", "--key", "--json"))
        here = open_secrets(deployment)
        other = RepoName("founder", "other")
        monkeypatch.setattr(Deployment, "projects", lambda self: ((PROJECT, OPS), (other, RepoName("founder", "o"))))
        monkeypatch.setattr(vault_secrets, "open_secrets", lambda *given, project: replace(before, project=other))
        assert drop_old_keys(here)["dropped"] == []
        assert "old age key" not in noted(here), "doctor does not call old what another project needs"
        blind = replace(before.shelf.secrets[0], label=None)
        unread = replace(before.place, shelf=replace(before.shelf, secrets=(blind,)))
        monkeypatch.setattr(
            vault_secrets, "open_secrets", lambda *given, project: replace(before, project=other, place=unread)
        )
        with pytest.raises(UsageError, match="which key TOKEN of founder/other needs"):
            drop_old_keys(here)
        assert "old age key" not in noted(here)
        monkeypatch.undo()
        assert "old age key" in noted(here)
        assert drop_old_keys(here)["dropped"]


def noted(secrets: Secrets) -> set[str]:
    """What doctor has a note about, of the host's keys."""
    found = doctor._keys(secrets.deployment, secrets, listed(secrets))
    return {one.name for one in found if one.state is State.NOTE}


def test_another_host_joins_and_its_key_is_revoked(settled: Person, file: Path, tmp_path: Path) -> None:
    """The words for people: what a host says of itself, what is proposed, what is listed."""
    ssh, own = sshsig.make_key(tmp_path / "key", "h2"), Deployment.open(settled.home).host.host
    assert settled.run("secret", "list", "--json", code=1).facts()["joins_with"] == ""
    facts = landed(settled, settled.run("secret", "rotate", "--all", "--host", f"h2={ANN} {ssh}", "--json"))
    listed = settled.run("secret", "list", "--json", code=1).facts()
    assert (sorted(listed["dispatchers"]), listed["signing"]["h2"]) == (sorted(["h2", own]), ssh)
    assert list(listed["signing_now"]) == [own], "it counts from a TRUST on"
    assert f"{own} signs the ledger with {listed['own_signing']}" in settled.run("secret", "list", code=1).out
    assert told(settled)["host key"][0] is State.OK
    with closing(Deployment.open(settled.home)) as deployment:
        assert f"from now on h2: `{ssh}`" in deployment.forge("factory-bot").pull(OPS, int(str(facts["number"]))).body
    landed(settled, settled.run("secret", "rotate", "--all", "--without", "h2", "--json"))
    listed = settled.run("secret", "list", "--json", code=1).facts()
    assert (list(listed["dispatchers"]), list(listed["signing"])) == ([own], [own])


def test_a_host_that_has_not_joined_says_how(settled: Person, file: Path, tmp_path: Path) -> None:
    landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    key = settled.home / "state" / "vault" / "host_key"
    text, public = key.read_text(), key.with_name("host_key.pub").read_text()
    other = sshsig.make_key(tmp_path / "key", "h1")
    try:
        key.write_text((tmp_path / "key").read_text())
        state, words, hint = told(settled)["host key"]
        assert (state, other in words, "factory vault audit" in words) == (State.PROBLEM, True, True)
        assert str(hint) == settled.run("secret", "list", "--json").facts()["joins_with"]
        assert other in str(hint)
        shown = settled.run("secret", "list").out
        assert f"this host has not joined; on one that can read the secrets: {hint}" in shown
        landed(settled, settled.run("secret", "rotate", "--all", "--json"))
        state, words, _ = told(settled)["host key"]
        assert (state, "counts once" in words) == (State.NOTE, True)
    finally:
        key.write_text(text)
        key.with_name("host_key.pub").write_text(public)


def test_stdin_and_a_prompt_that_shows_nothing(settled: Person, file: Path) -> None:
    words = [sys.executable, "-m", "factory", "secret", "set", "TOKEN"]
    done = subprocess.run(words, input=VALUE, env=settled.environment, capture_output=True, text=True, check=True,
    timeout=60)
    assert "version 1" in done.stdout
    assert VALUE not in done.stdout + done.stderr
    empty = subprocess.run(words, input="", env=settled.environment, capture_output=True, text=True, check=False,
    timeout=60)
    assert (empty.returncode, "nothing was given" in empty.stderr) == (2, True)

    shown = settled.asked("secret", "set", "TOKEN", answers={"value of TOKEN": VALUE, "Repeat": VALUE})
    assert VALUE not in shown
    assert "proposed: " in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("set", "token"), "a name is"),
        (("set", "OTHER"), "no formula is named"),
        (("set", "TOKEN", "--for", "release"), "no formula's name and version"),
        (("rotate", "OTHER"), "there is none with a label"),
        (("remove", "OTHER"), "there is none of that name"),
        (("rotate",), "say one of"),
        (("rotate", "TOKEN", "--all"), "say one of"),
        (("rotate", "--drop-old", "--recovery", f"ann={ANN}"), "say one of"),
        (("rotate", "--all", "--recovery", "ann"), "no public key"),
        (("rotate", "--all", "--host", "h2"), "no public key"),
        (("rotate", "TOKEN", "--host", f"h2={ANN}"), "say one of"),
    ],
)
def test_what_cannot_be_done_is_said_with_what_to_do(settled: Person, file: Path, words: tuple[str, ...],
said: str) -> None:
    source = ("--file", file) if words[:2] not in {("rotate", "--all"),
    ("rotate", "--drop-old")} and words[0] != "remove" else ()
    ran = settled.run("secret", *words, *(source if len(words) > 1 else ()), code=2)
    assert said in ran.err
    assert "hint:" in ran.err


def test_a_value_that_is_not_there(settled: Person, tmp_path: Path) -> None:
    assert "No such file" in settled.run("secret", "set", "TOKEN", "--file", tmp_path / "none", code=2).err


def test_doctor_says_who_can_decrypt_what(settled: Person, file: Path) -> None:
    assert told(settled)["secret TOKEN"][0] is State.PROBLEM, "named by the policy, not there"
    landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    landed(settled, settled.run("secret", "set", "OTHER", "--for", "publish-site@1", "--file", file, "--json"))
    found = told(settled)
    assert (found["secret TOKEN"][0], "this host: yes" in found["secret TOKEN"][1]) == (State.OK, True)
    assert (found["secret OTHER"][0], "no formula of the policy uses it" in found["secret OTHER"][1]) == (State.NOTE,
    True)
    assert found["host key"][0] is State.OK

    key = agekey.path_of(settled.home / "state")
    text = key.read_text()
    try:
        key.unlink()
        assert told(settled)["age key"][0] is State.PROBLEM
        agekey.make(settled.home / "state")
        found = told(settled)
        assert (found["secret TOKEN"][0], "not encrypted to this host" in found["secret TOKEN"][1]) == (State.PROBLEM,
        True)
        assert settled.run("secret", "list", code=1).out.count("not encrypted to this host's key") == 2
        with pytest.raises(FactoryError):
            value(settled)
    finally:
        key.write_text(text)


def test_doctor_sees_what_was_tampered_with(settled: Person, file: Path) -> None:
    deployment = Deployment.open(settled.home)
    landed(settled, settled.run("secret", "set", "TOKEN", "--file", file, "--json"))
    landed(settled, settled.run("secret", "set", "OTHER", "--for", "release@1", "--file", file, "--json"))
    copy = mirror(deployment, OPS, refresh=True)
    other = objects.read_file(copy, "refs/heads/main", "vault/secrets/OTHER.age")
    write(deployment, {"vault/secrets/TOKEN.age": other})
    assert "its file is not the one that its label names" in told(settled)["secret TOKEN"][1]
    with pytest.raises(FactoryError, match="its label names"):
        value(settled)
    write(deployment, {"vault/secrets/recipients.toml": b"v = 1\n[dispatchers]\nx = 'age1'\n"})
    assert told(settled)["recipients"][0] is State.PROBLEM
    assert "recipients.toml" in settled.run("secret", "rotate", "--key", code=2).err


def test_doctor_says_whether_signatures_can_be_given(settled: Person, tmp_path: Path) -> None:
    assert (told(settled)["signatures"][0],
    "require_signature" in str(told(settled)["signatures"][2])) == (State.NOTE, True)
    deployment = Deployment.open(settled.home)
    signed = POLICY.replace("approvers = []", 'approvers = []\nrequire_signature = ["high"]')
    write(deployment, {"vault/policy.toml": signed.encode()})
    assert told(settled)["signatures"][0] is State.PROBLEM
    allowed = deployment.state / "vault" / "allowed_signers"
    host = (deployment.state / "vault" / "host_key.pub").read_text().strip()
    allowed.write_text(f"1 {host}\n* {host}\n")
    try:
        assert told(settled)["signatures"][0] is State.OK
        assert told(settled)["allowed_signers"][0] is State.PROBLEM
    finally:
        allowed.unlink()
