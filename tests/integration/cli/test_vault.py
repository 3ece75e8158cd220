"""``factory vault`` on a forge: asked for, shown, approved or rejected, and what the daemon does about it then."""

from __future__ import annotations

import json
import secrets
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.app.daemon import ticker
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror, ops_edit
from factory.app.places import vault_folder
from factory.app.setup import admin_of
from factory.config.surroundings import inherited
from factory.daemon import vault_view
from factory.daemon.executor import LocalExecutor
from factory.daemon.meter import Cost, Meter
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.hardened import Git
from factory.vault.chain import Chain
from factory.vault.ledger import ALL, Entry
from tests.integration.cli.person import Person

PROJECT, OPS = RepoName("founder", "hello"), RepoName("founder", "hello-ops")
NEEDS = "--reason", "because", "--json"


@contextmanager
def opened(person: Person) -> Iterator[Deployment]:
    deployment = Deployment.open(person.home)
    try:
        yield deployment
    finally:
        deployment.close()


def tick(person: Person, times: int = 1) -> list[str]:
    """So many turns of a daemon; what it said."""
    said: list[str] = []
    with opened(person) as deployment:
        executor = LocalExecutor(
            person.home, [sys.executable, "-m", "factory", "session", "exec"], inherited(person.home)
        )
        turning = ticker(deployment, PROJECT, OPS, executor, Meter(lambda: Cost(0, 0, 0)), said.append)
        for _ in range(times):
            turning.tick(datetime.now(UTC))
    return said


@pytest.fixture(autouse=True)
def tidy(settled: Person, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No session is started by the ticks (the vault is stopped by a pause of everything only), nothing waits from the
    test before, and no dispatcher that does not run is waited for."""
    monkeypatch.setattr(vault_view, "TAKEN_UP", timedelta(0))
    settled.run("pause", "project")
    yield
    with opened(settled) as deployment:
        forge = deployment.forge("vault-bot")
        for pull in forge.pulls(OPS):
            forge.edit_pull(OPS, pull.number, state="closed")


def main_of(person: Person, path: str, branch: str = "main") -> bytes | None:
    with opened(person) as deployment:
        return objects.read_file(mirror(deployment, OPS, refresh=True), f"refs/heads/{branch}", path)


def release(person: Person, tag: str, *words: str) -> dict[str, Any]:
    return person.run("vault", "request", "release", f"tag={tag}", "commit=main", *NEEDS, *words).facts()


def test_a_request_carries_computed_facts_and_who_may_say_yes(settled: Person) -> None:
    facts = release(settled, "v1.0.0", "--unblocks", "founder/hello#1")
    assert facts["state"] == "waiting"
    assert facts["stands"] == "waits for the approval of founder"
    assert facts["facts"]["tier"] == "high"
    assert facts["facts"]["params"]["tag"] == "v1.0.0"
    assert len(facts["facts"]["params"]["commit"]) == 40
    assert facts["facts"]["frees"] == ["founder/hello#1"]
    with opened(settled) as deployment:
        pull = deployment.forge("factory-bot").pull(OPS, facts["pull"]["number"])
        (file,) = deployment.forge("factory-bot").pull_files(OPS, pull.number)
    assert (pull.author.login, pull.base_ref, pull.head_ref) == ("vault-bot", "main", f"vault/{facts['id']}")
    assert (file.path, file.status) == (f"vault/actions/{facts['id']}.toml", "added")
    head, _, words = pull.body.partition("Untrusted: nobody checked it.")
    assert "- **Approves** founder" in head
    assert "because" not in head
    assert "`because`" in words


def test_asking_again_while_it_waits_finds_it(settled: Person) -> None:
    first, second = release(settled, "v1.0.1"), release(settled, "v1.0.1")
    assert (first["new"], second["new"], first["id"]) == (True, False, second["id"])
    assert first["pull"]["number"] == second["pull"]["number"]


def test_a_part_of_the_id_is_enough_where_only_one_has_it(settled: Person) -> None:
    one, two = release(settled, "v1.1.0"), release(settled, "v1.1.1")
    shown = settled.run("vault", "show", one["id"][-8:], "--json").facts()
    assert shown["id"] == one["id"]
    ran = settled.run("vault", "show", "release", code=2)
    assert "actions have that in their name" in ran.err
    assert settled.run("vault", "show", "nothing-of-that", code=2).err == (
        "error: looking for the vault action 'nothing-of-that' of founder/hello: there is no such action\n"
        "hint:  factory vault list\n"
    )
    listed = settled.run("vault", "list", "--json").facts()["actions"]
    assert {one["id"], two["id"]} <= {row["id"] for row in listed}
    assert {row["state"] for row in listed if row["id"] == one["id"]} == {"waiting"}


WRONG = {
    "vault request release": (5, """error: asking for release: the vault does not take it:
  params.tag: release@1 needs it
  params.commit: release@1 needs it
hint:  factory vault request release tag=... commit=... [title=...] [notes=...]
"""),
    "vault request release tag": (2, """error: asking for release: 'tag' is not KEY=VALUE
hint:  factory formula show release
"""),
    "vault request fly to=moon": (5, """error: asking for fly: the vault does not take it:
  formula: the vault has no fly (it has FORMULAS)
hint:  `factory formula list` shows what there is
"""),
    "vault approve a b": (5, """error: approving 2 requests at once: each is read and approved by itself
hint:  factory vault approve a
"""),
    "vault settle x": (2, None),
    "vault done nothing": (2, """error: finishing nothing: there is no vault/pending/nothing.md in founder/hello-ops
hint:  nothing waits for a person: factory vault list
"""),
    "vault simulate --policy /nowhere": (2, """error: reading the policy /nowhere: No such file or directory
"""),
    "vault check /nowhere": (2, """error: reading the action from /nowhere: No such file or directory
"""),
}  # fmt: skip


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_is_said_in_words(settled: Person, words: str) -> None:
    code, screen = WRONG[words]
    ran = settled.run(*shlex.split(words), code=code)
    if screen is not None:
        shown = ran.err
        if "FORMULAS" in screen:
            start = shown.index("(it has ") + len("(it has ")
            shown = shown[:start] + "FORMULAS" + shown[shown.index(")", start) :]
        assert shown == screen


def test_an_approved_one_is_merged_by_the_vault_s_account_at_that_head(settled: Person) -> None:
    facts = release(settled, "v2.0.0")
    ran = settled.run("vault", "approve", facts["id"], "--yes", "--json")
    assert "waits" not in ran.out
    assert "what the asker says (nobody checked it):" in ran.err
    assert ran.facts()["verdict"] == "APPROVED"
    assert ran.facts()["head"] == facts["pull"]["head"]
    tick(settled, 2)
    with opened(settled) as deployment:
        pull = deployment.forge("factory-bot").pull(OPS, facts["pull"]["number"])
        commit = objects.commit_info(mirror(deployment, OPS, refresh=True), pull.merge_commit or "")
        heads = deployment.forge("factory-bot").ls_refs(OPS, ("refs/heads/vault/",))
    assert pull.merged
    assert pull.merged_by is not None
    assert pull.merged_by.login == "vault-bot"
    assert commit.parents[1] == facts["pull"]["head"]
    assert f"refs/heads/vault/{facts['id']}" not in heads
    assert main_of(settled, f"vault/actions/{facts['id']}.toml") is not None
    assert settled.run("vault", "approve", facts["id"], "--yes", code=2).err.startswith(
        f"error: deciding about {facts['id']}: it does not wait: it is merged; the dispatcher has not looked"
    )


def test_without_an_approval_it_waits_and_the_dashboard_says_for_whom(settled: Person) -> None:
    facts = release(settled, "v2.1.0")
    tick(settled, 2)
    shown = settled.run("vault", "show", facts["id"], "--json").facts()
    assert shown["state"] == "waiting"
    dashboard = (main_of(settled, "README.md") or b"").decode()
    assert "release＠1 on release:v2.1.0 (high) waits for founder" in dashboard
    status = json.loads(settled.run("status", "--json").out)["factory.status/v1"]
    told = [need["title"] for project in status["projects"] for need in project["needs_you"]]
    assert "release@1 on release:v2.1.0 (high) waits for founder" in told


def test_a_rejection_closes_it_with_its_reason(settled: Person) -> None:
    facts = release(settled, "v3.0.0")
    settled.run("vault", "reject", facts["id"], "--reason", "not on a Friday")
    tick(settled, 2)
    shown = settled.run("vault", "show", facts["id"], "--json").facts()
    assert (shown["state"], shown["stands"]) == ("closed", "was closed without a merge")
    rejected = (main_of(settled, f"vault/rejected/{facts['id']}.toml") or b"").decode()
    assert 'state = "rejected"\n' in rejected
    again = release(settled, "v3.0.0")
    assert again["new"]
    assert again["id"] != facts["id"]


def test_a_low_one_needs_nobody_and_goes_to_auto(settled: Person) -> None:
    ran = settled.run("vault", "request", "rent-a-human", "what=Buy a domain", "why=It has no name", "steps=Pay",
                      "--json")  # fmt: skip
    facts = ran.facts()
    assert facts["facts"]["tier"] == "low"
    assert facts["stands"] == "is merged with the next tick: a low action needs nobody"
    refused = settled.run("vault", "approve", facts["id"], "--yes", code=5)
    assert "a low action needs nobody's approval" in refused.err
    tick(settled, 2)
    assert main_of(settled, f"vault/actions/{facts['id']}.toml", "auto") is not None
    assert main_of(settled, f"vault/actions/{facts['id']}.toml") is None


def test_somebody_who_is_not_listed_is_told_so(settled: Person, tmp_path: Path) -> None:
    facts = release(settled, "v4.0.0")
    with opened(settled) as deployment, admin_of(deployment.host, None) as admin:
        admin.create_user("colleague", email="colleague@example.test", password="aA1-colleague-secret")
        token = tmp_path / "token"
        token.write_text(admin.create_token("colleague", name="t", scopes=("write:repository", "read:user")))
    ran = settled.run("vault", "approve", facts["id"], "--yes", "--token-file", token, code=5)
    assert "the policy in force does not list account" in ran.err
    assert "hint:  it lists founder\n" in ran.err


def test_what_a_person_did_is_checked_off(settled: Person) -> None:
    text = b"# Request: A domain\n\n## What\n\nBuy it\n\n## Human action\n\n1. Pay\n\n- **A. com**\n- **B. org**\n"
    with opened(settled) as deployment:
        ops_edit(deployment, OPS, {"vault/pending/domain.md": text}, "x")
    listed = settled.run("vault", "list")
    assert "Buy it\n  factory vault done domain" in listed.out
    assert settled.run("vault", "done", "domain", code=2).err == (
        "error: finishing domain: which option? A, B\nhint:  factory vault done domain --choice A\n"
    )
    assert settled.run("vault", "done", "domain", "--choice", "b").out == "done by founder: Buy it (option B)\n"
    assert b"\nChoice: B\n" in (main_of(settled, "vault/pending/domain.md") or b"")
    assert settled.run("vault", "list", "--json").facts()["pending"] == []


def test_nobody_hears_a_wake_where_no_dispatcher_runs(settled: Person) -> None:
    facts = release(settled, "v5.0.0")
    ran = settled.run("vault", "fire", facts["id"], code=1)
    assert ran.out == (
        f"{facts['id']}: waits for the approval of founder\n  no dispatcher runs on this host: factory up --detach\n"
    )


def test_a_file_is_judged_by_the_rules_in_force(settled: Person, tmp_path: Path) -> None:
    facts = release(settled, "v6.0.0")
    data = main_of(settled, f"vault/actions/{facts['id']}.toml", f"vault/{facts['id']}")
    assert data is not None
    file = tmp_path / f"{facts['id']}.toml"
    file.write_bytes(data)
    good = settled.run("vault", "check", file, "--json").facts()
    assert (good["problems"], good["tier"]) == ([], "high")
    file.write_bytes(data.replace(b'tag = "v6.0.0"', b'tag = "--force"'))
    bad = settled.run("vault", "check", file, code=1)
    assert "params.tag" in bad.out
    assert f"{file}: 1 problems\n  tier    high: " in bad.out


def test_another_policy_is_compared(settled: Person, tmp_path: Path) -> None:
    policy = main_of(settled, "vault/policy.toml")
    assert policy is not None
    file = tmp_path / "policy.toml"
    file.write_bytes(policy)
    facts = settled.run("vault", "simulate", "--policy", file, "--since", "2w", "--json").facts()
    assert (facts["changes"], facts["version"]) == ([], 1)
    file.write_bytes(policy.replace(b"v = 1\n", b"v = 2\n"))
    ran = settled.run("vault", "simulate", "--policy", file, code=4)
    assert "v must be a whole number from 1 to 1" in ran.err


def test_editing_the_policy_is_judged_before_it_is_proposed(settled: Person, tmp_path: Path) -> None:
    policy = main_of(settled, "vault/policy.toml")
    assert policy is not None
    file = tmp_path / "policy.toml"
    file.write_bytes(policy.replace(b"pending = 5", b"pending = 6"))
    ran = settled.run("edit", "vault/policy.toml", "--file", file, code=4)
    assert "version 1 does not follow 1: it would never come into force\n  hint: version = 2" in ran.err
    assert "vault/policy.toml" not in settled.run("check", code=None).out


@contextmanager
def ledger(person: Person) -> Iterator[Chain]:
    """The ledger as the dispatcher's account writes it."""
    with opened(person) as deployment, tempfile.TemporaryDirectory() as place:
        remote = deployment.remote("dispatcher-bot", OPS)
        folder = vault_folder(deployment.state, str(OPS))
        chain = Chain(Git(Path(place) / "repo.git", remote.url, remote.token), folder / "ledger.json", lambda data: "")
        chain.sync()
        yield chain


def entry(kind: str, id: str, epoch: int = 0, **evidence: object) -> Entry:
    at = datetime.now(UTC).replace(microsecond=0)
    return Entry(kind, id, secrets.token_hex(16), "here/x", at, epoch, "d" * 64, evidence)


def test_an_action_is_explained_like_an_issue(settled: Person) -> None:
    facts = release(settled, "v7.0.0")
    id = facts["id"]
    told = settled.run("explain", "action", id, "--json").facts()
    assert told["stands"] == "waits for the approval of founder"
    assert settled.run("explain", "issue", id, code=2).err == (
        f"error: explaining issue {id}: that is the id of an action\nhint:  factory explain action {id}\n"
    )


def test_an_admin_says_how_a_cut_off_one_ended(settled: Person) -> None:
    id = "2026-11-28-run-command-0a0b0c0d"
    with ledger(settled) as chain:
        told = [entry("VERIFIED", id, tier="high", target="run-command:x"), entry("CLAIMED", id, 1),
                entry("PARKED", id, 1, words="claimed once and never started")]  # fmt: skip
        assert len(chain.append(told)) == 3
    tick(settled)
    status = json.loads(settled.run("status", "--json").out)["factory.status/v1"]
    assert f"{id} was cut off" in [need["title"] for p in status["projects"] for need in p["needs_you"]]
    assert settled.run("vault", "settle", id, "--reason", "x", code=2).err == (
        f"error: settling {id}: how did it end?\nhint:  --done, or --abandoned to have it asked for anew\n"
    )
    ran = settled.run("vault", "settle", id, "--abandoned", "--reason", "it never ran")
    assert ran.out == f"{id}: ABANDONED, by founder's word\n"
    shown = settled.run("vault", "show", id, "--json").facts()
    assert shown["stands"] == "was given up by a person: founder says: it never ran"
    assert [e["kind"] for e in shown["ledger"]] == ["VERIFIED", "CLAIMED", "PARKED", "ABANDONED"]
    again = settled.run("vault", "settle", id, "--done", "--reason", "x", code=2)
    assert "it does not wait for a person: it was given up by a person" in again.err
    tick(settled)
    assert b'state = "abandoned"' in (main_of(settled, f"vault/rejected/{id}.toml") or b"")


def test_it_is_frozen_by_hand_and_every_reader_is_told(settled: Person) -> None:
    ran = settled.run("vault", "freeze", "--why", "a key has leaked")
    assert ran.out == (
        "the vault of founder/hello: frozen by founder's word\n"
        "  nothing starts any more. Look at what is wrong; then an admin says: factory vault unfreeze --reason ...\n"
    )
    why = "founder says: a key has leaked"
    assert f"the vault is FROZEN: {why}" in settled.run("vault", "list").out
    again = settled.run("vault", "freeze", "--why", "once more")
    assert f"it was frozen already: {why}" in again.out
    tick(settled)
    status = json.loads(settled.run("status", "--json").out)["factory.status/v1"]
    (there,) = status["projects"]
    assert there["vault"] == [f"frozen: {why}; an admin lets it go on: factory vault unfreeze --reason ..."]
    assert f"  vault    {there['vault'][0]}" in settled.run("status").out
    audited = settled.run("vault", "audit", code=None)
    assert f"frozen: {why}" in audited.out
    ran = settled.run("vault", "unfreeze", "--reason", "the key is changed")
    assert f"it was frozen: {why}" in ran.out
    assert settled.run("vault", "list", "--json").facts()["frozen"] is None


def test_an_admin_lets_a_frozen_vault_go_on(settled: Person) -> None:
    assert settled.run("vault", "unfreeze", "--reason", "x", code=2).err == (
        "error: unfreezing the vault of founder/hello: it is not frozen\nhint:  factory vault list\n"
    )
    with ledger(settled) as chain:
        chain.append([entry("FREEZE", ALL, words="the history of main was rewritten")])
    assert "the vault is FROZEN: the history of main was rewritten" in settled.run("vault", "list").out
    ran = settled.run("vault", "unfreeze", "--reason", "it was me")
    assert ran.out == (
        "the vault of founder/hello goes on, by founder's word\n  it was frozen: the history of main was rewritten\n"
    )
    assert settled.run("vault", "list", "--json").facts()["frozen"] is None
