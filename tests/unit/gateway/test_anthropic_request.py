from __future__ import annotations

import copy
from typing import Any

import pytest

from factory.gateway.anthropic_request import vet
from factory.gateway.dialogue import Asked, Refused

GOOD: dict[str, Any] = {
    "model": "m1",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "please"}],
}


def check(body: dict[str, Any], betas: tuple[str, ...] = (), **kw: Any) -> Asked:
    return vet(body, betas, **{"model": "m1", "max_output_tokens": 4000, "tools": None, "size": 100, **kw})


def with_(path: str, value: Any) -> dict[str, Any]:
    body = copy.deepcopy(GOOD)
    place: Any = body
    *parents, last = path.split("/")
    for name in parents:
        place = place[int(name)] if name.isdigit() else place[name]
    place[int(last) if last.isdigit() else last] = value
    return body


def user(*blocks: Any) -> dict[str, Any]:
    return with_("messages", [{"role": "user", "content": list(blocks)}])


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}


@pytest.mark.parametrize(
    "body",
    [
        GOOD,
        with_("system", "s"),
        with_("system", [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]),
        with_("tools", [{"name": "run", "description": "d", "input_schema": {"type": "object"}}]),
        with_(
            "tools", [{"type": "custom", "name": "run", "input_schema": {}}, {"type": "bash_20250124", "name": "bash"}]
        ),
        with_("thinking", {"type": "adaptive"}),
        with_("context_management", {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]}),
        with_("output_config", {"effort": "high"}),
        with_("metadata", {"user_id": "x"}),
        user(IMAGE, {"type": "text", "text": "t"}),
        user({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}}),
        user({"type": "tool_result", "tool_use_id": "a", "content": [IMAGE, {"type": "text", "text": "ok"}]}),
    ],
)
def test_passes_what_a_session_needs(body: dict[str, Any]) -> None:
    assert check(body).body["messages"]


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (with_("model", "m2"), "model"),
        (with_("mcp_servers", []), "mcp_servers"),
        (with_("container", "c"), "container"),
        (with_("service_tier", "priority"), "service_tier"),
        (with_("inference_geo", "eu"), "inference_geo"),
        (with_("tools", [{"type": "web_search_20250305", "name": "web_search"}]), "web_search"),
        (with_("tools", [{"type": "web_fetch_20250910", "name": "web_fetch"}]), "web_fetch"),
        (with_("tools", [{"type": "code_execution_20250825", "name": "code_execution"}]), "code_execution"),
        (with_("tools", [{"type": "mcp_toolset", "mcp_server_name": "x"}]), "mcp_toolset"),
        (with_("tools", [{"type": "memory_20250818", "name": "memory"}]), "memory"),
        (with_("tools", [{"name": "a", "input_schema": {}, "allowed_callers": ["code_execution"]}]), "allowed_callers"),
        (with_("tools", [{"type": ["custom"], "name": "a"}]), "tool type"),
        (user({"type": "image", "source": {"type": "url", "url": "http://x/"}}), "inline"),
        (user({"type": "image", "source": {"type": "file", "file_id": "f"}}), "inline"),
        (user({"type": "document", "source": {"type": "url", "url": "http://x/"}}), "inline"),
        (user({"type": "document", "source": {"type": "content", "content": []}}), "inline"),
        (user({"type": "container_upload", "file_id": "f"}), "container_upload"),
        (user({"type": "mcp_tool_result"}), "mcp_tool_result"),
        (
            user(
                {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image", "source": {"type": "url"}}]}
            ),
            "inline",
        ),
        (with_("messages", [{"role": "assistant", "content": [{"type": "server_tool_use"}]}]), "server_tool_use"),
        (with_("messages", [{"role": "tool", "content": "x"}]), "role"),
        (with_("messages", []), "empty"),
        (with_("messages", "x"), "list"),
        (with_("max_tokens", 0), "max_tokens"),
        (with_("max_tokens", True), "max_tokens"),
        (with_("stream", 1), "stream"),
        (with_("context_management", {"edits": [{"type": "compact_20260112"}]}), "compact"),
        (with_("tool_choice", {"type": "auto", "x": 1}), "tool_choice"),
    ],
)
def test_refuses_everything_else(body: dict[str, Any], word: str) -> None:
    with pytest.raises(Refused, match=word):
        check(body)


def test_betas_pass_fall_away_or_are_refused() -> None:
    asked = check(GOOD, ("interleaved-thinking-2025-05-14", "claude-code-20250219", "context-1m-2025-08-07"))
    assert asked.betas == ("interleaved-thinking-2025-05-14", "claude-code-20250219")
    for beta in (
        "mcp-client-2025-04-04",
        "code-execution-2025-08-25",
        "files-api-2025-04-14",
        "skills-2025-10-02",
        "x",
    ):
        with pytest.raises(Refused, match="beta"):
            check(GOOD, (beta,))


def test_tools_of_the_grant_bind() -> None:
    body = with_("tools", [{"name": "run", "input_schema": {}}, {"name": "read", "input_schema": {}}])
    assert check(body, tools=("read", "run")).tools == {"read", "run"}
    with pytest.raises(Refused, match="run"):
        check(body, tools=("read",))


def test_output_is_lowered_to_the_grant_and_thinking_with_it() -> None:
    body = with_("thinking", {"type": "enabled", "budget_tokens": 9000}) | {"max_tokens": 10_000}
    asked = check(body)
    assert asked.max_tokens == asked.body["max_tokens"] == 4000
    assert asked.body["thinking"]["budget_tokens"] == 3999
    assert check(body, max_output_tokens=1000).body["thinking"] == {"type": "disabled"}


def test_metadata_does_not_reach_the_provider() -> None:
    assert "metadata" not in check(with_("metadata", {"user_id": "machine"})).body


def test_turn_is_counted_from_the_conversation() -> None:
    talk = [
        {"role": "user", "content": "task"},
        {"role": "assistant", "content": [{"type": "text", "text": "hm"}]},
        # A CLI may split one answer into several messages.
        {"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "run", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "3 passed"}]},
        {"role": "assistant", "content": "more"},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "1 failed"}]},
                {"type": "text", "text": "reminder"},
            ],
        },
    ]
    assert [check(with_("messages", talk[:n])).turn for n in (1, 4, 6)] == [0, 1, 2]
    assert check(with_("messages", talk[:1])).heard == "task"
    assert check(with_("messages", talk[:4])).heard == "3 passed"
    assert check(with_("messages", talk)).heard == "1 failed"
