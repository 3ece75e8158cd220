"""The allowlist of Anthropic Messages requests.

Everything the provider would do *for* the session elsewhere (search, fetch, run code, remote MCP, files, stored
content) is refused: "no network" would be void otherwise (security-rules, "Gateway and egress"). The forwarded body is
rebuilt from allowed fields, so nothing unknown passes by accident. Fields as in the Messages API reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from factory.gateway.dialogue import Asked, Json, Refused
from factory.gateway.shape import array, flag, number, obj, only, text, whole

TOP_FIELDS = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "tools",
        "tool_choice",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "metadata",
        "thinking",
        "output_config",
        "context_management",
        "cache_control",
    }
)
CLIENT_TOOL_TYPES = re.compile(r"^(custom|bash_\d{8}|text_editor_\d{8})$")
"""Tools that run where the session runs."""
TOOL_FIELDS = frozenset(
    {
        "type",
        "name",
        "description",
        "input_schema",
        "cache_control",
        "strict",
        "eager_input_streaming",
        "input_examples",
        "max_characters",
    }
)
BETAS = re.compile(
    r"^(claude-code|interleaved-thinking|context-management|effort|fine-grained-tool-streaming|prompt-caching"
    r"|prompt-caching-scope|extended-cache-ttl|token-efficient-tools|output-128k|redact-thinking|structured-outputs"
    r"|thinking-token-count|mid-conversation-system)-\d{4}-?\d{2}-?\d{2}$"
)
DROPPED_BETAS = re.compile(
    r"^(context-1m|advisor-tool|advanced-tool-use|tool-search-tool|oauth|fast-mode|afk-mode|cache-diagnosis)-\d{4}-?\d{2}-?\d{2}$"
)
"""Sent by CLIs as an offer, harmless when absent; each would open a server-side tool or another price."""


def vet(
    body: Json, betas: Iterable[str], *, model: str, max_output_tokens: int, tools: tuple[str, ...] | None, size: int
) -> Asked:
    """The request as it may be forwarded. Raises ``Refused``."""
    only(body, TOP_FIELDS, "request")
    if body.get("model") != model:
        raise Refused(f"model {body.get('model')!r} is not this run's model ({model!r})")
    messages = [_message(item, f"messages[{n}]") for n, item in enumerate(array(body.get("messages"), "messages"))]
    if not messages:
        raise Refused("messages is empty")
    max_tokens = min(whole(body.get("max_tokens"), "max_tokens", least=1), max_output_tokens)
    out: Json = {"model": model, "messages": messages, "max_tokens": max_tokens}
    if body.get("system") is not None:
        out["system"] = _content(body["system"], "system", frozenset({"text"}))
    names: list[str] = []
    if body.get("tools") is not None:
        out["tools"] = [_tool(item, f"tools[{n}]") for n, item in enumerate(array(body["tools"], "tools"))]
        names = [str(tool["name"]) for tool in out["tools"]]
        if tools is not None and (extra := sorted(set(names) - set(tools))):
            raise Refused(f"tools not allowed in this step: {', '.join(extra)}")
    if body.get("tool_choice") is not None:
        choice = obj(body["tool_choice"], "tool_choice")
        only(choice, frozenset({"type", "name", "disable_parallel_tool_use"}), "tool_choice")
        out["tool_choice"] = choice
    stream = flag(body.get("stream", False), "stream")
    out["stream"] = stream
    for key in ("temperature", "top_p", "top_k"):
        if body.get(key) is not None:
            out[key] = number(body[key], key)
    if body.get("stop_sequences") is not None:
        out["stop_sequences"] = [
            text(item, "stop_sequences") for item in array(body["stop_sequences"], "stop_sequences")
        ]
    if body.get("metadata") is not None:
        only(obj(body["metadata"], "metadata"), frozenset({"user_id"}), "metadata")
        # Dropped: it names the machine and the session to the provider, and nothing depends on it.
    if body.get("thinking") is not None:
        out["thinking"] = _thinking(obj(body["thinking"], "thinking"), max_tokens)
    if body.get("output_config") is not None:
        config = obj(body["output_config"], "output_config")
        only(config, frozenset({"effort", "format"}), "output_config")
        out["output_config"] = config
    if body.get("context_management") is not None:
        out["context_management"] = _context_management(obj(body["context_management"], "context_management"))
    if body.get("cache_control") is not None:
        out["cache_control"] = _cache_control(body["cache_control"], "cache_control")
    turn, news = _since_last_answer(messages)
    return Asked(
        "anthropic", out, stream, turn, _heard(news), tuple(news), frozenset(names), max_tokens, size, vet_betas(betas)
    )


def vet_betas(flags: Iterable[str]) -> tuple[str, ...]:
    kept = []
    for beta in flags:
        if BETAS.match(beta):
            kept.append(beta)
        elif not DROPPED_BETAS.match(beta):
            raise Refused(f"beta {beta!r} is not on the gateway's allowlist")
    return tuple(kept)


def _message(item: Any, where: str) -> Json:
    message = obj(item, where)
    only(message, frozenset({"role", "content"}), where)
    role = message.get("role")
    if role not in ("user", "assistant", "system"):
        raise Refused(f"{where}.role {role!r} is not user or assistant")
    kinds = frozenset({"text", "tool_use", "thinking", "redacted_thinking"} if role == "assistant" else {"text"})
    if role == "user":
        kinds = frozenset({"text", "image", "document", "tool_result", "search_result"})
    return {"role": role, "content": _content(message.get("content"), f"{where}.content", kinds)}


def _content(value: Any, where: str, kinds: frozenset[str]) -> str | list[Json]:
    if isinstance(value, str):
        return value
    return [_block(item, f"{where}[{n}]", kinds) for n, item in enumerate(array(value, where))]


_BLOCK_FIELDS: Mapping[str, frozenset[str]] = {
    # citations on a text block are something a provider's search or document produced; none can be had here
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "title", "context", "cache_control", "citations"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "search_result": frozenset({"type", "source", "title", "content", "citations", "cache_control"}),
}
_SOURCES = {"image": ("base64",), "document": ("base64", "text")}


def _block(item: Any, where: str, kinds: frozenset[str]) -> Json:
    block = obj(item, where)
    kind = block.get("type")
    if not isinstance(kind, str) or kind not in kinds:
        raise Refused(f"{where}: content of type {kind!r} is not allowed here")
    only(block, _BLOCK_FIELDS[kind], where)
    if "cache_control" in block and block["cache_control"] is not None:
        _cache_control(block["cache_control"], f"{where}.cache_control")
    if kind in _SOURCES:
        source = obj(block.get("source"), f"{where}.source")
        if source.get("type") not in _SOURCES[kind]:
            raise Refused(f"{where}: {kind} source {source.get('type')!r} is refused; content must be inline")
        only(source, frozenset({"type", "media_type", "data"}), f"{where}.source")
    if kind == "tool_use" and isinstance(caller := block.get("caller"), dict) and caller.get("type") != "direct":
        raise Refused(f"{where}.caller: tools called by provider-side code are not allowed")
    if kind == "tool_result" and block.get("content") is not None:
        inner = frozenset({"text", "image", "document", "search_result"})
        return block | {"content": _content(block["content"], f"{where}.content", inner)}
    if kind == "search_result":
        return block | {"content": _content(block.get("content"), f"{where}.content", frozenset({"text"}))}
    return block


def _tool(item: Any, where: str) -> Json:
    tool = obj(item, where)
    kind = tool.get("type", "custom")
    if kind is not None and (not isinstance(kind, str) or not CLIENT_TOOL_TYPES.match(kind)):
        raise Refused(f"{where}: tool type {kind!r} would run at the provider; only client-side tools are allowed")
    only(tool, TOOL_FIELDS, where)
    text(tool.get("name"), f"{where}.name")
    if tool.get("cache_control") is not None:
        _cache_control(tool["cache_control"], f"{where}.cache_control")
    return tool


def _cache_control(value: Any, where: str) -> Json:
    control = obj(value, where)
    only(control, frozenset({"type", "ttl", "scope"}), where)
    return control


def _thinking(value: Json, max_tokens: int) -> Json:
    only(value, frozenset({"type", "budget_tokens", "display"}), "thinking")
    if value.get("budget_tokens") is not None and whole(value["budget_tokens"], "thinking.budget_tokens") >= max_tokens:
        # The API wants budget_tokens < max_tokens (and >= 1024); max_tokens may just have been lowered.
        if max_tokens <= 1024:
            return {"type": "disabled"}
        return value | {"budget_tokens": max_tokens - 1}
    return value


def _context_management(value: Json) -> Json:
    only(value, frozenset({"edits"}), "context_management")
    for n, item in enumerate(array(value.get("edits", []), "context_management.edits")):
        kind = obj(item, f"context_management.edits[{n}]").get("type")
        if not isinstance(kind, str) or not kind.startswith(("clear_thinking_", "clear_tool_uses_")):
            raise Refused(f"context_management.edits[{n}].type {kind!r} is not allowed")
    return value


def _since_last_answer(messages: list[Json]) -> tuple[int, list[Json]]:
    """How many assistant turns there are (neighbours count as one), and what came after the last."""
    turns, last, before = 0, -1, ""
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            turns += before != "assistant"
            last = n
        if message["role"] != "system":
            before = message["role"]
    return turns, messages[last + 1 :]


def _heard(news: list[Json]) -> str:
    """Texts of the new tool results; without any, of the new user messages."""
    results: list[str] = []
    texts: list[str] = []
    for message in news:
        content = message["content"]
        for block in [{"type": "text", "text": content}] if isinstance(content, str) else content:
            if block["type"] == "tool_result":
                results.append(_plain(block.get("content")))
            elif block["type"] == "text":
                texts.append(str(block.get("text", "")))
    return "\n".join(results or texts)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(block.get("text", "")) for block in content or () if block.get("type") == "text")
