"""What a change of secrets proposes, and who can read what after it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from pyrage import x25519

from factory.errors import UsageError
from factory.git import objects
from factory.ops.edit import CannotEdit
from factory.vault.keys import agekey
from factory.vault.keys.changing import put, reseal, take_away
from factory.vault.keys.envelope import unseal
from factory.vault.keys.errors import KeyMissing, SecretRefused
from factory.vault.keys.labels import RECIPIENTS, file_of, label_of, read_recipients
from factory.vault.keys.opening import Opener
from tests.unit.vault.keys.shelves import House, house

ANN = x25519.Identity.generate()
ANNS = str(ANN.to_public())


@pytest.fixture
def here(tmp_path: Path) -> House:
    return house(tmp_path)


def value(here: House, name: str = "TOKEN") -> bytes:
    return Opener(here.state, here.mirror).secret(name, here.order())


def test_the_first_secret_brings_its_host_among_the_readers(here: House) -> None:
    change = put(here.place(), "TOKEN", b"hunter2", ["release@1"])
    assert [edit.path for edit in change.edits] == [file_of("TOKEN"), label_of("TOKEN"), RECIPIENTS]
    assert "hunter2" not in change.body + change.title
    assert "version 1 (before it: none), for `release@1`" in change.body
    assert "h1 (dispatcher)" in change.body
    assert any("only this host can read" in note for note in change.notes)
    here.land(change)
    assert value(here) == b"hunter2"
    assert read_recipients(objects.read_file(here.mirror, here.tip, RECIPIENTS)).dispatchers == {
        "h1": agekey.public(here.state)[0]
    }


def test_a_second_value_is_the_next_version_and_leaves_the_readers_alone(here: House) -> None:
    here.set("TOKEN", b"one")
    change = put(here.place(), "TOKEN", b"two", ["release@1"])
    assert [edit.path for edit in change.edits] == [file_of("TOKEN"), label_of("TOKEN")]
    assert change.secrets[0].version == 2
    assert any("history" in note for note in change.notes)


def test_the_version_grows_past_what_this_host_has_used(here: House) -> None:
    here.set("TOKEN", b"one")
    here.set("TOKEN", b"two")
    value(here)
    here.write({file_of("TOKEN"): None, label_of("TOKEN"): None})
    assert put(here.place(), "TOKEN", b"three", ["release@1"]).secrets[0].version == 3


@pytest.mark.parametrize(
    ("name", "given", "formulas", "words"),
    [
        ("token", b"x", ["release@1"], "a name is"),
        ("../TOKEN", b"x", ["release@1"], "a name is"),
        ("TOKEN", b"x", [], "no formula is named"),
        ("TOKEN", b"x", ["release"], "no formula's name and version"),
        ("TOKEN", b"", ["release@1"], "0 bytes"),
        ("TOKEN", b"x" * 40_000, ["release@1"], "40000 bytes"),
    ],
)
def test_what_cannot_be_set(here: House, name: str, given: bytes, formulas: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        put(here.place(), name, given, formulas)


def test_somebody_elses_change_meanwhile_is_not_written_over(here: House) -> None:
    change = put(here.place(), "TOKEN", b"x", ["release@1"])
    here.set("TOKEN", b"y")
    with pytest.raises(CannotEdit):
        here.land(change)


def test_a_recovery_key_is_added_to_all_and_can_read_them(here: House) -> None:
    here.set("TOKEN", b"one")
    here.set("OTHER", b"two")
    change = reseal(here.place(), add={"ann": ANNS}, drop=(), new_key=False)
    assert [(label.name, label.version) for label in change.secrets] == [("OTHER", 2), ("TOKEN", 2)]
    assert change.notes == ()
    here.land(change)
    assert value(here) == b"one"
    data = objects.read_file(here.mirror, here.tip, file_of("TOKEN"))
    assert data is not None
    assert unseal(data, [ANN], "x").value == b"one"
    assert reseal(here.place(), add={}, drop=(), new_key=False).edits == (), "nothing is left to do"


def test_who_is_dropped_reads_no_later_version_and_what_follows_is_said(here: House) -> None:
    here.land(reseal(here.place(), add={"ann": ANNS}, drop=(), new_key=False))
    here.set("TOKEN", b"one")
    change = reseal(here.place(), add={}, drop=("ann",), new_key=False)
    assert any("ann (recovery)" in note and "change the values" in note and "TOKEN" in note for note in change.notes)
    here.land(change)
    data = objects.read_file(here.mirror, here.tip, file_of("TOKEN"))
    assert data is not None
    with pytest.raises(SecretRefused, match="not encrypted"):
        unseal(data, [ANN], "x")


def test_a_new_key_reads_what_is_approved_before_and_after(here: House) -> None:
    here.set("TOKEN", b"one")
    change = reseal(here.place(), add={}, drop=(), new_key=True)
    assert value(here) == b"one", "until it is approved, the old key still reads"
    assert any("--drop-old" in note for note in change.notes)
    here.land(change)
    new, old = agekey.public(here.state)
    assert change.secrets[0].keys == (new,)
    assert agekey.keep(here.state, change.secrets[0].keys) == (old,)
    assert value(here) == b"one"


def test_what_this_host_cannot_read_it_does_not_encrypt_anew(here: House, tmp_path: Path) -> None:
    here.set("TOKEN", b"one")
    other = house(tmp_path, "h2", here.mirror, here.tip)
    with pytest.raises(KeyMissing):
        reseal(other.place(), add={"ann": ANNS}, drop=(), new_key=True)
    agekey.make(other.state)
    with pytest.raises(SecretRefused, match="TOKEN"):
        reseal(other.place(), add={"ann": ANNS}, drop=(), new_key=True)
    assert len(agekey.public(other.state)) == 1, "and no key was made for nothing"


def test_another_host_joins_by_setting_a_secret_or_being_let_in(here: House, tmp_path: Path) -> None:
    here.set("TOKEN", b"one")
    other = house(tmp_path, "h2", here.mirror, here.tip)
    here.tip = other.set("OTHER", b"two")
    assert value(here, "OTHER") == b"two"
    assert value(other, "OTHER") == b"two"
    assert [kept.code for kept in other.place().shelf.secrets] == ["", "secret-not-ours"]
    assert [len(kept.label.keys) for kept in other.place().shelf.secrets if kept.label] == [2, 1]
    other.tip = here.land(reseal(here.place(), add={}, drop=(), new_key=False))
    assert value(other, "TOKEN") == b"one"


@pytest.mark.parametrize(
    ("add", "drop", "words"),
    [
        ({"Ann": ANNS}, (), "no name of a holder"),
        ({"ann": "ssh-rsa x"}, (), "no public key"),
        ({}, ("bob",), "nobody called bob"),
        ({}, ("h1",), "this host"),
    ],
)
def test_readers_that_cannot_be(here: House, add: dict[str, str], drop: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        reseal(here.place(), add=add, drop=drop, new_key=False)


def test_a_file_of_recipients_that_cannot_be_read_is_not_written_over(here: House) -> None:
    here.write({RECIPIENTS: b"v = 9\n"})
    place = here.place()
    with pytest.raises(UsageError, match="recipients"):
        put(place, "TOKEN", b"x", ["release@1"])
    with pytest.raises(UsageError, match="recipients"):
        reseal(place, add={}, drop=(), new_key=True)


def test_removing(here: House) -> None:
    here.set("TOKEN", b"one")
    change = take_away(here.place(), "TOKEN", ["release@1"])
    assert any("release@1" in note and "policy" in note for note in change.notes)
    here.land(change)
    assert here.place().shelf.secrets == ()
    for name in ("TOKEN", "../x", "recipients"):
        with pytest.raises(UsageError):
            take_away(here.place(), name, [])


def test_a_label_that_names_fewer_keys_than_the_file_is_a_doubt(here: House) -> None:
    here.land(reseal(here.place(), add={"ann": ANNS}, drop=(), new_key=False))
    here.set("TOKEN", b"one")
    text = objects.read_file(here.mirror, here.tip, label_of("TOKEN"))
    assert text is not None
    mine = agekey.public(here.state)[0]
    hidden = text.replace(f', "{ANNS}"'.encode(), b"").replace(f'"{ANNS}", '.encode(), b"")
    assert hidden != text
    assert mine.encode() in hidden
    assert [kept.doubt for kept in here.place().shelf.secrets] == [""]
    here.write({label_of("TOKEN"): hidden})
    assert ["2 keys, its label names 1" in kept.doubt for kept in here.place().shelf.secrets] == [True]


def test_ways_to_break_a_file_are_all_told_and_none_ends_the_look(here: House) -> None:
    for number, (file, label) in enumerate(itertools.product((b"junk", None), (b"junk", None))):
        here.write({file_of(f"S{number}"): file, label_of(f"S{number}"): label, f"vault/secrets/x{number}.txt": b"x"})
    codes = {kept.name: kept.code for kept in here.place().shelf.secrets}
    assert codes == {"S0": "secret-label", "S1": "secret-missing", "S2": "secret-missing"}
