"""Recorded Worlds replay to the same Plan; an idle tick adds only a line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from factory.daemon.worlds import WorldStore, digest
from factory.errors import UsageError
from factory.roles.turn import decide
from factory.testing import builders as b


def test_a_recorded_world_gives_the_same_plan_again(tmp_path: Path) -> None:
    world = b.world([b.ready()], [b.pull()], [b.run()])
    plan = decide(world, b.NOW)
    assert plan.effects, "a world in which nothing is decided would show nothing"
    number = WorldStore(tmp_path).record(world, plan, b.NOW)

    tick, loaded = WorldStore(tmp_path).load(number)

    assert loaded == world
    assert digest(decide(loaded, tick.at))[0] == tick.plan


def test_the_same_world_is_kept_once(tmp_path: Path) -> None:
    store = WorldStore(tmp_path)
    world = b.world([b.ready()])
    for second in range(5):
        now = b.NOW + timedelta(seconds=second)
        store.record(world, decide(world, now), now)
    assert len(list((tmp_path / "worlds").iterdir())) == 1
    assert [tick.number for tick in store.ticks()] == [1, 2, 3, 4, 5]


def test_only_the_newest_distinct_worlds_are_kept(tmp_path: Path) -> None:
    store = WorldStore(tmp_path, keep=3)
    for number in range(1, 6):
        world = b.world([b.ready(number)])
        store.record(world, decide(world, b.NOW), b.NOW)
    assert len(list((tmp_path / "worlds").iterdir())) == 3
    with pytest.raises(UsageError, match="no longer kept"):
        store.load(1)
    assert store.load(5)[0].number == 5


def test_numbers_go_on_after_a_restart_and_a_torn_line_is_no_tick(tmp_path: Path) -> None:
    world = b.world()
    WorldStore(tmp_path).record(world, decide(world, b.NOW), b.NOW)
    with (tmp_path / "ticks.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"tick": 2, "at": "2026-')
    with pytest.raises(UsageError, match="there is none; ticks so far: 1") as error:
        WorldStore(tmp_path).load(7)
    assert error.value.hint == "factory replay-tick 1"


def test_a_damaged_world_is_said(tmp_path: Path) -> None:
    store = WorldStore(tmp_path)
    world = b.world()
    store.record(world, decide(world, b.NOW), b.NOW)
    next((tmp_path / "worlds").iterdir()).write_bytes(b"not zlib")
    with pytest.raises(UsageError, match="damaged"):
        store.load(1)
