"""Answers in the Anthropic Messages shape: rendered from a script, read from a provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from factory.gateway.dialogue import Answer, Call, Collected, Json, Stop, Tokens
from factory.gateway.sse import event

_STOP_OUT = {"end": "end_turn", "tools": "tool_use", "length": "max_tokens", "refusal": "refusal", "cut": "end_turn"}
_STOP_IN: dict[str, Stop] = {
    "end_turn": "end",
    "stop_sequence": "end",
    "tool_use": "tools",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


def error_body(status: int, message: str) -> Json:
    kind = {
        400: "invalid_request_error",
        401: "authentication_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        529: "overloaded_error",
    }.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": message}}


def render(answer: Answer, *, model: str, seed: str) -> Json:
    """The whole message. ``seed`` makes its ids: the same turn of the same run has the same ids."""
    content: list[Json] = [{"type": "text", "text": answer.text}] if answer.text else []
    for n, call in enumerate(answer.calls):
        content.append({"type": "tool_use", "id": _id("toolu", seed, n), "name": call.tool, "input": dict(call.input)})
    return {
        "id": _id("msg", seed),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": _STOP_OUT[answer.stop],
        "stop_sequence": None,
        "usage": _usage(answer.tokens or Tokens()),
    }


def stream(answer: Answer, *, model: str, seed: str) -> Iterator[bytes]:
    """The same message as the events a provider sends."""
    whole = render(answer, model=model, seed=seed)
    usage = whole["usage"]
    start = whole | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield event("message_start", {"type": "message_start", "message": start})
    yield event("ping", {"type": "ping"})
    for index, block in enumerate(whole["content"]):
        text = block["type"] == "text"
        opening = {"type": "text", "text": ""} if text else block | {"input": {}}
        yield event("content_block_start", {"type": "content_block_start", "index": index, "content_block": opening})
        body = block["text"] if text else json.dumps(block["input"], ensure_ascii=False)
        for piece in _pieces(body):
            delta = (
                {"type": "text_delta", "text": piece} if text else {"type": "input_json_delta", "partial_json": piece}
            )
            yield event("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
        yield event("content_block_stop", {"type": "content_block_stop", "index": index})
    closing = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    yield event("message_delta", {"type": "message_delta", "delta": closing, "usage": usage})
    yield event("message_stop", {"type": "message_stop"})


class Reader:
    """Collects a provider's answer while it passes."""

    def __init__(self) -> None:
        self.got = Collected()
        self.error: str | None = None
        self.ended = False
        self.only_usage = False
        self._usage: Json = {}
        self._reason: str | None = None
        self._blocks: dict[int, tuple[Json, list[str]]] = {}

    def whole(self, body: Json) -> None:
        """A complete, non-streamed message."""
        for block in body.get("content") or ():
            self._block(block, block.get("input"))
        self._usage = body.get("usage") or {}
        self._reason = body.get("stop_reason")
        self._close()

    def feed(self, data: str) -> None:
        """One event's data. Events that do not parse are ignored; a broken stream then ends as cut."""
        try:
            item = json.loads(data)
        except ValueError:
            return
        match item.get("type") if isinstance(item, dict) else None:
            case "message_start":
                self._usage |= (item.get("message") or {}).get("usage") or {}
                self._tokens()
            case "content_block_start":
                self._blocks[item.get("index", 0)] = (item.get("content_block") or {}, [])
            case "content_block_delta":
                delta = item.get("delta") or {}
                piece = delta.get("text") if delta.get("type") == "text_delta" else delta.get("partial_json")
                if isinstance(piece, str) and item.get("index", 0) in self._blocks:
                    self._blocks[item.get("index", 0)][1].append(piece)
            case "content_block_stop":
                if found := self._blocks.pop(item.get("index", 0), None):
                    block, pieces = found
                    if block.get("type") == "text":
                        self._block({"type": "text", "text": block.get("text", "") + "".join(pieces)}, None)
                    else:
                        self._block(block, _json("".join(pieces)) or block.get("input"))
            case "message_delta":
                self._usage |= {k: v for k, v in (item.get("usage") or {}).items() if v is not None}
                self._reason = (item.get("delta") or {}).get("stop_reason") or self._reason
            case "message_stop":
                self.ended = True
                self._close()
            case "error":
                self.error = str((item.get("error") or {}).get("message") or "error event")

    def _block(self, block: Json, arguments: Any) -> None:
        if block.get("type") == "text":
            self.got.text.append(str(block.get("text", "")))
        elif block.get("type") == "tool_use":
            self.got.calls.append(Call(str(block.get("name")), arguments if isinstance(arguments, dict) else {}))

    def _tokens(self) -> Tokens:
        def n(key: str) -> int:
            value = self._usage.get(key)
            return value if isinstance(value, int) else 0

        return Tokens(
            n("input_tokens"), n("cache_read_input_tokens"), n("cache_creation_input_tokens"), n("output_tokens")
        )

    def _close(self) -> None:
        self.got.stop = _STOP_IN.get(self._reason or "", "end")
        if self._usage:
            self.got.tokens = self._tokens()


def _usage(tokens: Tokens) -> Json:
    return {
        "input_tokens": tokens.input,
        "cache_creation_input_tokens": tokens.written,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.output,
    }


def _json(source: str) -> Any:
    try:
        return json.loads(source)
    except ValueError:
        return None


def _pieces(body: str, size: int = 2000) -> list[str]:
    return [body[n : n + size] for n in range(0, len(body), size)] or [""]


def _id(prefix: str, seed: str, n: int | None = None) -> str:
    return f"{prefix}_{hashlib.sha256(f'{seed}/{n}'.encode()).hexdigest()[:24]}"
