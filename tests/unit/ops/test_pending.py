"""What only a person can do: read as agents, people and the vault write it, finished without losing a byte."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.ops.pending import Pending, finished, parse
from factory.vault.run import human

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
DOMAIN = human.write(human.Pending(
    "2026-11-21-rent-a-human-1", AT, "Buy tally.example for a year", "The site has *no* name", ("Log in", "Pay <10>"),
    ("tally.example", "tally.test"), "dig +short tally.example", "Publish the site there", ("acme/tally#3",),
    date(2026, 12, 1),
)).encode()  # fmt: skip


def test_what_the_vault_files_is_read() -> None:
    assert parse(DOMAIN) == Pending(
        "2026-11-21-rent-a-human-1", "Buy tally.example for a year", "The site has *no* name", ("Log in", "Pay <10>"),
        ("tally.example", "tally.test"), "dig +short tally.example", "Publish the site there", "acme/tally#3", AT,
        date(2026, 12, 1),
    )  # fmt: skip


def test_a_file_with_headings_is_read_too() -> None:
    data = b"""# Request: A runner

## What
More memory

## Human action
1. [ ] Order it
2. Rack it

**A. 64 GB**
**B. 128 GB**

Verify: `free -g`

## Factory will then
Go on

## Unblocks
- #12

## Waiting since
2026-11-20
"""
    there = parse(data)
    assert there is not None
    assert (there.title, there.what, there.steps) == ("A runner", "More memory", ("Order it", "Rack it"))
    assert (there.options, there.verify, there.then) == (("64 GB", "128 GB"), "free -g", "Go on")
    assert (there.unblocks, there.since) == ("- #12", datetime(2026, 11, 20, tzinfo=UTC))


def test_a_file_without_a_title_is_none() -> None:
    assert parse(b"some notes\n") is None


def test_finishing_adds_the_last_section_and_nothing_else() -> None:
    after = finished(DOMAIN, "founder", AT, "B")
    assert after.startswith(DOMAIN.rstrip(b"\n"))
    there = parse(after)
    assert there is not None
    assert there.done == "By founder, 2026-11-21T12:00:00Z.\nChoice: B"


@pytest.mark.parametrize(
    ("data", "choice", "why"),
    [
        (DOMAIN, "C", "it has no option C; options: A, B"),
        (DOMAIN, "", r"which option\? A, B"),
        (b"notes\n", "", "it is no request"),
        (finished(DOMAIN, "founder", AT, "A"), "A", "it is done already"),
        (b"# Request: x\n", "A", "it has no option A; options: none"),
    ],
)
def test_what_cannot_be_finished_says_why(data: bytes, choice: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        finished(data, "founder", AT, choice)


@given(st.binary(max_size=300))
def test_no_file_stops_the_reader(data: bytes) -> None:
    parse(data)
