"""Our own tool loop, shipped into the sandbox (``factory/session/inside/native.py``): for machines without Node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from factory.backends.protocol import (
    Api,
    BackendOutcome,
    Done,
    Event,
    Launch,
    LaunchRequest,
    Noise,
    Probe,
    Quota,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Usage,
    capped,
)


class NativeParser:
    """Lines are ours: one JSON object each, ``event`` naming its kind."""

    def feed(self, line: bytes) -> tuple[Event, ...]:
        try:
            item: dict[str, Any] = json.loads(line)
            return (self._event(item),)
        except (ValueError, KeyError, TypeError, AttributeError):
            return (Noise(capped(line.decode("utf-8", "replace").rstrip("\n"), 500)),)

    def _event(self, item: dict[str, Any]) -> Event:
        match item["event"]:
            case "text":
                return Text(capped(str(item["text"])), final=bool(item.get("final")))
            case "tool_call":
                return ToolCall(str(item["name"]), dict(item["input"]))
            case "tool_result":
                return ToolResult(str(item["name"]), bool(item["error"]), capped(str(item["text"]), 2_000))
            case "usage":
                return Usage(int(item["input"]), int(item["output"]), int(item["cached"]))
            case "quota":
                return Quota(capped(str(item["text"]), 2_000), item.get("retry_after"))
            case "refusal":
                return Refusal(capped(str(item["text"]), 2_000))
            case "done":
                detail = capped(str(item.get("detail", "")), 2_000)
                return Done(bool(item["ok"]), str(item["reason"]), int(item["turns"]), item.get("cause"), detail)
            case other:
                return Noise(capped(f"{other}: {item.get('text', '')}", 500))


class Native:
    """The loop on the gateway's Anthropic front."""

    kind = "native"
    api: Api = "anthropic"

    def launch(self, request: LaunchRequest) -> Launch:
        argv = [request.python, "-I", "-S", request.inside_pyz, "native"]
        argv += ["--api", self.api, "--base", f"http://127.0.0.1:{request.gateway_port}", "--model", request.model]
        argv += ["--prompt", request.prompt_path, "--root", request.root, "--max-turns", str(request.max_turns)]
        argv += ["--max-tokens", str(request.max_output_tokens)]
        if not request.may_edit:
            argv.append("--read-only")
        home_files = {}
        if request.system:
            home_files[".factory-system.md"] = request.system
            argv += ["--system", f"{request.home}/.factory-system.md"]
        # The token goes by environment, not argv: argv is readable by every process of the sandbox's user.
        return Launch(tuple(argv), {"FACTORY_GATEWAY_TOKEN": request.token}, home_files)

    def parser(self) -> NativeParser:
        return NativeParser()

    def outcome(self, returncode: int | None, events: Sequence[Event]) -> BackendOutcome:
        done = next((event for event in reversed(events) if isinstance(event, Done)), None)
        if done is None:
            how = "was killed" if returncode is None or returncode < 0 else f"ended with code {returncode}"
            return BackendOutcome(False, "backend", f"the native loop {how} without its closing word")
        if not done.ok:
            return BackendOutcome(False, done.cause or "backend", done.detail or done.reason)
        if returncode != 0:
            return BackendOutcome(False, "backend", f"the native loop said it was done, then ended with {returncode}")
        return BackendOutcome(True, None, done.reason)

    def probe(self, path: str | None = None) -> Probe:
        return Probe(True, "built in")


class NativeOpenAI(Native):
    """The loop on the gateway's Chat Completions front."""

    kind = "native-openai"
    api: Api = "openai"
