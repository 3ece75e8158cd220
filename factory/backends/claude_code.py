"""Claude Code, headless: driven, limited and judged as measured with version 2.1.197."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
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

INSIDE = "/opt/claude-code"
"""Where the sandbox shows the installation, when it is not below /usr."""
REVIEW_TOOLS = "Read,Grep,Glob"


class ClaudeParser:
    """``--output-format stream-json``: one JSON object per line."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._turns = 0

    def feed(self, line: bytes) -> tuple[Event, ...]:
        try:
            item: dict[str, Any] = json.loads(line)
            return tuple(self._events(item))
        except (ValueError, KeyError, TypeError, AttributeError):
            return (Noise(capped(line.decode("utf-8", "replace").rstrip("\n"), 500)),)

    def _events(self, item: dict[str, Any]) -> list[Event]:
        match item["type"]:
            case "assistant":
                return self._said(item["message"])
            case "user":
                return self._results(item["message"])
            case "result":
                return self._closing(item)
            case "system" if item.get("subtype") == "api_retry":
                status = item.get("error_status")
                shown = f"attempt {item.get('attempt')} of {item.get('max_retries')}, status {status}"
                return [Quota(shown)] if status in (429, 529) else [Noise(f"retry: {shown}")]
            case other:
                return [Noise(f"{other} {item.get('subtype', '')}".strip())]

    def _said(self, message: dict[str, Any]) -> list[Event]:
        events: list[Event] = []
        for block in message["content"]:
            if block["type"] == "text":
                events.append(Text(capped(block["text"])))
            elif block["type"] == "tool_use":
                self._names[block["id"]] = block["name"]
                events.append(ToolCall(block["name"], block.get("input") or {}))
        return events

    def _results(self, message: dict[str, Any]) -> list[Event]:
        content = message["content"]
        if isinstance(content, str):
            return []
        return [
            ToolResult(self._names.get(block["tool_use_id"], "?"), bool(block.get("is_error")), _plain(block))
            for block in content
            if block["type"] == "tool_result"
        ]

    def _closing(self, item: dict[str, Any]) -> list[Event]:
        used = item.get("usage") or {}
        events: list[Event] = [
            Usage(
                (used.get("input_tokens") or 0) + (used.get("cache_creation_input_tokens") or 0),
                used.get("output_tokens") or 0,
                used.get("cache_read_input_tokens") or 0,
            )
        ]
        # An API failure says subtype "success": only is_error tells (measured).
        ok = item.get("is_error") is False and item.get("subtype") == "success"
        text = capped(str(item.get("result") or ""), 2_000)
        if ok:
            return [*events, Text(capped(str(item.get("result") or "")), final=True), self._done(item, None, "")]
        status, subtype = item.get("api_error_status"), str(item.get("subtype"))
        if status in (429, 529):
            return [*events, Quota(text), self._done(item, "quota", text)]
        if status is not None and 400 <= status < 500:
            return [*events, Refusal(text), self._done(item, "backend", text)]
        causes = {"error_max_turns": "max-turns", "error_max_budget_usd": "budget"}
        return [*events, self._done(item, causes.get(subtype, "backend"), text or subtype)]

    def _done(self, item: dict[str, Any], cause: str | None, detail: str) -> Done:
        reason = str(item.get("terminal_reason") or item.get("subtype"))
        return Done(cause is None, reason, int(item.get("num_turns") or 0), cause, detail)


class ClaudeCode:
    """Claude Code, headless, on the gateway's Anthropic front."""

    kind = "claude-code"
    api: Api = "anthropic"

    def launch(self, request: LaunchRequest) -> Launch:
        command, binds = _inside(request.tool_paths)
        argv = [*command, "-p", "--output-format", "stream-json", "--verbose"]
        # What the project's own files could redirect or run: settings, hooks, MCP servers, skills, CLAUDE.md. The
        # first two are what keeps a project's `env` from moving the base URL; --bare alone does not (measured).
        argv += ["--setting-sources", "user", "--strict-mcp-config", "--no-session-persistence"]
        argv += ["--disable-slash-commands"]
        argv += ["--model", request.model, "--max-turns", str(request.max_turns)]
        if request.may_edit:
            # The sandbox is the permission system. --bare: a small prompt, and no way but Bash, Edit and Read.
            argv += ["--bare", "--dangerously-skip-permissions"]
        else:
            # Not --bare, which has no tool to search with. Without Bash nothing is executed, and without the
            # permission switch nothing outside the working copy is read.
            argv += ["--tools", REVIEW_TOOLS]
        home_files = {}
        if request.system:
            home_files[".factory-system.md"] = request.system
            argv += ["--append-system-prompt-file", f"{request.home}/.factory-system.md"]
        env = {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{request.gateway_port}",
            "ANTHROPIC_API_KEY": request.token,
            # Every model it might choose by itself for a side task is the one the gateway allows.
            "ANTHROPIC_SMALL_FAST_MODEL": request.model,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": request.model,
            "ANTHROPIC_DEFAULT_SONNET_MODEL": request.model,
            "ANTHROPIC_DEFAULT_OPUS_MODEL": request.model,
            "CLAUDE_CODE_SUBAGENT_MODEL": request.model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(request.max_output_tokens),
            # 0.5, 1.2, 2.5, 5, 9, 18 s: about 40 s in all, enough for a gateway that is restarted in between.
            "CLAUDE_CODE_MAX_RETRIES": "6",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        }
        if request.is_root_inside:
            env["IS_SANDBOX"] = "1"  # it refuses to skip permissions as root otherwise
        # The prompt comes by standard input: one argument holds at most 128 KiB.
        shell = ("/bin/sh", "-c", 'exec "$@" <"$0"', request.prompt_path)
        return Launch((*shell, *argv), env, home_files, binds)

    def parser(self) -> ClaudeParser:
        return ClaudeParser()

    def outcome(self, returncode: int | None, events: Sequence[Event]) -> BackendOutcome:
        done = next((event for event in reversed(events) if isinstance(event, Done)), None)
        if done is None:
            noise = next((event.text for event in reversed(events) if isinstance(event, Noise)), "")
            how = "was killed" if returncode is None or returncode < 0 else f"ended with code {returncode}"
            return BackendOutcome(False, "backend", f"claude {how} without a result{': ' + noise if noise else ''}")
        if not done.ok:
            return BackendOutcome(False, done.cause or "backend", done.detail or done.reason)
        if returncode != 0:
            return BackendOutcome(False, "backend", f"claude said success, then ended with code {returncode}")
        return BackendOutcome(True, None, done.reason)

    def probe(self, path: str | None = None) -> Probe:
        found = shutil.which("claude", path=path)
        if found is None:
            return Probe(False, detail="claude is not on PATH: npm install -g @anthropic-ai/claude-code")
        program = Path(found).resolve()
        tools, folders = {"claude": str(program)}, [Path(found).absolute().parent]
        if _is_script(program):
            node = shutil.which("node", path=path)
            if node is None:
                return Probe(False, detail=f"{program} needs node, which is not on PATH")
            tools["node"] = str(Path(node).resolve())
            folders.append(Path(node).absolute().parent)
        return Probe(True, _version(program), tools, path=":".join(dict.fromkeys(map(str, folders))))


def _inside(tools: Mapping[str, str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The command as seen inside, and the read-only binds that make it visible. Below /usr nothing is needed."""
    program = Path(tools.get("claude", "/usr/bin/claude"))
    binds: list[tuple[str, str]] = []

    def shown(host: Path, tree: Path, name: str) -> str:
        if host.is_relative_to("/usr"):
            return str(host)
        binds.append((str(tree), f"{INSIDE}/{name}"))
        return f"{INSIDE}/{name}/{host.relative_to(tree)}" if host != tree else f"{INSIDE}/{name}"

    if "node" in tools:
        node = Path(tools["node"])
        return (shown(node, node, "node"), shown(program, _package(program), "cli")), tuple(binds)
    return (shown(program, program, "claude"),), tuple(binds)


def _package(program: Path) -> Path:
    """The npm package that holds ``program``: the nearest folder with a package.json, as named by its own path."""
    parts = program.parts
    if "node_modules" in parts:
        last = len(parts) - 1 - parts[::-1].index("node_modules")
        return Path(*parts[: last + (3 if parts[last + 1].startswith("@") else 2)])
    return program.parent


def _is_script(program: Path) -> bool:
    with program.open("rb") as file:
        return file.read(2) == b"#!"


def _version(program: Path) -> str | None:
    try:
        version = json.loads((_package(program) / "package.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError):
        return None  # a native installation keeps it in the program only
    return str(version)


def _plain(block: dict[str, Any]) -> str:
    content = block.get("content")
    if isinstance(content, str):
        return capped(content, 2_000)
    return capped("\n".join(str(part.get("text", "")) for part in content or ()), 2_000)
