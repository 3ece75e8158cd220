"""No progress: the same tool call that fails in the same way, again and again (DESIGN section 10). Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from factory.backends.protocol import Event, ToolCall, ToolResult

TIMES = 3
MAX_WAITING = 200


class Progress:
    """Fed every event of a backend; says when it goes in circles.

    A result belongs to the oldest unanswered call of its tool: several calls may be under way at once.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[str, str]] = []
        self._failed: tuple[str, str, str] | None = None
        self._times = 0

    def feed(self, event: Event) -> str | None:
        """Why to stop, or None."""
        if isinstance(event, ToolCall):
            self._waiting.append((event.name, _said(event.arguments)))
            del self._waiting[:-MAX_WAITING]
        elif isinstance(event, ToolResult):
            return self._result(event)
        return None

    def _result(self, result: ToolResult) -> str | None:
        call = next((one for one in self._waiting if one[0] == result.name), (result.name, ""))
        if call in self._waiting:
            self._waiting.remove(call)
        failed = (*call, result.text) if result.is_error else None
        self._times = self._times + 1 if failed is not None and failed == self._failed else int(failed is not None)
        self._failed = failed
        if self._times < TIMES:
            return None
        return f"no progress: {result.name} failed in the same way {TIMES} times: {result.text[-300:]}"


def _said(arguments: Mapping[str, Any]) -> str:
    return json.dumps(dict(arguments), sort_keys=True, default=str)
