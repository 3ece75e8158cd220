"""The watchdog for going in circles."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from factory.backends.protocol import Event, Text, ToolCall, ToolResult
from factory.session.progress import Progress


def call(name: str = "run", command: str = "make") -> ToolCall:
    return ToolCall(name, {"command": command})


def failed(text: str = "no such target", name: str = "run") -> ToolResult:
    return ToolResult(name, True, text)


def fine(name: str = "run") -> ToolResult:
    return ToolResult(name, False, "ok")


def stuck(events: Iterable[Event]) -> int | None:
    """How many events it took until it said so."""
    progress = Progress()
    for number, event in enumerate(events, 1):
        if (why := progress.feed(event)) is not None:
            assert "3 times" in why
            return number
    return None


def test_three_times_the_same_failure_of_the_same_call_is_no_progress() -> None:
    assert stuck([call(), failed(), Text("hm"), call(), failed(), call(), failed()]) == 7


@pytest.mark.parametrize(
    "between",
    [
        [call(), fine()],
        [call(), failed("another error")],
        [call(command="other"), failed()],
        [call("read"), failed(name="read")],
    ],
    ids=["success", "other-error", "other-arguments", "other-tool"],
)
def test_anything_else_in_between_is_progress(between: list[Event]) -> None:
    assert stuck([call(), failed(), call(), failed(), *between, call(), failed(), call(), failed()]) is None


def test_success_as_often_as_you_like_is_progress() -> None:
    assert stuck([call(), fine()] * 10) is None


def test_calls_under_way_together_are_told_apart_by_their_order() -> None:
    pair = [call(command="a"), call(command="b"), failed(), failed()]
    assert stuck(pair * 5) is None
    assert stuck([call(), call(), call(), failed(), failed(), failed()]) == 6


def test_the_order_of_arguments_is_none_of_a_difference() -> None:
    first, second = ToolCall("edit", {"a": 1, "b": [2]}), ToolCall("edit", {"b": [2], "a": 1})
    assert stuck([first, failed(name="edit"), second, failed(name="edit"), first, failed(name="edit")]) == 6


def test_results_without_calls_count_and_calls_without_results_do_not_pile_up() -> None:
    assert stuck([failed()] * 3) == 3
    progress = Progress()
    for number in range(10_000):
        progress.feed(call(command=str(number)))
    assert len(progress._waiting) <= 200
