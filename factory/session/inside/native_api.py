"""The two model APIs as the native loop speaks them: one conversation, rendered and read. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from factory.session.inside.native_tools import Tools

Json = dict[str, Any]
"""A conversation is a list of ``{"who": "user", "text"}``, ``{"who": "model", "text", "calls"}`` and
``{"who": "tools", "results"}``; a call has id, name, input (None: not JSON) and raw, a result id, text and error."""


class Anthropic:
    """Messages, streamed."""

    path = "/v1/messages"

    def body(self, model: str, system: str, talk: list[Json], tools: Tools, max_tokens: int) -> Json:
        messages = [self._message(item) for item in talk]
        # The provider may cache everything up to these two marks; the next turn then reads it for a tenth.
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        return {
            "model": model,
            "system": [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}],
            "messages": messages,
            "tools": [
                {"name": name, "description": tool.about, "input_schema": tool.schema}
                for name, tool in tools.known.items()
            ],
            "max_tokens": max_tokens,
            "stream": True,
        }

    def _message(self, item: Json) -> Json:
        if item["who"] == "user":
            return {"role": "user", "content": [{"type": "text", "text": item["text"]}]}
        if item["who"] == "tools":
            results = [
                {"type": "tool_result", "tool_use_id": one["id"], "content": one["text"], "is_error": one["error"]}
                for one in item["results"]
            ]
            return {"role": "user", "content": results}
        content: list[Json] = [{"type": "text", "text": item["text"]}] if item["text"] else []
        for call in item["calls"]:
            given = call["input"] if isinstance(call["input"], dict) else {}
            content.append({"type": "tool_use", "id": call["id"], "name": call["name"], "input": given})
        # An answer may be empty; a message may not.
        return {"role": "assistant", "content": content or [{"type": "text", "text": "(no answer)"}]}

    def read(self, events: Iterator[Json]) -> Json:
        """One answer. Raises ``ConnectionError`` when the stream breaks off or says that it failed."""
        blocks: dict[int, Json] = {}
        used: Json = {}
        stop: str | None = None
        whole = False
        for item in events:
            match item.get("type"):
                case "message_start":
                    used |= item["message"].get("usage") or {}
                case "content_block_start":
                    blocks[item["index"]] = {**item["content_block"], "parts": []}
                case "content_block_delta":
                    delta = item["delta"]
                    blocks[item["index"]]["parts"].append(delta.get("text") or delta.get("partial_json") or "")
                case "message_delta":
                    stop = item["delta"].get("stop_reason")
                    used |= {key: value for key, value in (item.get("usage") or {}).items() if value is not None}
                case "message_stop":
                    whole = True
                case "error":
                    raise ConnectionError(str((item.get("error") or {}).get("message", "error in the stream")))
        if not whole:
            raise ConnectionError("the answer broke off")
        texts, calls = [], []
        for _, block in sorted(blocks.items()):
            raw = "".join(block["parts"])
            if block["type"] == "text":
                texts.append(raw)
            elif block["type"] == "tool_use":
                calls.append({"id": block["id"], "name": block["name"], "input": arguments(raw), "raw": raw})
        usage = {
            "input": (used.get("input_tokens") or 0) + (used.get("cache_creation_input_tokens") or 0),
            "output": used.get("output_tokens") or 0,
            "cached": used.get("cache_read_input_tokens") or 0,
        }
        ended = {"max_tokens": "length", "refusal": "refusal"}.get(stop or "", "end")
        return {"who": "model", "text": "".join(texts), "calls": calls, "stop": ended, "usage": usage}


class OpenAI:
    """Chat Completions, streamed."""

    path = "/v1/chat/completions"

    def body(self, model: str, system: str, talk: list[Json], tools: Tools, max_tokens: int) -> Json:
        messages: list[Json] = [{"role": "system", "content": system}]
        for item in talk:
            messages += self._messages(item)
        return {
            "model": model,
            "messages": messages,
            "tools": [
                {
                    "type": "function",
                    "function": {"name": name, "description": tool.about, "parameters": tool.schema},
                }
                for name, tool in tools.known.items()
            ],
            "max_tokens": max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }

    def _messages(self, item: Json) -> list[Json]:
        if item["who"] == "user":
            return [{"role": "user", "content": item["text"]}]
        if item["who"] == "tools":
            # There is no error flag here, so the text says it.
            return [
                {
                    "role": "tool",
                    "tool_call_id": one["id"],
                    "content": ("Error: " if one["error"] else "") + one["text"],
                }
                for one in item["results"]
            ]
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["raw"] or "{}"}}
            for call in item["calls"]
        ]
        if calls:
            return [{"role": "assistant", "content": item["text"] or None, "tool_calls": calls}]
        return [{"role": "assistant", "content": item["text"] or "(no answer)"}]

    def read(self, events: Iterator[Json]) -> Json:
        """One answer. Raises ``ConnectionError`` when the stream breaks off or says that it failed."""
        texts: list[str] = []
        calls: dict[int, Json] = {}
        used: Json = {}
        stop: str | None = None
        for item in events:
            if isinstance(item.get("error"), dict):
                raise ConnectionError(str(item["error"].get("message", "error in the stream")))
            used = item.get("usage") or used
            for choice in item.get("choices") or ():
                delta = choice.get("delta") or {}
                texts.append(delta.get("content") or "")
                for piece in delta.get("tool_calls") or ():
                    call = calls.setdefault(piece.get("index", 0), {"id": "", "name": "", "raw": ""})
                    function = piece.get("function") or {}
                    call["id"] = piece.get("id") or call["id"]
                    call["name"] += function.get("name") or ""
                    call["raw"] += function.get("arguments") or ""
                stop = choice.get("finish_reason") or stop
        if stop is None:
            raise ConnectionError("the answer broke off")
        cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        return {
            "who": "model",
            "text": "".join(texts),
            "calls": [{**call, "input": arguments(call["raw"])} for _, call in sorted(calls.items())],
            "stop": {"length": "length", "content_filter": "refusal"}.get(stop, "end"),
            "usage": {
                "input": max((used.get("prompt_tokens") or 0) - cached, 0),
                "output": used.get("completion_tokens") or 0,
                "cached": cached,
            },
        }


def arguments(text: str) -> Any:
    """What a call was given; None when it is not JSON."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return None
