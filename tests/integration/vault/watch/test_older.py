"""The ledger was put back to an older state, and an admin says that it counts from now on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from factory.app.vault_audit import audit_ledger
from factory.cli.main import cli
from factory.git import objects
from factory.vault.action import Tier
from factory.vault.canonical import Refused
from tests.integration.vault.watch.conftest import Asked, House, until

RAN = ["STARTED", "DONE"]
LEDGER = "refs/heads/ledger"


def fired(house: House, asked: Asked) -> list[str]:
    with house.hand() as serving:
        house.fired(serving, asked)
    return house.kinds(asked.id)


def approved(house: House) -> Asked:
    asked = house.ask(Tier.MEDIUM)
    house.approve(asked)
    house.merge(asked)
    return asked


def read_ledger(house: House) -> None:
    """A dispatcher of this host reads the ledger, so that there is a high-water mark."""
    with house.hand() as serving:
        serving.turn()


def void_is_over(house: House) -> None:
    """What is approved from now on is approved after the ledger came back."""
    void = house.ledger().restored
    assert void is not None
    until(lambda: datetime.now(UTC) > void + timedelta(seconds=1))


def bare(house: House) -> Path:
    """The ops repo on the forge's disk."""
    found = [path for path in (house.state / "forge").rglob("*.git") if objects.is_repo(path)]
    (ops,) = [path for path in found if objects.read_ref(path, LEDGER) is not None]
    return ops


def test_the_audit_knows_the_hosts_key_and_how_far_the_ledger_was(watched: House) -> None:
    """From what `factory init` wrote: GENESIS names the key, and this host's mark is the dispatcher's."""
    house = watched
    read_ledger(house)
    whole = audit_ledger(house.deployment)
    assert whole["faults"] == ()
    assert whole["signed"] == whole["batches"]
    early = house.ledger().tip
    house.write("FREEZE", "by nobody's key")
    read_ledger(house)
    assert [fault["code"] for fault in audit_ledger(house.deployment)["faults"]] == ["not-signed"]
    repo = bare(house)
    tip = objects.read_ref(repo, LEDGER)
    objects.update_ref(repo, LEDGER, early, tip)
    assert [fault["code"] for fault in audit_ledger(house.deployment)["faults"]] == ["ledger-gone"]
    objects.update_ref(repo, LEDGER, str(tip), early)
    house.write("UNFREEZE", "for the next test")


def test_an_older_ledger_counts_from_an_admins_word_on(watched: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a dispatcher that starts after it, whose host keeps several marks of the lost one, and for its runs."""
    house = watched
    monkeypatch.setenv("FACTORY_HOME", str(house.deployment.home))
    seen = house.sentinel().settings()
    until(lambda: datetime.now(UTC) >= seen.since)
    read_ledger(house)
    early = house.ledger().tip
    assert fired(house, approved(house))[-2:] == RAN, "its run remembers the ledger, too"
    for number in range(6):  # more than the admin's word adds
        house.write("UNFREEZE" if number % 2 else "FREEZE", "lost")
    read_ledger(house)
    repo = bare(house)
    objects.update_ref(repo, LEDGER, early, objects.read_ref(repo, LEDGER))
    with house.hand() as serving, pytest.raises(Refused, match="lost entries"):
        serving.turn()
    done = CliRunner().invoke(cli, ["vault", "unfreeze", "--older", "--reason", "restored on purpose"])
    assert done.exit_code == 0, done.output
    assert "every earlier approval is void" in done.output
    assert "restart the factory" in done.output
    void_is_over(house)
    new = approved(house)
    assert fired(house, new)[-2:] == RAN
