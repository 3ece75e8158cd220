"""Small values for tests of telling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from factory.notify.item import Item, Screen
from factory.notify.state import State

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
FORGE = "https://forge.example"
PROJECT = "founder/hello"


def item(number: int = 1, **changes: Any) -> Item:
    told = {
        "key": f"founder/hello-ops pull{number} approve", "project": PROJECT, "act": "approve",
        "title": f"release@1 on target-{number} (high) waits for founder",
        "url": f"{FORGE}/founder/hello-ops/pulls/{number}", "board": f"{FORGE}/founder/hello-ops", "since": NOW,
        "frees": "the action starts",
    }  # fmt: skip
    return Item(**{**told, **changes})


def screen(words: str = "It is ready.", **changes: Any) -> Screen:
    rows = (("Runs", ("release@1: publishes", "sh -c 'make release'")), ("On", ("gamma",)), ("Secrets", ("none",)))
    return Screen(**{"rows": rows, "asker": "role:dev", "words": words, **changes})


def state(**changes: Any) -> State:
    return State(**{"to": "somebody", **changes})


def later(**given: float) -> datetime:
    return NOW + timedelta(**given)
