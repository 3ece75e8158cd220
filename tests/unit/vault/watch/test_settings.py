"""The forge's settings as facts: what is wrong with them, what changed, what the record says of it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.config.model import DEFAULT_ACCOUNTS
from factory.forge.settings import ONLY_MERGE, protection_body
from factory.forge.values import Repo, RepoName, User
from factory.forge.wanted import wanted_setup
from factory.vault.watch import record
from factory.vault.watch.settings import Expected, changes, digest, facts_of, writers, wrong

OPS = RepoName("founder", "tally-ops")
EXPECTED = Expected(OPS, 7, DEFAULT_ACCOUNTS, "readme.md;knowledge/**")
WANT = wanted_setup(
    RepoName("founder", "tally"), OPS, accounts=DEFAULT_ACCOUNTS, approvers=["founder"],
    direct_patterns=EXPECTED.direct_patterns,
).repos[1]  # fmt: skip
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
REPO = Repo(7, OPS, "main", True, False, False, False, False, styles=ONLY_MERGE)


def as_set_up() -> dict[str, Any]:
    """The facts right after set-up."""
    rules = [
        {**protection_body(rule), "created_at": "2026-11-28T10:00:00Z", "updated_at": "2026-11-28T10:00:00Z",
         "push_whitelist_teams": [], "push_whitelist_deploy_keys": False, "merge_whitelist_teams": None}
        for rule in WANT.protections
    ]  # fmt: skip
    rights = sorted(WANT.collaborators.items())
    people = {login: (User(10 + n, login), right) for n, (login, right) in enumerate(rights)}
    return deepcopy(dict(facts_of(REPO, rules, {**people, "founder": (User(1, "founder"), "owner")})))


def rule(facts: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(rule for rule in facts["rules"] if rule["rule_name"] == name)
    return found


def test_after_set_up_nothing_is_wrong() -> None:
    assert wrong(as_set_up(), EXPECTED) == ()


def test_who_else_may_approve_is_the_policys_question() -> None:
    facts = as_set_up()
    rule(facts, "mai[n]")["approvals_whitelist_username"] = ["ann", "founder"]
    assert wrong(facts, EXPECTED) == ()


@pytest.mark.parametrize(
    ("name", "key", "value", "words"),
    [
        ("mai[n]", "enable_push", True, "enable_push: True instead of False"),
        ("mai[n]", "approvals_whitelist_username", [], "missing somebody who may approve"),
        ("mai[n]", "approvals_whitelist_username", ["vault-bot", "founder"], "not asked for vault-bot"),
        ("mai[n]", "merge_whitelist_usernames", ["vault-bot", "factory-bot", "founder"], "not asked for founder"),
        ("mai[n]", "unprotected_file_patterns", "**", "unprotected_file_patterns"),
        ("ledge[r]", "push_whitelist_usernames", ["dispatcher-bot", "factory-bot"], "not asked for factory-bot"),
        ("ledge[r]", "push_whitelist_teams", ["devs"], "push_whitelist_teams: devs"),
        ("ledge[r]", "push_whitelist_deploy_keys", True, "deploy keys may push"),
        ("aut[o]", "merge_whitelist_teams", ["devs"], "merge_whitelist_teams: devs"),
        ("journa[l]", "enable_merge_whitelist", False, "enable_merge_whitelist"),
    ],
)
def test_a_weakened_rule_is_named(name: str, key: str, value: object, words: str) -> None:
    facts = as_set_up()
    rule(facts, name)[key] = value
    (said,) = wrong(facts, EXPECTED)
    assert said.startswith(f"the rule {name}: ")
    assert words in said


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("id", 8, "(id 8), not founder/tally-ops (id 7)"),
        ("name", "founder/other", "the repo is founder/other"),
        ("archived", True, "archived"),
        ("has_actions", True, "actions are switched on"),
        ("styles", ["allow_merge_commits", "allow_rebase"], "other ways of merging are allowed: allow_rebase"),
        ("styles", [], "merging is not allowed"),
    ],
)
def test_a_changed_repo_is_named(key: str, value: object, words: str) -> None:
    facts = as_set_up()
    facts["repo"][key] = value
    (said,) = wrong(facts, EXPECTED)
    assert words in said


def test_a_missing_rule_and_one_that_wins_are_named() -> None:
    facts = as_set_up()
    rule(facts, "ledge[r]")["rule_name"] = "ledger"
    assert wrong(facts, EXPECTED) == ("ledger is not protected: the rule ledge[r] is gone",)
    facts = as_set_up()
    facts["rules"].insert(0, {**rule(facts, "ledge[r]"), "rule_name": "ledger"})
    (said,) = wrong(facts, EXPECTED)
    assert said.startswith("the rule ledger wins over ledge[r]")


@pytest.mark.parametrize(("login", "right"), [("dev-bot", "write"), ("vault-bot", "admin"), ("sentinel-bot", "read")])
def test_a_bot_with_another_right_is_named(login: str, right: str) -> None:
    facts = as_set_up()
    facts["people"][login]["permission"] = right
    (said,) = wrong(facts, EXPECTED)
    assert said == f"{login} has {right} on it, not {WANT.collaborators[login]}"


def test_people_may_have_any_right_and_only_writers_write() -> None:
    facts = as_set_up()
    facts["people"]["ann"] = {"id": 2, "permission": "admin"}
    facts["people"]["bob"] = {"id": 3, "permission": "read"}
    assert wrong(facts, EXPECTED) == ()
    assert writers(facts) & {1, 2, 3} == {1, 2}


def test_the_order_of_a_list_is_no_difference_and_the_order_of_rules_is() -> None:
    facts = as_set_up()
    rows = [{**row, "merge_whitelist_usernames": row["merge_whitelist_usernames"][::-1]} for row in facts["rules"]]
    people = {login: (User(one["id"], login), one["permission"]) for login, one in facts["people"].items()}
    assert digest(facts_of(REPO, rows, people)) == digest(facts)
    turned = facts_of(REPO, rows[::-1], people)
    assert digest(turned) != digest(facts)
    assert changes(facts, turned) == ("the order of the rules changed",)


def test_every_field_that_anybody_changes_makes_another_digest_and_is_said() -> None:
    facts = as_set_up()
    for part in (facts["repo"], *facts["rules"], *facts["people"].values()):
        for key in list(part):
            kept, part[key] = part[key], "something else"
            assert digest(facts) != digest(as_set_up()), key
            assert changes(as_set_up(), facts), key
            part[key] = kept
    assert changes(as_set_up(), facts) == ()


def test_what_changed_is_said_in_words() -> None:
    facts = as_set_up()
    rule(facts, "mai[n]")["required_approvals"] = 0
    rule(facts, "aut[o]")["updated_at"] = "2026-11-28T11:00:00Z"
    facts["people"]["dev-bot"]["permission"] = "write"
    del facts["people"]["founder"]
    facts["rules"] = [row for row in facts["rules"] if row["rule_name"] != "journa[l]"]
    facts["repo"]["private"] = False
    assert changes(as_set_up(), facts) == (
        "private of the repo: True, now False",
        "the rule journa[l] was removed",
        "the rule aut[o] was changed and put back, or made anew",
        "the rule mai[n]: required_approvals: 1, now 0",
        f"dev-bot: read (account {facts['people']['dev-bot']['id']}), now write "
        f"(account {facts['people']['dev-bot']['id']})",
        "founder: owner (account 1), now no collaborator",
    )


# the record


def looked(before: record.Record | None, facts: dict[str, Any], seconds: float, poll: float = 60) -> record.Record:
    at = NOON + timedelta(seconds=seconds)
    return record.after(before, facts, wrong(facts, EXPECTED), at=at, looked=at, poll_seconds=poll)


def changed() -> dict[str, Any]:
    facts = as_set_up()
    facts["repo"]["private"] = False
    return facts


def test_a_generation_grows_with_each_change_and_also_back() -> None:
    first = looked(None, as_set_up(), 0)
    same = looked(first, as_set_up(), 60)
    other = looked(same, changed(), 120)
    back = looked(other, as_set_up(), 180)
    assert same.generation == first.generation
    assert same.since == first.since
    assert back.digest == first.digest
    assert back.generation > other.generation > same.generation
    assert back.since > other.since > same.since
    assert back.changed_since(first.generation) == (
        "private of the repo: True, now False", "private of the repo: False, now True",
    )  # fmt: skip
    assert back.changed_since(other.generation) == ("private of the repo: False, now True",)


def test_a_gap_is_no_change_but_what_was_in_it_is_not_known() -> None:
    first = looked(None, as_set_up(), 0)
    near, far = looked(first, as_set_up(), 180), looked(first, as_set_up(), 181)
    assert (near.since, near.generation) == (first.since, first.generation)
    assert far.since == NOON + timedelta(seconds=182)
    assert far.generation == first.generation


def test_a_lost_record_does_not_bring_an_earlier_generation_back() -> None:
    first = looked(looked(None, as_set_up(), 0), changed(), 60)
    lost = looked(None, changed(), 120)
    assert lost.generation > first.generation


def test_what_was_seen_in_the_same_second_is_not_taken_for_watched() -> None:
    """A request opened in the second of the look may have come before it."""
    first = looked(None, as_set_up(), 0)
    assert first.since == first.at + timedelta(seconds=1)


def at(seconds: float) -> str:
    return (NOON + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def with_rule(seconds: float, name: str = "mai[n]", **values: Any) -> dict[str, Any]:
    """As set up, with a rule that was changed at that time."""
    facts = as_set_up()
    rule(facts, name).update(updated_at=at(seconds), **values)
    return facts


def test_a_changed_rule_is_watched_from_the_second_after_its_change_on() -> None:
    """What is asked for a little later was asked for under the rule as it is, however long nobody looked."""
    first = looked(None, as_set_up(), 0)
    then = looked(first, with_rule(10, required_approvals=0), 100)
    assert then.since == NOON + timedelta(seconds=11)
    back = looked(then, with_rule(130), 150)
    assert back.since == NOON + timedelta(seconds=131), "the latest change counts"
    more = with_rule(130)
    more["rules"].append({**rule(more, "aut[o]"), "rule_name": "edi[t]/**", "updated_at": at(160)})
    assert looked(back, more, 170).since == NOON + timedelta(seconds=161), "one that was added"
    two = with_rule(160)
    rule(two, "aut[o]")["updated_at"] = at(155)
    assert looked(back, two, 170).since == NOON + timedelta(seconds=161)


def test_whatever_else_changed_is_watched_from_the_look_on() -> None:
    """Nobody tells when it changed: it may have been after a request that was opened in between."""
    first = looked(None, as_set_up(), 0)

    def since(facts: dict[str, Any], seconds: float = 100) -> datetime:
        return looked(first, facts, seconds).since - timedelta(seconds=seconds + 1)

    gone, person, repo, order = (with_rule(10) for _ in range(4))
    gone["rules"].pop()
    person["people"]["dev-bot"]["permission"] = "write"
    repo["repo"]["archived"] = True
    order["rules"].reverse()
    for facts in (gone, person, repo, order, changed()):
        assert since(facts) == NOON
    for told in ("", "never", "2026-11-28T12:00:10", at(200), at(-2), None):
        assert since(with_rule(0, required_approvals=0) | {"rules": [
            {**one, "updated_at": told} if one["rule_name"] == "mai[n]" else one
            for one in with_rule(0, required_approvals=0)["rules"]]}) == NOON, told  # fmt: skip
    assert since(with_rule(10), 181) == NOON, "nor what was not watched for so long"


def test_what_changed_last_is_told() -> None:
    told = looked(looked(None, as_set_up(), 0), changed(), 60).told()
    assert told.changed == "private of the repo: True, now False"
    assert looked(None, as_set_up(), 0).told().changed == ""


def test_the_record_is_kept_whole(tmp_path: Path) -> None:
    seen = looked(looked(None, as_set_up(), 0), changed(), 60)
    record.write(tmp_path, seen)
    assert record.read(tmp_path) == seen
    assert (tmp_path / record.NAME).stat().st_mode & 0o777 == 0o600
    told = seen.told()
    assert (told.digest, told.generation, told.at, told.since) == (seen.digest, seen.generation, seen.at, seen.since)


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"v": 1, "at": "x"}', b"\xff"])
def test_a_broken_record_is_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / record.NAME).write_bytes(data)
    assert record.read(tmp_path) is None


def test_only_the_newest_changes_are_remembered() -> None:
    seen = looked(None, as_set_up(), 0)
    for n in range(record.KEPT + 5):
        seen = looked(seen, changed() if n % 2 else as_set_up(), 60 * n)
    assert len(seen.changes) <= record.KEPT
    assert replace(seen, changes=()).changed_since(0) == ()
