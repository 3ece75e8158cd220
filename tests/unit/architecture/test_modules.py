"""A module answers one question: sizes and names."""

from __future__ import annotations

import statistics

from tests.unit.architecture.source import HOUSE

SPLIT_AT = 500
"""Lines at which a module is split."""
MEDIAN_BELOW = 170
"""The house says "near 120"; the test leaves room for a bad week."""
TOO_LONG: dict[str, int] = {}
"""Modules over the limit today and the most lines each may have. None is; the list may only shrink."""
NAMELESS = frozenset({"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "stuff", "base"})
"""Names that say nothing about what is inside."""
KEPT_NAMES = {
    "factory/devforge/api/misc.py": "Forgejo's own grouping of these endpoints: version, settings, users, tokens",
}


def test_no_module_is_longer_than_it_may_be() -> None:
    sizes = {m.path: len(m.lines) for m in HOUSE}
    assert {path: n for path, n in sizes.items() if n > TOO_LONG.get(path, SPLIT_AT)} == {}


def test_what_was_split_leaves_the_list() -> None:
    sizes = {m.path: len(m.lines) for m in HOUSE}
    assert [path for path in TOO_LONG if sizes.get(path, 0) <= SPLIT_AT] == []


def test_modules_are_small() -> None:
    assert statistics.median(len(m.lines) for m in HOUSE if not m.is_init) < MEDIAN_BELOW


def test_names_say_what_is_inside() -> None:
    said = {
        m.path
        for m in HOUSE
        if {part.removesuffix(".py").strip("_") for part in m.path.split("/")} & NAMELESS and m.path not in KEPT_NAMES
    }
    assert said == set()
