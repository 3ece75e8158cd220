"""A real gateway process, and a client that speaks to a run's socket as a session does."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from factory.gateway.values import Registration
from factory.testing.gateway_process import GatewayProcess

Start = Callable[..., GatewayProcess]
PRICE = {"input_per_mtok": 3, "output_per_mtok": 15}

SCRIPT = """
schema = 1
kind = "scripted"
[[turn]]
formula = "dev"
step = "implement"
turn = 0
expect = "median"
text = "I will look."
call = [{ tool = "run", input = { command = "echo hello > a.txt; cat a.txt" } }]
usage = { input = 1000, output = 100 }
[[turn]]
formula = "dev"
step = "implement"
turn = 1
expect = "hello"
text = '{"done": true}'
usage = { input = 2000, output = 10 }
[[turn]]
formula = "dev"
step = "implement"
answer = 1
turn = 0
text = "corrected"
[[turn]]
formula = "dev"
step = "slow"
turn = 0
text = "late"
delay_s = 30
[[turn]]
formula = "dev"
step = "busy"
turn = 0
error = { status = 529, message = "try later", retry_after = 30 }
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "script.toml"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway on ``tmp_path``; it ends with the test."""
    running: list[GatewayProcess] = []

    def make(*backends: Mapping[str, Any], home: Path = tmp_path / "g") -> GatewayProcess:
        process = GatewayProcess(home, backends)
        process.start()
        running.append(process)
        return process

    yield make
    for process in running:
        process.__exit__()


@pytest.fixture
def replay(start: Start, script: Path) -> GatewayProcess:
    return start({"name": "b", "api": "anthropic", "replay": str(script), "price": PRICE, "slots": 100})


@pytest.fixture
def enter() -> type[Session]:
    return Session


class Reply:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status_code = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = response.read()

    @property
    def text(self) -> str:
        return self.content.decode()

    def json(self) -> Any:
        return json.loads(self.content)


class Session:
    """A registered run's end: what a CLI inside a sandbox can send. One connection per request."""

    timeout = 30.0

    def __init__(self, registration: Registration) -> None:
        self.registration = registration

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def send(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Reply:
        with self.sent(method, path, body, headers) as connection:
            return Reply(connection.getresponse())

    @contextlib.contextmanager
    def sent(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        """A request on its way. After the block the client has left, answered or not."""
        with contextlib.closing(http.client.HTTPConnection("gateway")) as connection:
            sock = socket.socket(socket.AF_UNIX)
            connection.sock = sock
            with sock:
                sock.settimeout(self.timeout)
                sock.connect(str(self.registration.socket))
                with contextlib.suppress(BrokenPipeError):  # refused before the body was read: the answer is there
                    connection.request(method, path, body, dict(headers or {}))
                yield connection

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None, token: str | None = None) -> Reply:
        sent = {"x-api-key": self.registration.token if token is None else token, **(headers or {})}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, content, {"content-type": "application/json", **sent})

    @staticmethod
    def anthropic(*said: str, **fields: Any) -> dict[str, Any]:
        """A request whose messages alternate between user and assistant."""
        tool = {"name": "run", "description": "d", "input_schema": {"type": "object"}}
        return {"model": "m1", "max_tokens": 1000, "messages": _turns(said), "tools": [tool], **fields}

    @staticmethod
    def openai(*said: str, **fields: Any) -> dict[str, Any]:
        tool = {"type": "function", "function": {"name": "run", "parameters": {"type": "object"}}}
        return {"model": "m1", "max_tokens": 1000, "messages": _turns(said), "tools": [tool], **fields}

    def messages(self, *said: str, **fields: Any) -> Reply:
        return self.post("/v1/messages?beta=true", self.anthropic(*said, **fields))

    def chat(self, *said: str, **fields: Any) -> Reply:
        return self.post("/v1/chat/completions", self.openai(*said, **fields))


def _turns(said: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(said)]
