"""Answers in the Chat Completions shape: rendered from a script, read from a provider."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from factory.gateway.dialogue import Answer, Call, Collected, Json, Stop, Tokens
from factory.gateway.sse import event

_STOP_OUT = {"end": "stop", "tools": "tool_calls", "length": "length", "refusal": "content_filter", "cut": "stop"}
_STOP_IN: dict[str, Stop] = {
    "stop": "end",
    "tool_calls": "tools",
    "function_call": "tools",
    "length": "length",
    "content_filter": "refusal",
}


def error_body(status: int, message: str) -> Json:
    kind = {401: "authentication_error", 429: "rate_limit_exceeded"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    return {"error": {"message": message, "type": kind, "param": None, "code": None}}


def render(answer: Answer, *, model: str, seed: str) -> Json:
    message: Json = {"role": "assistant", "content": answer.text or None}
    if answer.calls:
        message["tool_calls"] = _calls(answer, seed)
    return {
        "id": _id("chatcmpl", seed),
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": _STOP_OUT[answer.stop]}],
        "usage": _usage(answer.tokens or Tokens()),
    }


def stream(answer: Answer, *, model: str, seed: str, usage: bool) -> Iterator[bytes]:
    """The same answer as chunks; ``usage``: the caller asked for the closing usage chunk."""
    base: Json = {"id": _id("chatcmpl", seed), "object": "chat.completion.chunk", "created": 0, "model": model}

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        body = base | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
        return event(None, body | ({"usage": None} if usage else {}))

    yield chunk({"role": "assistant", "content": ""})
    for n in range(0, len(answer.text), 2000):
        yield chunk({"content": answer.text[n : n + 2000]})
    for n, call in enumerate(_calls(answer, seed)):
        function = call["function"]
        yield chunk({"tool_calls": [call | {"index": n, "function": function | {"arguments": ""}}]})
        yield chunk({"tool_calls": [{"index": n, "function": {"arguments": function["arguments"]}}]})
    yield chunk({}, _STOP_OUT[answer.stop])
    if usage:
        yield event(None, base | {"choices": [], "usage": _usage(answer.tokens or Tokens())})
    yield event(None, "[DONE]")


class Reader:
    """Collects a provider's answer while it passes."""

    def __init__(self) -> None:
        self.got = Collected()
        self.error: str | None = None
        self.ended = False
        self.only_usage = False
        """The last event was the closing usage chunk, which a caller gets only when it asked."""
        self._calls: dict[int, tuple[list[str], list[str]]] = {}

    def whole(self, body: Json) -> None:
        choice: Json = next(iter(body.get("choices") or ()), {})
        message = choice.get("message") or {}
        self.got.text.append(str(message.get("content") or ""))
        for n, call in enumerate(message.get("tool_calls") or ()):
            self._piece(n, call)
        self._finish(choice.get("finish_reason"))
        self._usage(body.get("usage"))

    def feed(self, data: str) -> None:
        """One event's data; what does not parse is ignored."""
        self.only_usage = False
        if data.strip() == "[DONE]":
            self.ended = True
            return
        try:
            item = json.loads(data)
        except ValueError:
            return
        if not isinstance(item, dict):
            return
        self.only_usage = item.get("choices") == [] and isinstance(item.get("usage"), dict)
        if isinstance(item.get("error"), dict):
            self.error = str(item["error"].get("message") or "error event")
        for choice in item.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("content"):
                self.got.text.append(str(delta["content"]))
            for n, call in enumerate(delta.get("tool_calls") or ()):
                self._piece(call.get("index", n), call)
            if choice.get("finish_reason"):
                self._finish(choice["finish_reason"])
        self._usage(item.get("usage"))

    def _piece(self, index: int, call: Json) -> None:
        names, arguments = self._calls.setdefault(index, ([], []))
        function = call.get("function") or {}
        names.append(function.get("name") or "")
        arguments.append(function.get("arguments") or "")

    def _finish(self, reason: str | None) -> None:
        self.got.stop = _STOP_IN.get(reason or "", "end")
        for names, arguments in self._calls.values():
            try:
                given = json.loads("".join(arguments) or "{}")
            except ValueError:
                given = {}
            self.got.calls.append(Call("".join(names), given if isinstance(given, dict) else {}))
        self._calls.clear()

    def _usage(self, usage: Json | None) -> None:
        if not isinstance(usage, dict):
            return
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        prompt = usage.get("prompt_tokens") or 0
        self.got.tokens = Tokens(max(prompt - cached, 0), cached, 0, usage.get("completion_tokens") or 0)


def _calls(answer: Answer, seed: str) -> list[Json]:
    return [
        {
            "id": _id("call", seed, n),
            "type": "function",
            "function": {"name": call.tool, "arguments": json.dumps(dict(call.input), ensure_ascii=False)},
        }
        for n, call in enumerate(answer.calls)
    ]


def _usage(tokens: Tokens) -> Json:
    prompt = tokens.input + tokens.cached + tokens.written
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }


def _id(prefix: str, seed: str, n: int | None = None) -> str:
    return f"{prefix}-{hashlib.sha256(f'{seed}/{n}'.encode()).hexdigest()[:24]}"
