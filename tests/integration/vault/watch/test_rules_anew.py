"""All admins lost: a vault that its host's operator begins anew with the forge's admin, and what is void then."""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from factory.app import vault_refounding
from factory.app.opsrepo import mirror
from factory.app.people import as_person
from factory.app.vault_refounding import begin_anew
from factory.cli.main import cli
from factory.errors import UsageError
from factory.forge.values import ReviewState
from factory.git import objects
from factory.vault.action import Tier
from factory.vault.ledger import Ledger
from factory.vault.people.reading import LedgerReader
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.register import RUNS, Seen, rule
from tests.integration.vault.watch.conftest import Asked, House, until

RAN = ["STARTED", "DONE"]
SUCCESSOR = "successor"


@pytest.fixture
def watching(watched: House) -> House:
    look(watched)
    return watched


def look(house: House) -> None:
    """Have the sentinel look: what is opened from then on was opened while it watched."""
    seen = house.sentinel().settings()
    until(lambda: datetime.now(UTC) >= seen.since)


def ledger(house: House) -> Ledger:
    copy = mirror(house.deployment, house.ops, refresh=True)
    return LedgerReader().read(copy, objects.read_ref(copy, "refs/heads/ledger"))


def fired(house: House, *asked: Asked) -> list[list[str]]:
    """The entries of each after a new dispatcher has turned until nothing changes."""
    with house.hand() as serving:
        for one in asked:
            house.fired(serving, one)
    return [house.kinds(one.id) for one in asked]


def new_policy(house: House, version: int) -> str:
    """The policy that names the successor, on main by the forge's admin alone, who lets them approve; the commit."""
    if house.admin.user(SUCCESSOR) is None:
        house.admin.create_user(SUCCESSOR, email="s@example.invalid", password=secrets.token_urlsafe(16))
        house.admin.set_collaborator(house.ops, SUCCESSOR, "write")
    user = house.admin.user(SUCCESSOR)
    assert user is not None
    copy = mirror(house.deployment, house.ops, refresh=True)
    text = (objects.read_file(copy, "refs/heads/main", "vault/policy.toml") or b"").decode()
    lines = []
    for line in text.splitlines():
        key = line.partition(" =")[0]
        lines.append(f"{key} = [{user.id}]" if key in ("admins", "approvers")
                     else f"version = {version}" if key == "version" and not any(x.startswith("[") for x in lines)
                     else line)  # fmt: skip
    (kept,) = (one for one in house.admin.protections(house.ops) if one.rule_name == "mai[n]")
    house.admin.delete_protection(house.ops, "mai[n]")
    path = f"/repos/{house.ops}/contents/vault/policy.toml"
    with as_person(house.deployment, "founder") as owner:
        there = owner.send("GET", path, doing="test")
        body = {"content": b64encode("\n".join([*lines, ""]).encode()).decode(), "message": "New admins",
                "branch": "main", "sha": there["sha"]}  # fmt: skip
        made = owner.send("PUT", path, doing="test", body=body)
    house.admin.set_protection(house.ops, replace(kept, approvals_whitelist_usernames=("founder", SUCCESSOR)))
    oid: str = made["commit"]["sha"]
    return oid


@rule("All admins lost: the operator writes a new GENESIS citing the old tip, and every open approval is void",
      forge="allows", vault="begun-anew | approved-before-push",
      check="RESTORED follows GENESIS, and every action that was known is refused")  # fmt: skip
def test_rule_begun_anew_when_all_admins_are_lost(watching: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    house, off = watching, Blind(monkeypatch)
    done = house.ask(Tier.MEDIUM)
    house.approve(done)
    house.merge(done)
    assert fired(house, done)[0][-2:] == RAN
    tip = ledger(house).tip
    commit = new_policy(house, 2)
    waiting = house.ask(Tier.MEDIUM)
    approve(house, waiting)
    house.merge(waiting)  # by whom the new policy names, before it counts; and nobody has looked at it yet
    monkeypatch.setenv("FACTORY_HOME", str(house.deployment.home))
    words = ["vault", "begin-anew", "--commit", commit, "--reason", "the founder left", "--json"]
    said = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert said.exit_code == 0, said.output
    facts = json.loads(said.output)["factory.vault-begun-anew/v1"]
    told = ledger(house)
    assert told.genesis is not None
    assert (facts["root"], facts["cites"]) == (told.root, told.genesis.evidence["cites"])
    copy = mirror(house.deployment, house.ops)
    kept = objects.read_ref(copy, f"refs/heads/{facts['kept']}")
    assert kept == facts["cites"]
    assert objects.is_ancestor(copy, tip, kept or ""), "but for the FREEZE it is the ledger that was"
    assert [one.rule_name for one in house.admin.protections(house.ops)].count("ledge[r]") == 1

    assert fired(house, done, waiting) == [["REFUSED"], ["REFUSED"]]
    codes = [str(house.entry(one.id, "REFUSED").evidence["code"]) for one in (done, waiting)]
    assert codes == ["begun-anew", "approved-before-push"]
    ran = successor_decides(house)
    monkeypatch.setattr(vault_refounding, "_after", lambda *_: ())
    begin_anew(house.deployment, commit=commit, reason="again", now=datetime.now(UTC))
    off.settings()
    again = fired(house, waiting, ran)  # what was void, and what was done
    return Seen("allows", codes[0], RUNS if [kinds[-2:] for kinds in again] == [RAN, RAN] else str(again))


def approve(house: House, asked: Asked) -> None:
    with as_person(house.deployment, SUCCESSOR) as successor:
        successor.review(house.ops, asked.number, state=ReviewState.APPROVED, body="", commit=asked.head)


def successor_decides(house: House) -> Asked:
    """What the founder approves from now on counts for nothing; what the successor approves runs, and is returned."""
    look(house)
    old, new = house.ask(Tier.MEDIUM), house.ask(Tier.MEDIUM)
    house.approve(old)
    approve(house, new)
    for one in (old, new):
        house.merge(one)
    ended = fired(house, old, new)
    assert ended[0] == ["REFUSED"]
    assert ended[1][-2:] == RAN
    return new


def test_what_it_does_not_begin_with(watching: House) -> None:
    for commit in ("0" * 40, "ledger", "no-such-thing"):
        with pytest.raises(UsageError, match="is no commit of main"):
            begin_anew(watching.deployment, commit=commit, reason="x", now=datetime.now(UTC))
    with pytest.raises(UsageError, match="keeps why"):
        begin_anew(watching.deployment, commit="main", reason=" ", now=datetime.now(UTC))
