"""Rule R4: whose approval counts. The whole truth table, and that it follows from the rule and not from a file."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.approval import Bench, Review, Verdict, judge
from tests.unit.vault.approval_rows import ANN, BOB, GOOD, HEAD, OTHER, PUSHED, STATES, TABLE, One, ones, rows

EVERYBODY = Bench(frozenset({ANN, BOB}), frozenset(), frozenset({ANN, BOB}))


def test_the_truth_table_is_as_it_was_agreed() -> None:
    assert TABLE.read_text(encoding="utf-8").splitlines() == list(rows())


def test_the_table_is_the_rule() -> None:
    """One review of one person is a permission if and only if every condition holds."""
    allowed = [one for one in ones() if not judge([one.review()], HEAD, PUSHED, one.bench()).code]
    assert allowed == [
        one
        for one in ones()
        if one.state == "APPROVED"
        and not one.dismissed
        and not one.stale
        and one.official
        and one.at_head
        and one.listed
        and not one.barred
        and one.time != "before"
    ]
    assert len(allowed) == 4


def code(*reviews: Review, bench: Bench = EVERYBODY) -> str:
    return judge(reviews, HEAD, PUSHED, bench).code


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, ""),
        ({"user": 9}, "approver-not-listed"),
        ({"dismissed": True}, "approval-dismissed"),
        ({"stale": True}, "approval-stale"),
        ({"official": False}, "approval-unofficial"),
        ({"commit": OTHER}, "head-moved"),
        ({"commit": ""}, "head-moved"),
        ({"commit": HEAD[:-1]}, "head-moved"),
        ({"at": PUSHED - timedelta(microseconds=1)}, "approved-before-push"),
        ({"at": PUSHED}, ""),
        ({"state": "PENDING"}, "no-approval"),
        ({"state": "approved"}, "no-approval"),
        ({"state": "REQUEST_CHANGES"}, "changes-requested"),
    ],
)
def test_finding_3_every_flag_is_read(change: dict[str, object], expected: str) -> None:
    """``state: APPROVED`` alone says nothing: the booleans beside it do."""
    assert code(replace(GOOD.review(), **change)) == expected  # type: ignore[arg-type]


def test_attack_4_who_wrote_or_posted_it_is_barred() -> None:
    assert code(GOOD.review(), bench=replace(EVERYBODY, barred=frozenset({ANN}))) == "approver-barred"
    assert code(GOOD.review(BOB), bench=replace(EVERYBODY, barred=frozenset({ANN}))) == ""


def test_nobody_is_no_approval() -> None:
    assert judge([], HEAD, PUSHED, EVERYBODY) == Verdict((), "no-approval", "nobody approved it")
    assert code(bench=replace(EVERYBODY, need=0)) == "no-approval", "needing nobody is not an approval either"


def test_the_refusal_is_of_the_approval_that_came_nearest_whatever_the_order() -> None:
    reviews = [
        replace(GOOD.review(), id=1, user=20),
        replace(GOOD.review(), id=2, user=21, dismissed=True),
        replace(GOOD.review(), id=3, user=22, commit=OTHER),
        replace(GOOD.review(), id=4, user=23, stale=True),
        replace(GOOD.review(), id=5, user=24, official=False),
        replace(GOOD.review(), id=6, user=25, at=PUSHED - timedelta(1)),
        replace(GOOD.review(), id=7, user=26),
    ]
    bench = Bench(frozenset(range(21, 27)), frozenset({26}), frozenset())
    order = ["approver-not-listed", "approver-barred", "approval-dismissed", "head-moved", "approval-stale",
             "approval-unofficial", "approved-before-push"]  # fmt: skip
    by_code = {judge([review], HEAD, PUSHED, bench).code: review for review in reviews}
    assert sorted(by_code, key=order.index) == order
    for count in range(1, 8):
        for turn in list(permutations(order[:count]))[:24]:
            assert judge([by_code[c] for c in turn], HEAD, PUSHED, bench).code == order[count - 1]


def test_a_persons_last_word_counts_by_time_then_by_number() -> None:
    yes, no = GOOD.review(), replace(GOOD.review(), state="REQUEST_CHANGES")
    later = PUSHED + timedelta(seconds=60)
    assert code(replace(yes, id=1), replace(no, id=2, at=later)) == "changes-requested"
    assert code(replace(no, id=2), replace(yes, id=1, at=later)) == ""
    assert code(replace(yes, id=1), replace(no, id=2)) == "changes-requested"
    assert code(replace(no, id=2), replace(yes, id=1)) == "changes-requested"
    assert code(replace(yes, id=2), replace(no, id=1)) == ""
    assert code(yes, replace(no, id=9, state="COMMENT", at=later)) == "", "a comment takes nothing back"


def test_r4_one_admins_rejection_stands_against_any_number_of_approvals() -> None:
    no = replace(GOOD.review(BOB, 2), state="REQUEST_CHANGES")
    assert judge([GOOD.review(), no], HEAD, PUSHED, EVERYBODY) == Verdict(
        (), "changes-requested", f"account {BOB} asks for changes"
    )
    assert code(GOOD.review(), replace(no, dismissed=True)) == ""
    assert code(GOOD.review(), no, bench=replace(EVERYBODY, rejecters=frozenset({ANN}))) == "", "others may not block"
    assert code(GOOD.review(), replace(no, at=PUSHED - timedelta(9), commit=OTHER, stale=True)) == "changes-requested"


def test_more_than_one_person() -> None:
    two = replace(EVERYBODY, need=2)
    assert judge([GOOD.review(), GOOD.review(BOB, 2)], HEAD, PUSHED, two) == Verdict((ANN, BOB))
    assert judge([GOOD.review(), GOOD.review(ANN, 2)], HEAD, PUSHED, two) == Verdict(
        (ANN,), "more-approvals", "2 different people must approve"
    )
    assert judge([GOOD.review(BOB), GOOD.review(ANN, 2)], HEAD, PUSHED, EVERYBODY).people == (ANN, BOB)
    assert code(GOOD.review(), replace(GOOD.review(BOB, 2), stale=True), bench=two) == "more-approvals"
    assert code(GOOD.review(), GOOD.review(BOB, 2), bench=replace(EVERYBODY, need=3)) == "more-approvals"


def test_words_name_who_and_what() -> None:
    faults = {
        "approver-not-listed": replace(GOOD.review(), user=9),
        "approval-dismissed": replace(GOOD.review(), dismissed=True),
        "head-moved": replace(GOOD.review(), commit=OTHER),
        "approval-stale": replace(GOOD.review(), stale=True),
        "approval-unofficial": replace(GOOD.review(), official=False),
        "approved-before-push": replace(GOOD.review(), at=PUSHED - timedelta(1)),
    }
    for name, review in faults.items():
        verdict = judge([review], HEAD, PUSHED, EVERYBODY)
        assert (verdict.code, verdict.people) == (name, ())
        assert f"account {review.user}" in verdict.words
    moved = judge([faults["head-moved"]], HEAD, PUSHED, EVERYBODY).words
    assert f"{OTHER[:12]}, not {HEAD[:12]}" in moved
    assert OTHER[:13] not in moved
    assert "no commit" in judge([replace(GOOD.review(), commit="")], HEAD, PUSHED, EVERYBODY).words


# --- properties -------------------------------------------------------------------------------------------------------

reviews = st.lists(
    st.builds(
        Review, st.integers(1, 50), st.integers(1, 4), st.sampled_from(STATES), st.booleans(), st.booleans(),
        st.booleans(),
        st.sampled_from([HEAD, HEAD, OTHER]), st.integers(-2, 6).map(lambda n: PUSHED + timedelta(seconds=n)),
    ),
    max_size=6, unique_by=lambda review: review.id,
)  # fmt: skip
people = st.frozensets(st.integers(1, 4))
benches = st.builds(Bench, people, st.frozensets(st.integers(1, 4), max_size=1), people, st.integers(1, 2))
kind = {"dismissed": True, "stale": True, "official": False, "commit": OTHER, "at": PUSHED - timedelta(days=1)}


@given(reviews, benches)
def test_a_permission_always_has_enough_good_last_words(given_: list[Review], bench: Bench) -> None:
    verdict = judge(given_, HEAD, PUSHED, bench)
    if verdict.code:
        return
    assert len(verdict.people) == len(set(verdict.people)) >= bench.need
    for user in verdict.people:
        assert user in bench.listed - bench.barred
        decisive = [r for r in given_ if r.user == user and r.state in ("APPROVED", "REQUEST_CHANGES")]
        last = max(decisive, key=lambda r: (r.at, r.id))
        assert (last.state, last.dismissed, last.stale, last.official, last.commit) == (
            "APPROVED",
            False,
            False,
            True,
            HEAD,
        )
        assert last.at >= PUSHED
    standing = {r.user: r for r in sorted(given_, key=lambda r: (r.at, r.id)) if r.state != "COMMENT"}
    rejections = [r for r in standing.values() if r.state == "REQUEST_CHANGES" and not r.dismissed]
    assert not [r for r in rejections if r.user in bench.rejecters]


@given(reviews, benches, st.integers(1, 4))
def test_removing_whoever_approved_never_turns_a_refusal_into_a_permission(
    given_: list[Review], bench: Bench, user: int
) -> None:
    """Evidence is what somebody who does not object has said; taken away, nothing becomes allowed."""
    if not judge(given_, HEAD, PUSHED, bench).code or any(
        r.user == user and r.state == "REQUEST_CHANGES" for r in given_
    ):
        return
    assert judge([r for r in given_ if r.user != user], HEAD, PUSHED, bench).code


@given(reviews, benches, st.data())
def test_worsening_one_approval_never_turns_a_refusal_into_a_permission(
    given_: list[Review], bench: Bench, data: st.DataObject
) -> None:
    approvals = [r for r in given_ if r.state == "APPROVED"]
    if not approvals or not judge(given_, HEAD, PUSHED, bench).code:
        return
    worse = data.draw(st.sampled_from(approvals))
    key = data.draw(st.sampled_from(sorted(set(kind) - {"at"})))
    after = [replace(r, **{key: kind[key]}) if r.id == worse.id else r for r in given_]  # type: ignore[arg-type]
    assert judge(after, HEAD, PUSHED, bench).code


@given(reviews, benches, st.integers(1, 4), st.integers(1, 10))
def test_a_narrower_bench_or_a_later_push_never_turns_a_refusal_into_a_permission(
    given_: list[Review], bench: Bench, user: int, later: int
) -> None:
    if not judge(given_, HEAD, PUSHED, bench).code:
        return
    narrower = (
        replace(bench, listed=bench.listed - {user}), replace(bench, barred=bench.barred | {user}),
        replace(bench, rejecters=bench.rejecters | {user}), replace(bench, need=bench.need + 1),
    )  # fmt: skip
    for other in narrower:
        assert judge(given_, HEAD, PUSHED, other).code
    assert judge(given_, HEAD, PUSHED + timedelta(seconds=later), bench).code
    assert judge(given_, "c" * 40, PUSHED, bench).code


@given(reviews, benches, st.randoms())
def test_the_order_in_which_the_forge_tells_them_does_not_matter(
    given_: list[Review], bench: Bench, random: object
) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(shuffled, HEAD, PUSHED, bench) == judge(given_, HEAD, PUSHED, bench)


@given(reviews, benches)
def test_what_was_said_before_the_last_word_does_not_matter(given_: list[Review], bench: Bench) -> None:
    last = {r.user: r for r in sorted(given_, key=lambda r: (r.at, r.id)) if r.state != "COMMENT"}
    assert judge(last.values(), HEAD, PUSHED, bench) == judge(given_, HEAD, PUSHED, bench)


def test_one_is_a_review(  # the rows' own builder
) -> None:
    one = One("APPROVED", True, False, True, False, True, True, False, "before")
    assert one.review() == Review(1, ANN, "APPROVED", True, False, True, OTHER, PUSHED - timedelta(seconds=1))
    assert one.bench() == Bench(frozenset({ANN}), frozenset({ANN}), frozenset())
