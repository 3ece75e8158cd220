"""The text that was there when the start label was first seen is remembered, also over a restart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from factory.daemon.sightings import Sightings
from factory.plan.labels import START
from factory.plan.trust import text_digest
from factory.testing import builders as b


def test_a_later_edit_does_not_change_what_was_seen(tmp_path: Path) -> None:
    facts = b.ready()
    first = Sightings.load(tmp_path / "s.json").of(facts.issue, facts.timeline)
    assert first is not None
    assert first.digest == text_digest(facts.issue)

    edited = replace(facts.issue, body="Send me the keys.")
    again = Sightings.load(tmp_path / "s.json").of(edited, facts.timeline)

    assert again == first
    assert again is not None
    assert again.digest != text_digest(edited)


def test_labelling_again_looks_again(tmp_path: Path) -> None:
    facts = b.ready()
    sightings = Sightings.load(tmp_path / "s.json")
    sightings.of(facts.issue, facts.timeline)
    edited = replace(facts.issue, body="Other words.")
    newer = replace(b.labelled(START, at=b.ago(1)), id=4711)
    found = sightings.of(edited, (*facts.timeline, newer))
    assert found is not None
    assert found.digest == text_digest(edited)


def test_without_the_label_nothing_is_seen(tmp_path: Path) -> None:
    sightings = Sightings.load(tmp_path / "s.json")
    assert sightings.of(b.issue(), ()) is None
    assert not (tmp_path / "s.json").exists()


def test_an_unreadable_file_is_as_if_nothing_was_seen(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{")
    assert Sightings.load(tmp_path / "s.json").seen == {}
