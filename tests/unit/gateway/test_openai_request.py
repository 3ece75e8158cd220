from __future__ import annotations

from typing import Any

import pytest

from factory.gateway.dialogue import Asked, Refused
from factory.gateway.openai_request import vet

GOOD: dict[str, Any] = {"model": "m1", "messages": [{"role": "user", "content": "please"}]}
RUN = {"type": "function", "function": {"name": "run", "parameters": {}}}


def check(body: dict[str, Any], **kw: Any) -> Asked:
    return vet(body, **{"model": "m1", "max_output_tokens": 4000, "tools": None, "size": 100, **kw})


def user(*parts: Any) -> dict[str, Any]:
    return GOOD | {"messages": [{"role": "user", "content": list(parts)}]}


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        GOOD | {"tools": [RUN], "tool_choice": "auto", "parallel_tool_calls": True, "store": False, "n": 1},
        GOOD | {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0, "stop": "x"},
        user({"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
    ],
)
def test_passes_what_a_session_needs(body: dict[str, Any]) -> None:
    assert check(body).body["messages"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (GOOD | {"model": "m2"}, "model"),
        (GOOD | {"store": True}, "store"),
        (GOOD | {"previous_response_id": "r"}, "previous_response_id"),
        (GOOD | {"web_search_options": {}}, "web_search_options"),
        (GOOD | {"metadata": {}}, "metadata"),
        (GOOD | {"service_tier": "flex"}, "service_tier"),
        (GOOD | {"modalities": ["audio"]}, "modalities"),
        (GOOD | {"n": 5}, "n:"),
        (GOOD | {"tools": [{"type": "web_search"}]}, "web_search"),
        (GOOD | {"tools": [{"type": "mcp", "server_url": "http://x"}]}, "mcp"),
        (GOOD | {"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "custom"),
        (user({"type": "image_url", "image_url": {"url": "https://x/a.png"}}), "inline"),
        (user({"type": "file", "file": {"file_id": "f"}}), "file"),
        (user({"type": "input_audio", "input_audio": {}}), "input_audio"),
        (GOOD | {"messages": [{"role": "function", "content": "x"}]}, "role"),
        (GOOD | {"messages": []}, "empty"),
        (GOOD | {"max_tokens": -1}, "max_tokens"),
        (GOOD | {"stream": True, "stream_options": {"x": 1}}, "stream_options"),
    ],
)
def test_refuses_everything_else(body: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=word):
        check(body)


def test_output_is_bounded_even_when_the_session_does_not_ask() -> None:
    assert check(GOOD).body["max_completion_tokens"] == 4000
    assert check(GOOD | {"max_tokens": 9000}).body["max_tokens"] == 4000
    assert check(GOOD | {"max_completion_tokens": 50}).body["max_completion_tokens"] == 50


def test_usage_is_always_asked_for() -> None:
    assert check(GOOD | {"stream": True}).body["stream_options"] == {"include_usage": True}


def test_turn_is_counted_from_the_conversation() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "run", "arguments": "{}"}}
    talk = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "task"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "3 passed"},
        {"role": "tool", "tool_call_id": "d", "content": "2 more"},
    ]
    first, second = check(GOOD | {"messages": talk[:2]}), check(GOOD | {"messages": talk})
    assert (first.turn, first.heard) == (0, "task")
    assert (second.turn, second.heard) == (1, "3 passed\n2 more")


def test_tools_of_the_grant_bind() -> None:
    with pytest.raises(Refused, match="run"):
        check(GOOD | {"tools": [RUN]}, tools=("read",))
