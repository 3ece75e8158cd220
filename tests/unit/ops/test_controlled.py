from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from factory.forge.values import Review, ReviewState, User
from factory.ops.controlled import (
    Approved,
    Authority,
    History,
    MainCommit,
    People,
    Touch,
    approvals,
    authority,
)

ROOT = "root"
BOTS = frozenset({"factory-bot", "review-bot"})
PEOPLE = People(frozenset({"Ada", "review-bot"}), frozenset({"Root"}))
START = Authority(ROOT, ROOT)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def commit(oid: str, parent: str, *touched: Touch, head: str | None = None) -> MainCommit:
    return MainCommit(oid, (parent, head) if head else (parent,), touched)


def settings(old: str | None, new: str | None) -> Touch:
    return Touch("factory.toml", old, new)


def pull(merge: str, *touched: Touch, by: str = "ada", base: str = ROOT, author: str = "factory-bot") -> Approved:
    blobs = {touch.path: touch.new for touch in touched}
    return Approved(4, merge, f"head of {merge}", author, frozenset({by}) if by else frozenset(), base, blobs)


def merged(oid: str, parent: str, *touched: Touch) -> MainCommit:
    return commit(oid, parent, *touched, head=f"head of {oid}")


def ask(commits: list[MainCommit], pulls: list[Approved], people: dict[str, People | None] | None = None) -> Authority:
    known = people or {}
    return authority(START, History(tuple(commits)), pulls, lambda oid: known.get(oid, PEOPLE), BOTS)


CHANGE = settings("v0", "v1")


def test_the_seed_counts_and_untouched_commits_move_nothing() -> None:
    answer = ask([commit(f"c{n}", f"c{n - 1}" if n else ROOT) for n in range(30)], [])
    assert answer == Authority(ROOT, "c29")


def test_an_approved_merge_counts() -> None:
    assert ask([merged("m", ROOT, CHANGE), commit("c", "m")], [pull("m", CHANGE)]) == Authority("m", "c")


def test_a_squashed_one_counts_too() -> None:
    assert ask([commit("m", ROOT, CHANGE)], [pull("m", CHANGE)]).commit == "m"


@pytest.mark.parametrize(
    ("case", "given", "words"),
    [
        (commit("m", ROOT, CHANGE), [], "no merged pull request brought it"),
        (merged("m", ROOT, CHANGE), [pull("other", CHANGE)], "no merged pull request brought it"),
        (merged("m", ROOT, CHANGE), [pull("m", CHANGE, by="")], "nobody listed"),
        (merged("m", ROOT, CHANGE), [pull("m", CHANGE, by="mallory")], "nobody listed"),
        (merged("m", ROOT, CHANGE), [pull("m", CHANGE, by="review-bot")], "nobody listed"),
        (merged("m", ROOT, CHANGE), [pull("m", CHANGE, by="ada", author="ADA")], "nobody listed"),
        (merged("m", ROOT, CHANGE), [pull("m", settings("v0", "v9"))], "is not what pull request #4 holds"),
        (merged("m", ROOT, CHANGE), [pull("m")], "is not what pull request #4 holds"),
        (commit("m", ROOT, CHANGE, head="elsewhere"), [pull("m", CHANGE)], "merges something else"),
        (
            merged("m", ROOT, Touch("vault/policy.toml", "p0", "p1")),
            [pull("m", Touch("vault/policy.toml", "p0", "p1"))],
            "takes an admin's approval",
        ),
    ],
)
def test_what_nobody_listed_approved_does_not_count(case: MainCommit, given: list[Approved], words: str) -> None:
    answer = ask([case, commit("c", "m")], given)
    assert (answer.commit, answer.checked) == (ROOT, ROOT)
    (problem,) = answer.problems
    assert words in problem.message
    assert "the version of root stays in force" in problem.message
    assert problem.path == case.touched[0].path


def test_an_admin_approves_the_policy() -> None:
    touch = Touch("vault/policy.toml", "p0", "p1")
    assert ask([merged("m", ROOT, touch)], [pull("m", touch, by="root")]).commit == "m"


@pytest.mark.parametrize(("by", "counts"), [("ada", False), ("root", True)])
def test_who_approves_is_an_admins_to_change(by: str, counts: bool) -> None:
    people = {"m": People(frozenset({"mallory"}), PEOPLE.admins)}
    answer = ask([merged("m", ROOT, CHANGE)], [pull("m", CHANGE, by=by)], people)
    assert answer.commit == ("m" if counts else ROOT)


def test_people_of_the_version_before_judge() -> None:
    people: dict[str, People | None] = {oid: People(frozenset({"mallory"}), PEOPLE.admins) for oid in ("m", "n")}
    second = settings("v1", "v2")
    chain = [merged("m", ROOT, CHANGE), merged("n", "m", second)]
    by_root = pull("m", CHANGE, by="root")
    assert ask(chain, [by_root, pull("n", second, by="mallory", base="m")], people).commit == "n"
    assert ask(chain, [by_root, pull("n", second, by="ada", base="m")], people).commit == "m"


def test_an_undone_change_needs_nobody() -> None:
    chain = [commit("bad", ROOT, CHANGE), commit("c", "bad"), commit("undo", "c", settings("v1", "v0"))]
    answer = ask(chain, [])
    assert answer == Authority("undo", "undo")


def test_an_approved_change_on_top_does_not_smuggle_what_was_pushed_before() -> None:
    """The reviewer of the second change saw only its difference from the pushed one."""
    more = settings("v1", "v2")
    chain = [commit("bad", ROOT, CHANGE), merged("m", "bad", more)]
    assert ask(chain, [pull("m", more, base="bad")]).commit == ROOT
    other = Touch("formulas/dev.toml", "f0", "f1")
    chain = [commit("bad", ROOT, CHANGE), merged("m", "bad", other)]
    assert ask(chain, [pull("m", other, base="bad")]).commit == ROOT


def test_a_change_seen_from_the_version_in_force_clears() -> None:
    whole = settings("v1", "v2")
    chain = [commit("bad", ROOT, CHANGE), merged("m", "bad", whole)]
    assert ask(chain, [pull("m", whole, base=ROOT)]) == Authority("m", "m")


def test_a_clean_merge_with_what_main_got_meanwhile_counts_where_main_was_clean() -> None:
    first, second = settings("v0", "v1"), settings("v1", "v12")
    late = replace(pull("n", settings("v0", "v2")), remerged={"factory.toml": "v12"})
    chain = [merged("m", ROOT, first), merged("n", "m", second)]
    assert ask(chain, [pull("m", first), late]) == Authority("n", "n")
    assert ask([commit("bad", ROOT, first), merged("n", "bad", second)], [late]).commit == ROOT
    other = replace(late, remerged={"factory.toml": "something else"})
    assert ask(chain, [pull("m", first), other]).commit == "m"


def test_an_approved_change_waits_for_the_pushed_one_to_be_undone() -> None:
    other = Touch("formulas/dev.toml", "f0", "f1")
    chain = [commit("bad", ROOT, CHANGE), merged("m", "bad", other), commit("undo", "m", settings("v1", "v0"))]
    assert ask(chain, [pull("m", other, base="bad")]) == Authority("undo", "undo")


def test_an_approved_mistake_leaves_the_last_valid_version_in_force() -> None:
    chain = [merged("m", ROOT, CHANGE), commit("c", "m")]
    answer = ask(chain, [pull("m", CHANGE)], {"m": None})
    assert answer.commit == ROOT
    assert "is not valid" in answer.problems[0].message
    repair = settings("v1", "v2")
    answer = ask([*chain, merged("n", "c", repair)], [pull("m", CHANGE), pull("n", repair, base="c")], {"m": None})
    assert answer == Authority("n", "n"), "the people of the last valid version approve its repair"


def test_a_broken_chain_freezes() -> None:
    answer = authority(START, History((), "was rewritten"), [], lambda oid: PEOPLE, BOTS)
    assert (answer.commit, answer.checked) == (ROOT, ROOT)
    assert answer.problems[0].message == "was rewritten"


def test_without_valid_people_nobody_approves() -> None:
    assert ask([merged("m", ROOT, CHANGE)], [pull("m", CHANGE)], {ROOT: None}).commit == ROOT


def test_going_on_from_the_last_answer_is_the_same() -> None:
    second = settings("v1", "v2")
    chain = [merged("m", ROOT, CHANGE), commit("c", "m"), merged("n", "c", second)]
    pulls = [pull("m", CHANGE), pull("n", second, base="c")]
    first = ask(chain[:2], pulls)
    rest = authority(first, History(tuple(chain[2:])), pulls, lambda oid: PEOPLE, BOTS)
    assert rest == ask(chain, pulls) == Authority("n", "n")


def review(login: str, state: ReviewState, minute: int, **changes: object) -> Review:
    base = Review(minute, User(1, login), state, "head", "", True, False, False, NOW + timedelta(minutes=minute))
    return replace(base, **changes)  # type: ignore[arg-type]


def test_an_approval_is_official_undismissed_at_this_head_and_the_last_word() -> None:
    yes, no = ReviewState.APPROVED, ReviewState.REQUEST_CHANGES
    given = [
        review("ada", no, 1),
        review("ada", yes, 2),
        review("ada", ReviewState.COMMENT, 3),
        review("bob", yes, 1),
        review("bob", no, 2),
        review("cy", yes, 1, commit="older head"),
        review("dan", yes, 1, official=False),
        review("eve", yes, 1, dismissed=True),
        review("fay", ReviewState.PENDING, 1),
    ]
    assert approvals(given, "head") == {"ada"}
    assert approvals(reversed(given), "head") == {"ada"}
