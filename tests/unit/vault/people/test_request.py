"""What is asked for becomes one canonical file, or a list of everything that is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.action import Tier, read
from factory.vault.canonical import stamp
from factory.vault.people.request import Draft, Known, Unfit, Wish, draft
from factory.vault.people.rules import read_rules
from tests.unit.vault.people.samples import FILES, NOW, policy, rules, wish


def wrong(asked: Wish, known: Known | None = None, data: bytes | None = None) -> dict[str, str]:
    """Code -> message of everything that is wrong with a wish."""
    with pytest.raises(Unfit) as caught:
        draft(asked, rules(data), known)
    return {finding.code: finding.message for finding in caught.value.findings}


def test_a_wish_becomes_the_one_file_that_says_it() -> None:
    made = draft(wish(), rules())
    assert read(made.text.encode(), f"{made.action.id}.toml") == made.action
    assert made.action.id.startswith("2026-11-21-release-")
    assert made.branch == f"vault/{made.action.id}"
    assert (made.base, made.action.target, made.action.requester) == ("main", "release:v0.2.0", "role:dev")
    assert made.action.expires - made.action.not_before == timedelta(hours=72)
    assert made.title == "release@1 on release:v0.2.0 (high)"


def test_a_retry_makes_the_same_and_another_wish_another() -> None:
    first = draft(wish(), rules())
    assert draft(wish(), rules()) == first
    later = draft(wish(at=NOW + timedelta(minutes=9)), rules())
    assert later.action.id == first.action.id
    assert draft(wish(key="run 2"), rules()).action.id != first.action.id


def test_the_asker_cannot_stretch_the_time() -> None:
    made = draft(wish(hours=10_000), rules())
    assert made.action.expires - made.action.not_before == timedelta(hours=72)
    assert draft(wish(hours=2), rules()).action.expires == NOW.replace(microsecond=0) + timedelta(hours=2)


def test_low_goes_to_auto_and_everything_else_to_main() -> None:
    made = draft(wish("collect"), rules())
    assert (made.ruling.tier, made.base) == (Tier.LOW, "auto")
    raised = draft(wish("collect", blast_radius=Tier.MEDIUM), rules())
    assert (raised.ruling.tier, raised.base) == (Tier.MEDIUM, "main")


def test_the_same_content_again_rises_by_a_tier() -> None:
    content = draft(wish("collect"), rules()).action.content
    again = draft(wish("collect"), rules(), Known(repeated=frozenset({content})))
    assert (again.ruling.tier, again.base) == (Tier.MEDIUM, "main")


def test_secrets_are_what_formula_and_policy_both_name() -> None:
    assert draft(wish("webhook-call"), rules()).action.secrets == ("HOOK_TOKEN",)
    assert draft(wish(), rules()).action.secrets == ()


def test_texts_become_what_the_formula_takes() -> None:
    asked = wish(parameters={"tag": "v1", "draft": "true", "keep": "3", "files": "a, b"})
    assert draft(asked, rules()).action.params == {"tag": "v1", "draft": True, "keep": 3, "files": ("a", "b")}
    listed = wish(parameters={"tag": "v1", "files": '["a, b", "c"]'})
    assert draft(listed, rules()).action.params["files"] == ("a, b", "c")


def test_everything_that_is_wrong_is_said_at_once() -> None:
    found = wrong(wish(parameters={"keep": "many", "colour": "red"}))
    assert found == {
        "bad-param": "'many' is no whole number",
        "unknown-param": "release@1 takes no such parameter",
        "missing-param": "release@1 needs it",
    }


WRONG = {
    "no such formula": (wish("deploy"), "unknown-formula"),
    "another version of it": (replace(wish(), formula="release@2"), "unknown-formula"),
    "too large a number": (wish(parameters={"tag": "v1", "keep": "10"}), "bad-param"),
    "a truth value that is none": (wish(parameters={"tag": "v1", "draft": "yes"}), "bad-param"),
    "a list that is none": (wish(parameters={"tag": "v1", "files": '[1, "a"]'}), "bad-param"),
    "a choice that is none": (wish("webhook-call", parameters={"event": "begun"}), "bad-param"),
    "an option in disguise": (wish(parameters={"tag": "--force"}), "bad-param"),
    "hidden characters": (wish(parameters={"tag": "v1", "notes": "safe\u202eelif"}), "bad-text"),
    "more runs than one approval allows": (wish(runs=3, every_hours=24), "too-many-runs"),
    "no such reference": (wish(unblocks=("#3",)), "bad-unblocks"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_refused_with_its_code(name: str) -> None:
    asked, code = WRONG[name]
    assert code in wrong(asked)


def test_without_a_policy_everything_is_refused() -> None:
    with pytest.raises(Unfit, match="is missing: the vault refuses everything"):
        draft(wish(), read_rules(None, FILES))
    with pytest.raises(Unfit, match="nobody is listed as admin"):
        draft(wish(), read_rules(b"v = 1\nadmins = []\napprovers = []\n", FILES))


def test_a_formula_that_was_changed_is_not_the_one_the_policy_names() -> None:
    other = {**FILES, "release": FILES["release"].replace(b"archive and", b"archive, and")}
    with pytest.raises(Unfit, match="is not the file that the policy names"):
        draft(wish(), read_rules(policy(), other))


def test_a_formula_that_cannot_be_read_says_why() -> None:
    broken = {**FILES, "release": FILES["release"].replace(b'class = "C"', b'class = "E"')}
    with pytest.raises(Unfit, match=r"formulas/release.toml: vault.class must be one of A, B, C, D"):
        draft(wish(), read_rules(policy(), broken))


def test_one_asker_cannot_pile_up_requests() -> None:
    assert "too-many-pending" in wrong(wish(), Known(waiting={"role:dev": 2}), policy(pending=2))
    assert draft(wish(), rules(policy(pending=2)), Known(waiting={"role:dev": 1, "role:planner": 7}))


def test_what_is_done_once_is_not_asked_for_twice() -> None:
    content = draft(wish("webhook-call"), rules()).action.content
    assert "duplicate" in wrong(wish("webhook-call"), Known(repeated=frozenset({content})))


def test_the_asker_s_words_may_come_as_a_parameter() -> None:
    made = draft(wish(reason="", parameters={"tag": "v1", "reason": "because\nit is\u200b ready"}), rules())
    assert made.action.reason == "because it is? ready"
    assert "reason" not in made.action.params


def test_the_commit_says_who_asked() -> None:
    assert draft(wish(run="r1"), rules()).message.endswith("\n\nRequested-by: role:dev\nFactory-Run: r1\n")
    assert draft(wish(requester="person:founder"), rules()).message.endswith("\n\nRequested-by: person:founder\n")


@given(st.dictionaries(st.text(max_size=12), st.text(max_size=60), max_size=4), st.text(max_size=80))
def test_whatever_is_said_it_is_refused_or_a_valid_file(parameters: dict[str, str], reason: str) -> None:
    made: Draft | None
    try:
        made = draft(wish(parameters={"tag": "v1", **parameters}, reason=reason), rules())
    except Unfit:
        return
    assert read(made.text.encode(), f"{made.action.id}.toml") == made.action
    assert stamp(made.action.not_before) == "2026-11-21T12:00:30Z"
