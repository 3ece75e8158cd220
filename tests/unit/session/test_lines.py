"""Cutting a stream into lines: the same lines however the stream was cut before."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from factory.session.watch import MAX_LINE, Lines


@given(st.binary(max_size=300), st.lists(st.integers(1, 20), max_size=40))
def test_lines_do_not_depend_on_how_they_arrive(data: bytes, cuts: list[int]) -> None:
    lines = Lines()
    found, at = [], 0
    for size in cuts:
        found += lines.feed(data[at : at + size])
        at += size
    found += lines.feed(data[at:])
    *whole, rest = data.split(b"\n")
    assert found == whole
    assert lines.rest() == rest


def test_a_long_line_costs_no_more_than_its_bound() -> None:
    lines = Lines()
    for _ in range(40):
        assert lines.feed(b"x" * 65536) == []
    assert lines.feed(b"\nshort\n") == [b"x" * MAX_LINE, b"short"]
