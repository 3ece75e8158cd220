"""What only a person can do: read as people and agents write it, finished without losing a byte."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.ops.pending import Pending, finished, parse, render

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOMAIN = Pending(
    "Buy a domain", "tally.example for a year", "The site has no name (acme/tally#3)", ("Log in", "Pay"),
    ("tally.example", "tally.test"), "dig +short tally.example", "Publish the site there", "acme/tally#3", AT,
    "2026-12-01",
)  # fmt: skip


def test_written_and_read_it_is_the_same() -> None:
    assert parse(render(DOMAIN).encode()) == DOMAIN


def test_a_file_of_the_older_form_is_read_too() -> None:
    old = b"# Request: A runner\n\n## Human action\n1. [ ] Order it\n2. Rack it\n\n## Unblocks\n- #12\n"
    there = parse(old)
    assert there is not None
    assert (there.title, there.steps, there.unblocks) == ("A runner", ("Order it", "Rack it"), "- #12")
    assert there.since is None


def test_a_file_without_a_title_is_none() -> None:
    assert parse(b"some notes\n") is None


def test_finishing_adds_the_last_section_and_nothing_else() -> None:
    before = render(DOMAIN).encode()
    after = finished(before, "founder", AT, "B")
    assert after.startswith(before.rstrip(b"\n"))
    there = parse(after)
    assert there is not None
    assert there.done == "2026-11-21T12:00:00Z by founder, option B"


@pytest.mark.parametrize(
    ("data", "choice", "why"),
    [
        (render(DOMAIN).encode(), "C", "it has no option C; options: A, B"),
        (render(DOMAIN).encode(), "", "which option? A, B"),
        (b"notes\n", "", "it is no request"),
        (finished(render(DOMAIN).encode(), "founder", AT, "A"), "A", "it is done already"),
    ],
)
def test_what_cannot_be_finished_says_why(data: bytes, choice: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("?", r"\?")):
        finished(data, "founder", AT, choice)


@given(st.binary(max_size=300))
def test_no_file_stops_the_reader(data: bytes) -> None:
    parse(data)
