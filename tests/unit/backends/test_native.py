from __future__ import annotations

import json

from factory.backends.native import Native
from factory.backends.protocol import Done, Event, Quota, Refusal, Text, ToolCall, ToolResult, Usage


def feed(**line: object) -> tuple[Event, ...]:
    return Native().parser().feed(json.dumps(line).encode() + b"\n")


def test_reads_its_own_events() -> None:
    assert feed(event="text", text="hi", final=True) == (Text("hi", final=True),)
    assert feed(event="tool_call", name="run", input={"command": "ls"}) == (ToolCall("run", {"command": "ls"}),)
    assert feed(event="tool_result", name="run", error=True, text="no") == (ToolResult("run", True, "no"),)
    assert feed(event="usage", input=1, output=2, cached=3) == (Usage(1, 2, 3),)
    assert feed(event="quota", text="t", retry_after=5) == (Quota("t", 5),)
    assert feed(event="refusal", text="t") == (Refusal("t"),)
    assert feed(event="done", ok=True, reason="end", turns=2) == (Done(True, "end", 2),)


def test_the_closing_word_gives_the_cause() -> None:
    (done,) = feed(event="done", ok=False, reason="quota", cause="quota", detail="wait", turns=0)
    outcome = Native().outcome(11, (done,))
    assert (outcome.ok, outcome.cause, outcome.detail) == (False, "quota", "wait")


def test_killed_and_ended_are_told_apart() -> None:
    assert "was killed" in Native().outcome(-9, ()).detail
    assert "ended with code 1" in Native().outcome(1, ()).detail
