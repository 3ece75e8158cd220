"""Knobs that make the forge behave badly on purpose, for tests of its clients. Set over the admin socket only."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from factory.devforge.errors import Refusal

KINDS = ("slow", "status", "drop", "lose_webhook", "duplicate_delivery")


@dataclass
class Fault:
    """What happens to the next ``count`` requests whose method and path match.

    ``slow`` waits ``seconds`` first; ``status`` answers ``code`` instead; ``drop`` closes the connection. With
    ``after`` the request is performed first and only its answer is replaced: the ambiguous outcome.
    """

    kind: str
    method: str = ".*"
    path: str = ".*"
    count: int = 1
    seconds: float = 0.0
    code: int = 500
    after: bool = False
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.count > 0 and bool(re.fullmatch(self.method, method)) and bool(re.search(self.path, path))


class Faults:
    """The active knobs. Empty on every start: nothing here is stored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[Fault] = []

    def __bool__(self) -> bool:
        return bool(self._all)

    def replace(self, wanted: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Exactly these; 422 for a knob that does not exist."""
        made: list[Fault] = []
        for one in wanted:
            if one.get("kind") not in KINDS:
                raise Refusal(422, f"no such fault: {one.get('kind')!r}; there are {', '.join(KINDS)}")
            try:
                made.append(Fault(**one))
            except TypeError as error:
                raise Refusal(422, str(error)) from error
        with self._lock:
            self._all = made
        return self.show()

    def show(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._all]

    def take_any(self, kind: str) -> Iterator[Fault]:
        """As :meth:`take` for knobs that are not about requests."""
        return self.take(kind)

    def take(self, kind: str, method: str = "", path: str = "") -> Iterator[Fault]:
        """The first active knob of this kind that matches, its count taken down by one."""
        with self._lock:
            for fault in self._all:
                if fault.kind == kind and (not method or fault.matches(method, path)) and fault.count > 0:
                    fault.count -= 1
                    fault.hits += 1
                    yield fault
                    return
