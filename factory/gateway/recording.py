"""Recording a live run's turns, and rendering them in the format that replay reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from factory.gateway.dialogue import Answer
from factory.gateway.redact import Redactor
from factory.gateway.script import Key
from factory.gateway.values import GatewayRefused


def keep(path: Path, key: Key, answer: Answer) -> None:
    """Appends one turn to the run's raw recording (0600)."""
    tokens = answer.tokens
    line = {
        **key._asdict(),
        "text": answer.text,
        "call": [{"tool": call.tool, "input": dict(call.input)} for call in answer.calls],
        "usage": None
        if tokens is None
        else {"input": tokens.input + tokens.written, "output": tokens.output, "cached": tokens.cached},
    }
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
    finally:
        os.close(fd)


def render(path: Path, redact: Redactor | None = None) -> str:
    """The recording as TOML. Raises ``GatewayRefused`` when there is none, or when it holds something like a secret."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise GatewayRefused("rendering a recording: this run was not registered with record") from error
    turns: dict[tuple[Any, ...], dict[str, Any]] = {}
    for n, line in enumerate(lines):
        turn = json.loads(line)
        if (redact or Redactor()).finds(turn):
            raise GatewayRefused(
                f"rendering a recording: turn {n} holds something that looks like a secret; not written"
            )
        turns[tuple(turn[name] for name in Key._fields)] = turn  # a retried request is answered anew: the last counts
    import tomlkit

    document = tomlkit.document()
    document.add("schema", tomlkit.item(1))
    document.add("kind", tomlkit.item("recorded"))
    tables = tomlkit.aot()
    for turn in turns.values():
        kept = {name: value for name, value in turn.items() if value not in (None, "", [])}
        tables.append(tomlkit.item(_no_null(kept)))
    document.add("turn", tables)
    return tomlkit.dumps(document)


def _no_null(value: Any) -> Any:
    """TOML has no null: a null member of a tool's input is left out, which every tool here reads the same way."""
    if isinstance(value, dict):
        return {name: _no_null(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_no_null(item) for item in value if item is not None]
    return value
