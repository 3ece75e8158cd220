"""Reading Claude Code's stream as it was measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from factory.backends.claude_code import INSIDE, ClaudeCode
from factory.backends.protocol import (
    BackendOutcome,
    Done,
    Event,
    LaunchRequest,
    Quota,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)

REQUEST = LaunchRequest(
    "r", "m1", "fgw-t", 8790, "/in/prompt.md", "", True, 7, None, "/home/agent", "/usr/bin/python3", "/p.pyz", {}, False
)
RESULT: dict[str, Any] = {
    "type": "result",
    "subtype": "success",
    "is_error": False,
    "num_turns": 2,
    "result": "All done.",
    "usage": {"input_tokens": 5, "cache_creation_input_tokens": 1, "cache_read_input_tokens": 3, "output_tokens": 4},
    "terminal_reason": "completed",
}


def feed(*lines: dict[str, Any]) -> list[Event]:
    parser = ClaudeCode().parser()
    return [event for line in lines for event in parser.feed(json.dumps(line).encode())]


def outcome(code: int | None, *lines: dict[str, Any]) -> BackendOutcome:
    return ClaudeCode().outcome(code, feed(*lines))


def test_reads_a_session() -> None:
    events = feed(
        {"type": "system", "subtype": "init", "session_id": "s"},
        {
            "type": "assistant",
            "message": {
                "content": [
                    {"type": "thinking", "thinking": "…"},
                    {"type": "text", "text": "Look."},
                    {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}},
                ]
            },
        },
        {
            "type": "user",
            "message": {
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "a"}]},
                    {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
                ]
            },
        },
        RESULT,
    )
    assert events[1:] == [
        Text("Look."),
        ToolCall("Bash", {"command": "ls"}),
        ToolResult("Bash", False, "a"),
        ToolResult("?", True, "no"),
        Usage(6, 4, 3),
        Text("All done.", final=True),
        Done(True, "completed", 2),
    ]
    assert ClaudeCode().outcome(0, events).ok


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        # An API failure calls itself a success.
        ({"is_error": True, "api_error_status": 500, "result": "API Error"}, "backend"),
        ({"is_error": True, "api_error_status": 401, "result": "API Error"}, "backend"),
        ({"is_error": True, "api_error_status": 429, "result": "API Error"}, "quota"),
        ({"is_error": True, "api_error_status": 529, "result": "API Error"}, "quota"),
        ({"subtype": "error_max_turns", "is_error": True}, "max-turns"),
        ({"subtype": "error_max_turns", "is_error": False}, "max-turns"),
        ({"subtype": "error_max_budget_usd", "is_error": True}, "budget"),
        ({"subtype": "error_during_execution", "is_error": True}, "backend"),
        ({"is_error": None}, "backend"),
    ],
)
def test_failures_are_judged_by_what_they_say_not_by_exit_code(fields: dict[str, Any], cause: str) -> None:
    for code in (0, 1):
        said = outcome(code, RESULT | fields)
        assert (said.ok, said.cause) == (False, cause)


def test_refusals_and_quota_are_events() -> None:
    assert any(isinstance(event, Refusal) for event in feed(RESULT | {"is_error": True, "api_error_status": 400}))
    assert any(isinstance(event, Quota) for event in feed(RESULT | {"is_error": True, "api_error_status": 429}))
    retry = {"type": "system", "subtype": "api_retry", "error_status": 429, "attempt": 1, "max_retries": 6}
    assert isinstance(feed(retry)[0], Quota)


def test_success_needs_exit_code_zero() -> None:
    assert not outcome(1, RESULT).ok
    assert not outcome(None, RESULT).ok


def test_limits_are_on_the_command_line() -> None:
    launch = ClaudeCode().launch(REQUEST)
    argv = " ".join(launch.argv)
    assert "--setting-sources user --strict-mcp-config" in argv
    assert "--max-turns 7" in argv
    assert "--bare" in launch.argv
    assert "--dangerously-skip-permissions" in launch.argv
    assert "IS_SANDBOX" not in launch.env
    assert launch.env["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] == "1"
    assert ClaudeCode().launch(dataclasses.replace(REQUEST, is_root_inside=True)).env["IS_SANDBOX"] == "1"


def test_a_review_gets_reading_tools_and_no_waived_permissions() -> None:
    argv = ClaudeCode().launch(dataclasses.replace(REQUEST, may_edit=False)).argv
    assert argv[argv.index("--tools") + 1] == "Read,Grep,Glob"
    assert "--dangerously-skip-permissions" not in argv


def install(root: Path, first: bytes) -> Path:
    package = root / "lib" / "node_modules" / "@anthropic-ai" / "claude-code"
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text('{"version": "9.8.7"}', encoding="utf-8")
    program = package / "bin" / "claude.exe"
    program.write_bytes(first)
    program.chmod(0o755)
    bin_ = root / "bin"
    bin_.mkdir()
    (bin_ / "claude").symlink_to(program)
    return bin_


def test_a_native_installation_is_bound_alone(tmp_path: Path) -> None:
    probe = ClaudeCode().probe(str(install(tmp_path, b"\x7fELF")))
    assert (probe.installed, probe.version) == (True, "9.8.7")
    launch = ClaudeCode().launch(dataclasses.replace(REQUEST, tool_paths=probe.tool_paths))
    ((host, inside),) = launch.extra_binds
    assert Path(host).name == "claude.exe"
    assert inside == f"{INSIDE}/claude"
    assert inside in launch.argv


def test_a_script_installation_brings_node_and_its_package(tmp_path: Path) -> None:
    bin_ = install(tmp_path, b"#!/usr/bin/env node\n")
    assert "needs node" in ClaudeCode().probe(str(bin_)).detail
    (bin_ / "node").write_bytes(b"\x7fELF")
    (bin_ / "node").chmod(0o755)
    probe = ClaudeCode().probe(str(bin_))
    launch = ClaudeCode().launch(dataclasses.replace(REQUEST, tool_paths=probe.tool_paths))
    binds = dict(launch.extra_binds)
    assert binds[str(bin_ / "node")] == f"{INSIDE}/node"
    assert binds[str(tmp_path / "lib/node_modules/@anthropic-ai/claude-code")] == f"{INSIDE}/cli"
    start = launch.argv.index(f"{INSIDE}/node")
    assert launch.argv[start + 1] == f"{INSIDE}/cli/bin/claude.exe"


def test_below_usr_nothing_needs_binding() -> None:
    tools = {"claude": "/usr/lib/node_modules/x/cli.js", "node": "/usr/bin/node"}
    launch = ClaudeCode().launch(dataclasses.replace(REQUEST, tool_paths=tools))
    assert launch.extra_binds == ()
    assert "/usr/bin/node" in launch.argv


def test_absent_says_how_to_get_it(tmp_path: Path) -> None:
    probe = ClaudeCode().probe(str(tmp_path))
    assert not probe.installed
    assert "npm install" in probe.detail
