"""The delivery protocol, checked and not only argued: every order of steps, crashes and lost replies."""

from __future__ import annotations

from dataclasses import replace

import pytest

from factory.vault.ledger import AFTER
from tests.soak_report import record
from tests.unit.vault.model import BUILT, VARIANTS, Found, search

HEAD = f"{'variant':<48} {'crashes':>7} {'lost':>4} {'worlds':>7} {'double effect':>14} stuck"


def line(name: str, crashes: int, losses: int, found: Found) -> str:
    double = f"yes, {len(found.double)} steps" if found.double else "no"
    return f"{name:<48} {crashes:>7} {losses:>4} {found.states:>7} {double:>14} {found.stuck:>5}"


@pytest.mark.parametrize("name", VARIANTS)
def test_only_the_built_protocol_and_its_stricter_kin_are_safe(name: str) -> None:
    """The table of vault-security.md, 3.7, each row with its verdict."""
    protocol, doubles = VARIANTS[name]
    found = search(replace(protocol, epochs=3), crashes=1, losses=1)
    print(HEAD, line(name, 1, 1, found), *found.double, sep="\n")
    assert bool(found.double) == doubles
    assert found.hollow == ()
    assert found.stuck == 0
    assert found.states > 1000


def test_two_crashes_and_two_lost_replies_at_every_step() -> None:
    found = search(replace(BUILT, epochs=3))
    print(HEAD, line("as built", 2, 2, found), sep="\n")
    assert (found.double, found.hollow, found.stuck) == ((), (), 0)
    assert found.states > 20_000


@pytest.mark.soak
@pytest.mark.parametrize(("crashes", "losses"), [(2, 2), (4, 3)])
def test_the_whole_table(crashes: int, losses: int) -> None:
    rows = {"as built": VARIANTS["as built"]} if crashes > 2 else VARIANTS
    said = []
    for name, (protocol, doubles) in rows.items():
        found = search(protocol, crashes, losses)
        said.append(f"{name}: {found.states:,} worlds, {'YES' if found.double else 'no'}")
        print(line(name, crashes, losses, found))
        assert (bool(found.double), found.hollow, found.stuck) == (doubles, (), 0)
    what = f"The vault's protocol as a model, {crashes} crashes and {losses} lost replies; can an effect happen twice?"
    record(what, done=len(rows), full=len(rows), result="; ".join(said))


def test_the_model_moves_as_the_ledger_allows() -> None:
    """What the model writes may be written, and what a dispatcher may write by itself once VERIFIED is in the model."""
    found = search(replace(BUILT, epochs=3), crashes=1, losses=0)
    model = {("PARKED" if kind == "HUMAN" else kind, after) for kind, after in found.follows}
    # The cap on epochs stands for the three claims after which an action is parked.
    model -= {("PARKED", "VERIFIED")}
    assert {pair for pair in model if pair[1] not in AFTER[pair[0]]} == set()
    automatic = {"CLAIMED", "STARTED", "DONE", "UNKNOWN", "FENCED", "VERIFIED"}
    real = {(kind, after) for kind in automatic for after in AFTER[kind]}
    assert real - model == {("DONE", "PARKED"), ("VERIFIED", "NEW"), ("VERIFIED", "SEEN")}


def test_a_done_without_effect_would_be_found() -> None:
    assert search(replace(BUILT, looked=False), crashes=0, losses=0).hollow
