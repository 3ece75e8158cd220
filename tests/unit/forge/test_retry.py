from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.forge.retry import MERGES, READS, Backoff, MergeAnswer, merge_answer


@pytest.mark.parametrize(
    ("status", "message", "is_"),
    [
        (200, "", MergeAnswer.DONE),
        (405, "", MergeAnswer.MERGED_ALREADY),
        (405, "Please try again later", MergeAnswer.AGAIN),
        (405, "User not allowed to merge PR", MergeAnswer.NO),
        (405, "Work in progress PRs cannot be merged", MergeAnswer.NO),
        (405, "not allowed to merge [reason: Not all required status checks successful]", MergeAnswer.NO),
        (405, "not allowed to merge [reason: Does not have enough approvals]", MergeAnswer.NO),
        (405, "not allowed to merge [reason: There are requested changes]", MergeAnswer.NO),
        (405, "not allowed to merge [reason: There are official review requests]", MergeAnswer.NO),
        (405, "not allowed to merge [reason: The head branch is behind the base branch]", MergeAnswer.NO),
        (405, "not allowed to merge [reason: Changed protected files]", MergeAnswer.NO),
        (405, "won't sign: nokey", MergeAnswer.NO),
        (405, "squash is not an allowed merge style for this repository", MergeAnswer.NO),
        (404, "The target couldn't be found.", MergeAnswer.NO),
        (409, "", MergeAnswer.NO),
        (409, "head out of date", MergeAnswer.NO),
        (409, "merge push out of date", MergeAnswer.AGAIN),
        (409, "PushRejected without remote error message", MergeAnswer.AGAIN),
        (409, "PushRejected with remote message: branch main is protected", MergeAnswer.NO),
        (409, "The merge is already scheduled", MergeAnswer.NO),
        (422, "[Do]: Required", MergeAnswer.NO),
        (423, "archived", MergeAnswer.NO),
        (201, "", MergeAnswer.UNCLEAR),
        (403, "the head branch is protected", MergeAnswer.UNCLEAR),
        (500, "", MergeAnswer.UNCLEAR),
        (502, "", MergeAnswer.UNCLEAR),
        (504, "", MergeAnswer.UNCLEAR),
    ],
)
def test_every_answer_to_a_merge_has_one_meaning(status: int, message: str, is_: MergeAnswer) -> None:
    assert merge_answer(status, message) is is_


@given(first=st.floats(0.01, 5), factor=st.floats(1, 4), longest=st.floats(0.01, 10), total=st.floats(0, 60))
def test_waits_are_bounded(first: float, factor: float, longest: float, total: float) -> None:
    waits = list(Backoff(first, factor, longest, total).waits())
    assert sum(waits) <= total + 1e-9
    assert all(wait <= max(first, longest) for wait in waits)


def test_the_waits_in_use() -> None:
    assert list(MERGES.waits())[:5] == [0.25, 0.5, 1.0, 2.0, 4.0]
    assert sum(READS.waits()) <= 3.0
