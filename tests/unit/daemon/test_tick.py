"""A tick that merges requests of the vault wakes the dispatcher once, and in any case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from factory.daemon.tick import Ticker
from factory.plan.effect import Effect
from factory.plan.vault_pulls import MERGE


def effect(id: str, kind: str) -> Effect:
    return cast("Effect", SimpleNamespace(id=id, kind=kind))


EFFECTS = (effect("a", MERGE), effect("b", MERGE), effect("c", "tell-vault"))


class Performer:
    """Tries all but what it puts off, and breaks after ``whole`` of them."""

    def __init__(self, put_off: str = "", whole: int = 9) -> None:
        self.put_off, self.whole = put_off, whole
        self.seen: list[tuple[str, bool, int]] = []
        """After each: its id, whether the ticker still merges, how often the dispatcher was woken."""
        self.woken: list[int] = []
        self.ticker: Ticker

    def perform(self, effects: Sequence[Effect], tried: Callable[[Effect], None] = lambda effect: None) -> tuple[()]:
        for number, effect in enumerate(effects):
            if number == self.whole:
                raise OSError("no room")
            if effect.id != self.put_off:
                tried(effect)
            self.seen.append((effect.id, self.ticker.merging, len(self.woken)))
        return ()


def made(performer: Performer) -> Ticker:
    none = cast("Any", None)
    performer.ticker = Ticker(none, cast("Any", performer), none, none, none, none, none,
                              wake_vault=lambda: performer.woken.append(1))  # fmt: skip
    return performer.ticker


def test_the_dispatcher_is_woken_when_the_last_of_them_is_merged_and_not_before() -> None:
    performer = Performer()
    ticker = made(performer)
    ticker._perform(EFFECTS)
    assert performer.seen == [("a", True, 0), ("b", False, 1), ("c", False, 1)]
    assert (len(performer.woken), ticker.merging) == (1, False)


@pytest.mark.parametrize("performer", [Performer(put_off="b"), Performer(whole=1)])
def test_it_is_woken_also_where_the_last_one_could_not_be_tried(performer: Performer) -> None:
    ticker = made(performer)
    try:
        ticker._perform(EFFECTS)
    except OSError:
        assert performer.whole == 1
    assert (len(performer.woken), ticker.merging) == (1, False)


def test_where_none_is_merged_nobody_is_woken() -> None:
    performer = Performer()
    made(performer)._perform(EFFECTS[2:])
    assert performer.woken == []
