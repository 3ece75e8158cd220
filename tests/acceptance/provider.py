"""A model provider that says what a test wrote down, in the shape of Anthropic's Messages API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response


@dataclass(frozen=True)
class Turn:
    """One answer: some text, then tool calls ``(tool, input)``."""

    text: str
    calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    expect: str = ""
    """What the last tool results must contain, so that the script cannot run ahead of what really happened."""


@dataclass(frozen=True)
class Asked:
    """One request, as it came."""

    path: str
    headers: Mapping[str, str]
    body: str


@dataclass
class Provider:
    """``plays``: words in the task -> its turns. Which turn it is follows from the request alone."""

    server: HTTPServer
    plays: Mapping[str, Sequence[Turn]]
    asked: list[Asked] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Requests that no play answers: a test asserts that there were none."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.server.expect_request("/v1/messages", method="POST").respond_with_handler(self._answer)

    @property
    def url(self) -> str:
        return self.server.url_for("/").rstrip("/")

    def _answer(self, request: Request) -> Response:
        raw = request.get_data(as_text=True)
        with self._lock:
            self.asked.append(Asked(request.path, dict(request.headers), raw))
        body = json.loads(raw)
        turn = self._turn(body)
        message = _message(turn, str(body.get("model")), seed=f"{len(self.asked)}")
        if body.get("stream"):
            return Response(_events(message), content_type="text/event-stream")
        return Response(json.dumps(message), content_type="application/json")

    def _turn(self, body: Mapping[str, Any]) -> Turn:
        messages = body["messages"]
        task = json.dumps(messages[0], ensure_ascii=False)
        number = sum(m["role"] == "assistant" for m in messages)
        for words, turns in self.plays.items():
            if words not in task:
                continue
            if number >= len(turns):
                return self._problem(f"{words!r}: there is no turn {number}")
            turn = turns[number]
            last = json.dumps(messages[-1], ensure_ascii=False)
            if turn.expect not in last:
                return self._problem(f"{words!r}, turn {number}: expected {turn.expect!r} in {last[-2000:]}")
            return turn
        return Turn("ok")  # a smoke test

    def _problem(self, what: str) -> Turn:
        with self._lock:
            self.problems.append(what)
        return Turn(f"The test's script does not go on: {what}")


def _message(turn: Turn, model: str, seed: str) -> dict[str, Any]:
    content: list[dict[str, Any]] = [{"type": "text", "text": turn.text}]
    for n, (tool, given) in enumerate(turn.calls):
        content.append({"type": "tool_use", "id": f"toolu_{seed}_{n}", "name": tool, "input": dict(given)})
    return {
        "id": f"msg_{seed}", "type": "message", "role": "assistant", "model": model, "content": content,
        "stop_reason": "tool_use" if turn.calls else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 1200, "output_tokens": 40},
    }  # fmt: skip


def _events(message: dict[str, Any]) -> Iterator[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()

    yield event("message_start", message={**message, "content": [], "stop_reason": None})
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            yield event("content_block_start", index=index, content_block={"type": "text", "text": ""})
            delta = {"type": "text_delta", "text": block["text"]}
        else:
            yield event("content_block_start", index=index, content_block={**block, "input": {}})
            delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        yield event("content_block_delta", index=index, delta=delta)
        yield event("content_block_stop", index=index)
    closing = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield event("message_delta", delta=closing, usage=message["usage"])
    yield event("message_stop")
