"""What was said, per run: JSON lines (0600), redacted on the reassembled text."""

from __future__ import annotations

import json
import os
from pathlib import Path

from factory.gateway.dialogue import Answer, Asked, Json
from factory.gateway.redact import Redactor

MAX_BYTES = 64_000_000
"""Of one run's transcript; a note says where it ends."""


class Transcript:
    """The exchanges of one run, one JSON line each, redacted."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, at: str, asked: Asked, answer: Answer, key: Json, redact: Redactor) -> None:
        """One exchange: the messages since the last answer, and the answer. ``key``: where it stands in a script."""
        tokens = answer.tokens
        line: Json = {
            "at": at,
            **key,
            "system": asked.body.get("system") if asked.turn == 0 else None,
            "messages": list(asked.news),
            "text": answer.text,
            "calls": [{"tool": call.tool, "input": dict(call.input)} for call in answer.calls],
            "stop": answer.stop,
            "usage": None
            if tokens is None
            else {"input": tokens.input + tokens.written, "cached": tokens.cached, "output": tokens.output},
        }
        self._write(json.dumps(redact.deep(line), ensure_ascii=False))

    def _write(self, line: str) -> None:
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            size = os.fstat(fd).st_size
            if size < MAX_BYTES:
                os.write(fd, line.encode("utf-8", "replace") + b"\n")
                if os.fstat(fd).st_size >= MAX_BYTES:
                    os.write(fd, b'{"note":"the transcript ends here: its size limit"}\n')
        finally:
            os.close(fd)
