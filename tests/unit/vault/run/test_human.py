"""What only a person can do: its file, what settles it, and how loudly it is asked for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.vault.run.human import Evidence, Loudness, Pending, accepted, loudness, next_change, of, write
from tests.unit.vault.samples import ACTION

SINCE = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
PENDING = Pending("2026-11-28-domain-7f3a", SINCE, "Renew it", "Nobody else can", ("Open", "Pay"))
WHOLE = replace(PENDING, choices=("one year", "two years"), verify="dig ns x", then="Deploy.", unblocks=("a/b#3",),
                deadline=date(2026, 12, 24))  # fmt: skip


def test_the_file() -> None:
    assert write(WHOLE) == """\
# 2026-11-28-domain-7f3a

What:
> Renew it

Why:
> Nobody else can

## Human action

1. Open
2. Pay

Options:
- **A.** one year
- **B.** two years

Verify with:

    dig ns x

When it is done: `factory vault done 2026-11-28-domain-7f3a --choice A`

Factory will then:
> Deploy.

Unblocks: a/b#3

Deadline: 2026-12-24

Waiting since: 2026-11-28T12:00:00Z
"""


def test_the_file_of_the_smallest_one_and_of_one_that_is_done() -> None:
    text = write(PENDING, Evidence("ann", SINCE + timedelta(days=1), verified=False, note="done *by hand*"))
    assert "Options" not in text
    assert text.endswith("## Done\n\nBy ann, 2026-11-29T12:00:00Z.\nThe verify command FAILED.\n> done \\*by hand\\*\n")


def test_an_action_says_it_all() -> None:
    params = {"what": "Renew it", "why": "Nobody else can", "steps": ("Open", "Pay"), "verify": "dig ns x",
              "choices": ("one year", "two years"), "then": "Deploy.", "deadline": "2026-12-24"}  # fmt: skip
    action = replace(ACTION, id=WHOLE.id, params=params, unblocks=("a/b#3",))
    assert of(action, SINCE) == WHOLE
    assert of(replace(action, params={**params, "deadline": "2026-02-30"}), SINCE).deadline is None


@given(st.text(max_size=80))
def test_the_askers_words_cannot_become_markup(text: str) -> None:
    shown = write(replace(PENDING, what=text, why=text, steps=(text,), choices=(text,), then=text))
    rows = shown.split("\n")
    heads = [row for row in rows if row.startswith("#")]
    assert heads == ["# 2026-11-28-domain-7f3a", "## Human action"]
    quoted = text.replace("\n", " ").replace("\r", " ")
    for char in "<[`@#*":
        assert quoted.count(char) * 3 <= shown.count(f"\\{char}")


@pytest.mark.parametrize(
    ("pending", "evidence", "why"),
    [
        (PENDING, Evidence("ann", SINCE), ""),
        (PENDING, Evidence("ann", SINCE, choice="A"), "there is nothing to choose"),
        (WHOLE, Evidence("ann", SINCE, verified=True), "choose one of A, B"),
        (WHOLE, Evidence("ann", SINCE, choice="C", verified=True), "choose one of A, B"),
        (WHOLE, Evidence("ann", SINCE, choice="B"), "the verify command was not run"),
        (WHOLE, Evidence("ann", SINCE, choice="B", verified=False), "the verify command did not succeed"),
        (WHOLE, Evidence("ann", SINCE, choice="B", verified=True), ""),
    ],
)  # fmt: skip
def test_what_settles_it(pending: Pending, evidence: Evidence, why: str) -> None:
    assert accepted(pending, evidence) == why


@pytest.mark.parametrize(
    ("pending", "days", "loud"),
    [
        (PENDING, 0, Loudness.LISTED), (PENDING, 1.9, Loudness.LISTED), (PENDING, 2, Loudness.REMINDED),
        (PENDING, 6.9, Loudness.REMINDED), (PENDING, 7, Loudness.ESCALATED), (WHOLE, 7, Loudness.LISTED),
        (WHOLE, 24.4, Loudness.LISTED), (WHOLE, 24.6, Loudness.REMINDED), (WHOLE, 26.6, Loudness.ESCALATED),
    ],
)  # fmt: skip
def test_how_loudly_it_is_asked_for(pending: Pending, days: float, loud: Loudness) -> None:
    assert loudness(pending, SINCE + timedelta(days=days)) is loud


@given(st.floats(0, 60), st.sampled_from([PENDING, WHOLE]))
def test_it_is_the_same_until_the_moment_that_is_told(days: float, pending: Pending) -> None:
    now = SINCE + timedelta(days=days)
    change = next_change(pending, now)
    if change is None:
        assert loudness(pending, now) is loudness(pending, now + timedelta(days=1000)) is Loudness.ESCALATED
    else:
        assert loudness(pending, change - timedelta(seconds=1)) is loudness(pending, now)
        assert loudness(pending, change) is not loudness(pending, now)
