"""A person's word on the ledger: how a cut-off action ended, and that a frozen vault goes on."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from factory.vault.canonical import Refused
from factory.vault.ledger import ALL, Entry
from factory.vault.people.reading import LedgerReader
from factory.vault.people.settling import Word, parked, restored, settled, stopped, unfrozen
from factory.vault.ports import Outcome
from tests.integration.vault.house import ADMIN, NOW, House, Runner
from tests.integration.vault.test_audit import both

WORD = Word("founder", ADMIN, "I looked: it is there", NOW, "here")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def cut_off(house: House) -> str:
    """A class D action that nobody can tell about."""
    action = house.ask("delta")
    dispatcher, _ = house.dispatcher(runner=Runner(fate=lambda order: Outcome("unclear", "cut off")))
    for _ in range(4):
        dispatcher.turn()
    assert house.kinds(action.id)[-1] == "PARKED"
    return action.id


@pytest.mark.parametrize(("done", "kind"), [(True, "DONE"), (False, "ABANDONED")])
def test_a_cut_off_action_ends_by_a_person_s_word(house: House, done: bool, kind: str) -> None:
    id = cut_off(house)
    chain = house.chain("person")
    state = parked(chain.sync(), id)
    assert state is not None
    (entry,) = chain.append([settled(state, WORD, done=done)])
    assert house.kinds(id)[-1] == kind
    assert entry.evidence == {"words": "founder says: I looked: it is there", "account": ADMIN, "by_person": True}
    assert chain.append([settled(state, WORD, done=not done)]) == ()  # it is over


def test_what_is_not_parked_cannot_be_settled(house: House) -> None:
    action = house.ask("beta")
    dispatcher, _ = house.dispatcher(runner=Runner(fate=lambda order: None))
    dispatcher.turn()
    chain = house.chain("person")
    assert parked(chain.sync(), action.id) is None
    running = chain.ledger.state(action.id)
    assert running.kind == "STARTED"
    assert chain.append([settled(running, WORD, done=False)]) == ()  # the ledger's own rule, not ours, says no


def test_a_frozen_vault_goes_on(house: House) -> None:
    chain = house.chain("person")
    chain.sync()
    assert chain.append(unfrozen(chain.ledger, WORD)) == ()  # it is not frozen
    chain.append([Entry("FREEZE", ALL, "f" * 32, "here/x", NOW, evidence={"words": "by hand"})])
    assert chain.ledger.frozen == "by hand"
    assert len(chain.append(unfrozen(chain.ledger, WORD, "this host had it frozen, too"))) == 1
    assert chain.ledger.frozen == ""
    told = chain.append(unfrozen(chain.ledger, WORD, "on this host alone"))
    assert [(entry.kind, entry.evidence["words"]) for entry in told] == [
        ("FREEZE", "on this host alone"), ("UNFREEZE", WORD.evidence()["words"]),
    ]  # fmt: skip
    assert chain.ledger.frozen == ""


def test_frozen_by_a_person_nothing_starts_until_it_goes_on(house: House) -> None:
    """The auditor and the second reader take such a ledger for what it says."""
    before = house.ask("beta")
    dispatcher, _ = house.dispatcher(runner=Runner(fate=lambda order: Outcome("done", "did it")))
    dispatcher.turn()
    chain = house.chain("person")
    (entry,) = chain.append(stopped(chain.sync(), WORD))
    assert (entry.kind, entry.evidence["account"], entry.evidence["by_person"]) == ("FREEZE", ADMIN, True)
    assert chain.append(stopped(chain.ledger, WORD)) == (), "it is frozen already"
    during = house.ask("beta")
    for _ in range(3):
        dispatcher.turn()
    assert not {"CLAIMED", "STARTED"} & set(house.kinds(during.id))
    chain.sync()
    chain.append(unfrozen(chain.ledger, WORD))
    for _ in range(3):
        dispatcher.turn()
    assert house.kinds(before.id)[-1] == house.kinds(during.id)[-1] == "DONE"
    found, _ = both(house)
    assert (found.faults, found.kinds["FREEZE"], found.kinds["UNFREEZE"]) == ((), 1, 1)


def test_an_older_ledger_counts_again_and_voids_approvals(house: House, tmp_path: Path) -> None:
    shutil.copytree(house.remote, tmp_path / "yesterday")
    action = house.action("beta")
    pull = house.open(action)
    house.review(pull)
    dispatcher, _ = house.dispatcher("d1")
    dispatcher.turn()
    shutil.rmtree(house.remote)
    shutil.copytree(tmp_path / "yesterday", house.remote)
    with pytest.raises(Refused, match="not on the ledger any more"):
        house.dispatcher("d1")[0].turn()
    chain = house.chain("d1")
    ledger = chain.sync(accept=True)
    house.now += timedelta(hours=1)
    word = Word("founder", ADMIN, "the disk died", house.now, "here")
    assert [entry.kind for entry in chain.append(restored(ledger, word))] == ["FREEZE", "RESTORED", "UNFREEZE"]
    reader = LedgerReader()
    assert reader.read(house.remote, house.ref("heads/ledger")).restored == house.now + timedelta(seconds=1)
