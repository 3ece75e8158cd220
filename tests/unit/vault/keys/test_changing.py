"""What a change of secrets proposes, and who can read what after it."""

from __future__ import annotations

import itertools
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import pytest
from pyrage import x25519

from factory.errors import UsageError
from factory.git import objects
from factory.ops.edit import CannotEdit
from factory.vault.keys import agekey
from factory.vault.keys.changing import Place, put, reseal, take_away
from factory.vault.keys.envelope import unseal
from factory.vault.keys.errors import KeyMissing, SecretRefused
from factory.vault.keys.labels import RECIPIENTS, Recipients, file_of, label_of, read_recipients
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


# --- with which key a host signs the ledger ---------------------------------------------------------------------------

def ssh(name: str) -> str:
    """A public key, as far as its form goes."""
    parts = (b"ssh-ed25519", name.encode() * 16)
    return f"ssh-ed25519 {b64encode(b''.join(len(part).to_bytes(4, 'big') + part for part in parts)).decode()}"


SSH = {name: ssh(name) for name in ("h1", "h2", "x1")}


def signing(here: House, in_force: dict[str, str], own: str = "h1") -> Place:
    return replace(here.place(), host_key=SSH[own], in_force=in_force)


def listed(here: House) -> Recipients:
    return read_recipients(objects.read_file(here.mirror, here.tip, RECIPIENTS))


def test_a_host_that_the_ledger_knows_needs_no_word_of_its_key(here: House) -> None:
    change = put(signing(here, {"h1": SSH["h1"]}), "TOKEN", b"x", ["release@1"])
    here.land(change)
    assert listed(here).host_keys == {}
    assert "ledger" not in change.body
    assert reseal(signing(here, {"h1": SSH["h1"]}), add={}, drop=(), new_key=False).edits == ()


def test_another_host_joins_and_leaves_with_both_its_keys(here: House) -> None:
    here.set("TOKEN", b"one")
    known = {"h1": SSH["h1"]}
    change = reseal(signing(here, known), add={}, drop=(), new_key=False, hosts={"h2": f"{ANNS} {SSH['h2']}"})
    assert f"- from now on h2: `{SSH['h2']}`" in change.body
    assert "no more" not in change.body
    here.land(change)
    assert listed(here).host_keys == {"h1": SSH["h1"], "h2": SSH["h2"]}
    assert listed(here).dispatchers["h2"] == ANNS
    data = objects.read_file(here.mirror, here.tip, file_of("TOKEN"))
    assert unseal(data or b"", [ANN], "x").value == b"one"

    both = {name: SSH[name] for name in ("h1", "h2")}
    change = reseal(signing(here, both), add={}, drop=("h2",), new_key=False)
    assert f"- no more h2: `{SSH['h2']}`" in change.body
    here.land(change)
    assert (listed(here).host_keys, set(listed(here).dispatchers)) == ({"h1": SSH["h1"]}, {"h1"})


def test_a_host_that_joins_by_setting_a_secret_takes_no_other_away(here: House) -> None:
    """The file said nothing of keys; what it says now must be all that is in force, and the new one."""
    change = put(signing(here, {"x1": SSH["x1"]}), "TOKEN", b"x", ["release@1"])
    here.land(change)
    assert listed(here).host_keys == {"h1": SSH["h1"], "x1": SSH["x1"]}
    assert f"- from now on h1: `{SSH['h1']}`" in change.body


def test_a_host_with_another_key_than_before_proposes_it_in_place_of_that(here: House) -> None:
    change = reseal(signing(here, {"h1": SSH["x1"]}), add={}, drop=(), new_key=False)
    here.land(change)
    assert listed(here).host_keys == {"h1": SSH["h1"]}
    assert all(words in change.body for words in (f"from now on h1: `{SSH['h1']}`", f"no more h1: `{SSH['x1']}`"))


def test_a_host_without_openssh_joins_as_a_reader_only(here: House) -> None:
    here.land(reseal(signing(here, {"h1": SSH["h1"]}), add={}, drop=(), new_key=False, hosts={"h2": ANNS}))
    assert (listed(here).dispatchers["h2"], listed(here).host_keys) == (ANNS, {})


def test_the_last_key_is_replaced_and_not_revoked_alone(here: House) -> None:
    place = replace(here.place(), in_force={"x1": SSH["x1"]})
    with pytest.raises(UsageError, match="the last that signs the ledger"):
        reseal(place, add={}, drop=("x1",), new_key=False)
    here.land(reseal(signing(here, {"x1": SSH["x1"]}), add={}, drop=("x1",), new_key=False))
    assert listed(here).host_keys == {"h1": SSH["h1"]}


@pytest.mark.parametrize(
    ("name", "keys", "words"),
    [
        ("H2", f"{ANNS} {SSH['h2']}", "no name of a host"),
        ("h2", SSH["h2"], "no public key"),
        ("h2", f"{ANNS} ssh-ed25519 x", "no public key of SSH"),
        ("h2", "", "no public key"),
    ],
    ids=["name", "no age key", "no ssh key", "nothing"],
)
def test_hosts_that_cannot_join(here: House, name: str, keys: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as said:
        reseal(signing(here, {}), add={}, drop=(), new_key=False, hosts={name: keys})
    assert "factory secret list" in str(said.value.hint)


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
