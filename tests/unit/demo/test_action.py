"""A demo whose release was not approved, not made, or made twice must not pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from factory.demo.action import ActionFact, doubts

GOOD = ActionFact(
    "a-1", "high", ("SEEN", "VERIFIED", "CLAIMED", "STARTED", "DONE"), (1,), ("founder",), "a" * 40, "a" * 40, "b" * 40,
    "b" * 40, 1, ("tally-0.2.0.tar.gz",), {}, "done",
)  # fmt: skip
AGAIN = ("SEEN", "VERIFIED", "CLAIMED", "STARTED", "UNKNOWN", "FENCED", "VERIFIED", "CLAIMED", "STARTED", "DONE")


def test_one_approved_release_raises_no_doubt() -> None:
    assert doubts([GOOD], "founder") == ()


def test_a_dispatcher_that_died_raises_none_either() -> None:
    assert doubts([replace(GOOD, ledger=AGAIN, epochs=(1, 3))], "founder") == ()
    claimed_again = ("SEEN", "VERIFIED", "CLAIMED", "CLAIMED", "STARTED", "DONE")
    assert doubts([replace(GOOD, ledger=claimed_again)], "founder") == ()


DOUBTS: dict[str, tuple[dict[str, Any], str]] = {
    "low": ({"tier": "low"}, "a-1 is low, not high"),
    "not done": ({"ledger": GOOD.ledger[:-1]}, "a-1 ends with STARTED, not DONE"),
    "never verified": ({"ledger": ("SEEN", "CLAIMED", "STARTED", "DONE")}, "was not verified, then started, then done"),
    "started before": ({"ledger": ("STARTED", "VERIFIED", "DONE")}, "was not verified, then started, then done"),
    "twice in an epoch": ({"epochs": (1, 1)}, "started twice in one epoch"),
    "given up between": ({"ledger": ("VERIFIED", "CLAIMED", "STARTED", "PARKED", "DONE")}, "went through PARKED"),
    "approved by nobody": ({"approved_by": ()}, "founder did not approve exactly the head that was merged"),
    "another head": ({"merged_head": "c" * 40}, "founder did not approve exactly the head that was merged"),
    "no tag": ({"tag_commit": ""}, "the tag is on nothing, not on bbbbbbbbbbbb"),
    "a tag elsewhere": ({"tag_commit": "c" * 40}, "the tag is on cccccccccccc, not on bbbbbbbbbbbb"),
    "no release": ({"releases": 0, "assets": ()}, "0 releases with 0 files, not one with one"),
    "the archive twice": ({"assets": ("x", "x")}, "1 releases with 2 files, not one with one"),
    "not told": ({"told": ""}, "vault/fired says nothing, not done"),
}  # fmt: skip


@pytest.mark.parametrize("name", DOUBTS)
def test_each_missing_fact_is_named(name: str) -> None:
    changed, words = DOUBTS[name]
    assert any(words in doubt for doubt in doubts([replace(GOOD, **changed)], "founder"))


def test_none_or_two_are_doubted() -> None:
    assert doubts([], "founder") == ("0 vault actions, not one",)
    assert doubts([GOOD, GOOD], "founder") == ("2 vault actions, not one",)
