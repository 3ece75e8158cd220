"""Another policy judges what the ledger remembers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from factory.vault.people.reading import LedgerReader, merged_action
from factory.vault.people.rules import read_rules
from factory.vault.people.simulate import Change, Simulated, markdown, simulate, text
from tests.integration.vault.house import LETTERS, NOW, TIERS, House, formula_bytes, policy_bytes

FORMULAS = {name: formula_bytes(name) or b"" for name in LETTERS}


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Four actions, one of each tier and a refused one, done within an hour."""
    made = House(tmp_path)
    for formula in ("alpha", "beta", "gamma"):
        made.ask(formula, place=f"at-{formula}")
    refused = made.action("gamma", place="elsewhere")
    made.merge(made.open(refused))
    dispatcher, _ = made.dispatcher()
    for _ in range(3):
        dispatcher.turn()
        made.now += timedelta(minutes=10)
    return made


def under(house: House, policy: bytes, days: float = 90) -> Simulated:
    reader = LedgerReader()
    reader.read(house.remote, house.ref("heads/ledger"))
    rules = read_rules(policy, FORMULAS)
    since = house.now - timedelta(days=days)
    return simulate(reader.ledger, rules, since, lambda state: merged_action(house.remote, state))


def told(found: Simulated) -> list[tuple[str, str, str, str]]:
    return [(change.formula, change.kind, change.was, change.would) for change in found.changes]


def test_the_same_policy_changes_nothing(house: House) -> None:
    found = under(house, policy_bytes())
    assert told(found) == []
    assert found.judged == 4
    assert "none of them would have gone another way" in text(found)
    assert "Nothing: the 4 actions would have gone the same way." in markdown(found, "a" * 40)


def test_a_raised_tier_asks_somebody(house: House) -> None:
    found = under(house, policy_bytes(2, {**TIERS, "alpha": "high"}))
    assert told(found) == [
        ("alpha@1", "tier", "low", "high"), ("alpha@1", "approver", "nobody", "account 1"),
    ]  # fmt: skip


def test_a_lowered_tier_asks_nobody(house: House) -> None:
    """The formula's class still holds it up, whatever the policy says."""
    assert told(under(house, policy_bytes(2, {**TIERS, "beta": "low", "gamma": "low"}))) == [
        ("gamma@1", "tier", "high", "medium")
    ]


def test_another_admin_would_have_been_asked(house: House) -> None:
    found = under(house, policy_bytes(2).replace(b"admins = [1]", b"admins = [7]"))
    assert told(found) == [
        ("beta@1", "approver", "account 1", "account 2, account 7"), ("gamma@1", "approver", "account 1", "account 7"),
    ]  # fmt: skip


def test_a_signature_would_have_been_needed(house: House) -> None:
    found = under(house, policy_bytes(2, more='require_signature = ["high"]\n'))
    assert told(found) == [("gamma@1", "signature", "account 1", "an admin's signature too")]


def test_a_formula_that_is_left_out_is_refused(house: House) -> None:
    found = under(house, policy_bytes(2, {"alpha": "low"}))
    assert told(found) == [
        ("beta@1", "refused", "medium", "refused: formula: the policy does not name beta@1"),
        ("gamma@1", "refused", "high", "refused: formula: the policy does not name gamma@1"),
    ]  # fmt: skip


def test_a_tighter_budget_makes_wait(house: House) -> None:
    found = under(house, policy_bytes(2, more="per_requester_day = 2\n"))
    assert [row[1:] for row in told(found)] == [("waits", "started", "waits: 2 starts a day for run:1")]


def test_what_was_before_is_left_out(house: House) -> None:
    assert under(house, policy_bytes(), days=0).judged == 0


def test_a_refusal_by_the_policy_may_not_happen_again(house: House) -> None:
    action = house.action("beta", expires=NOW + timedelta(days=5), place="late")
    house.review(house.open(action))
    pull = max(house.pulls_)
    house.merge(house.pulls_[pull])
    house.dispatcher("d2")[0].turn()
    found = under(house, policy_bytes(2, more="max_ttl_hours = 200\n"))
    assert told(found) == [("beta@1", "allowed", "refused (too-long)", "not refused for that")]


def test_the_comment_is_inert_and_bounded() -> None:
    changes = tuple(Change(f"a-{n}", NOW, "x@1", "tier", "low", "<b>[x](http://e)") for n in range(60))
    body = markdown(Simulated(2, NOW, 60, changes, ("gone",)), "a" * 40)
    assert body.startswith("**What this policy would have changed** in the last 90 days, at aaaaaaaaaaaa:\n")
    assert "<b>" not in body
    assert "<a " not in MarkdownIt("commonmark").render(body)
    assert "And 10 more" in body
    assert "1 could not be judged" in body


def test_without_a_policy_nothing_is_judged(house: House) -> None:
    with pytest.raises(ValueError, match="no policy"):
        under(house, b"v = 1\n")
