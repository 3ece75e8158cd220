"""The parts of a long form count together, and only when they follow each other at one commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import soak_report
from tests.soak_report import seed_of_part, together


@pytest.fixture(autouse=True)
def tallies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_report, "TALLIES", tmp_path / "build" / "soak.json")
    monkeypatch.setattr(soak_report, "commit", lambda: "abc")


def part(number: int, monkeypatch: pytest.MonkeyPatch, **tally: object) -> dict[str, int]:
    monkeypatch.setattr(soak_report, "PART", number)
    return together("x", tally)  # type: ignore[arg-type]


def test_numbers_add_up_and_members_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert part(1, monkeypatch, done=5, seen=["a", "b"]) == {"done": 5, "seen": 2}
    assert part(2, monkeypatch, done=7, seen=["b", "c"]) == {"done": 12, "seen": 3}
    assert part(1, monkeypatch, done=1, seen=[]) == {"done": 1, "seen": 0}


def test_a_part_that_does_not_follow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="part 2 of 'x' does not follow part 1"):
        part(2, monkeypatch, done=1)
    part(1, monkeypatch, done=1)
    monkeypatch.setattr(soak_report, "commit", lambda: "other")
    with pytest.raises(AssertionError, match="at the same commit"):
        part(2, monkeypatch, done=1)


def test_each_part_has_its_own_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = []
    for number in (1, 2, 3):
        monkeypatch.setattr(soak_report, "PART", number)
        seeds.append(seed_of_part(7))
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
