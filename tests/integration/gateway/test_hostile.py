"""A session that tries everything on its socket: it gets 4xx, and nobody else notices."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import threading
from typing import Any

import psutil
import pytest

from factory.gateway.http import MAX_BODY
from factory.gateway.listen import MAX_CONNECTIONS
from factory.gateway.values import FactKind, Registration
from factory.testing.gateway_process import GatewayProcess, grant


@pytest.fixture
def registration(replay: GatewayProcess) -> Registration:
    return replay.control.register(grant(run="r1"))


def raw(registration: Registration, data: bytes, *, answer: bool = True) -> bytes:
    """Sends bytes as they are, and returns what comes back until the gateway closes."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5)
        sock.connect(str(registration.socket))
        try:
            sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it stopped listening to this; what it said before may still be read
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while answer and (piece := sock.recv(65536)):
                got += piece
        return got


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/v1/messages", {"x-api-key": "another"}, 401),
        ("/v1/files", {}, 400),
        ("/v1/messages", {"content-encoding": "gzip"}, 400),
    ],
    ids=["token", "path", "encoding"],
)
def test_whoever_is_refused_reads_why_however_large_the_request(
    registration: Registration, path: str, headers: dict[str, str], status: int
) -> None:
    """A CLI that finds its connection broken while it still sends tries again and again; one that reads 401 ends."""
    body = b"x" * (MAX_BODY // 2)
    with socket.socket(socket.AF_UNIX) as sock, contextlib.closing(http.client.HTTPConnection("gateway")) as line:
        sock.settimeout(10)
        sock.connect(str(registration.socket))
        line.sock = sock
        line.request("POST", path, body, {"x-api-key": registration.token, **headers})
        assert line.getresponse().status == status


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/models"),
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages?x=1"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/files"),
        ("POST", "/v1/responses"),
        ("POST", "/v1/complete"),
        ("POST", "//v1/messages"),
        ("POST", "/v1/../register"),
        ("POST", "/register"),
        ("DELETE", "/v1/messages"),
        ("POST", "/v1/messages%2f"),
    ],
)
def test_other_endpoints_are_refused_and_recorded(
    replay: GatewayProcess, registration: Registration, enter: Any, method: str, path: str
) -> None:
    with enter(registration) as session:
        answer = session.send(method, path, b"{}", {"x-api-key": registration.token})
    assert answer.status_code == 400
    assert "allowlist" in answer.json()["error"]["message"]
    assert [fact.kind for fact in replay.control.usage("r1").facts] == [FactKind.REFUSED]


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"mcp_servers": [{"type": "url", "url": "http://x"}]},
        {"container": "x"},
        {"model": "m2"},
        {"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}]},
    ],
)
def test_provider_side_tools_are_refused_and_recorded(
    replay: GatewayProcess, registration: Registration, enter: Any, fields: dict[str, Any]
) -> None:
    with enter(registration) as session:
        answer = session.post("/v1/messages", session.anthropic("add median") | fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert answer.json()["error"]["fact"] == "refused"
    used = replay.control.usage("r1")
    assert (used.requests, len(used.facts)) == (0, 1)


def test_bodies_that_are_not_what_they_say(replay: GatewayProcess, registration: Registration, enter: Any) -> None:
    with enter(registration) as session:
        for body in (b"", b"{", b"[]", b'{"model":"m1"}', b"\xff\xfe", b"[" * 200_000, b'{"a":' * 100_000):
            assert session.post("/v1/messages", body).status_code == 400, body[:20]
        assert session.post("/v1/messages", b"{}", {"content-encoding": "gzip"}).status_code == 400
        assert session.messages("add median").status_code == 200


def test_duplicate_keys_cannot_say_two_things(registration: Registration, enter: Any) -> None:
    """The forwarded body is rebuilt, so a provider that takes the first of two keys sees what was judged."""
    with enter(registration) as session:
        body = json.dumps(session.anthropic("add median"))
        doubled = '{"mcp_servers": [], ' + body[1:]
        assert session.post("/v1/messages", doubled.encode()).status_code == 400
        doubled = '{"model": "other", ' + body[1:]
        assert session.post("/v1/messages", doubled.encode()).status_code == 200


def test_a_huge_body_is_refused_without_being_kept(
    replay: GatewayProcess, registration: Registration, enter: Any
) -> None:
    head = f"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: {registration.token}\r\n"
    said = raw(registration, f"{head}content-length: {MAX_BODY + 1}\r\n\r\n".encode())
    assert b"413" in said.split(b"\r\n")[0]
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    said = raw(registration, f"{head}transfer-encoding: chunked\r\n\r\n".encode() + chunk * (MAX_BODY // 0x10000 + 2))
    assert said == b"" or b"413" in said.split(b"\r\n")[0]
    assert psutil.Process(replay.pid).memory_info().rss < 150_000_000
    with enter(registration) as session:
        assert session.messages("add median").status_code == 200


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 1000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a: " + b"b" * 200_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
        b"GET /" + b"%ff" * 50 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        "GET /ü HTTP/1.1\r\nhost: x\r\n\r\n".encode(),
    ],
)
def test_broken_http_hurts_nobody(replay: GatewayProcess, registration: Registration, enter: Any, data: bytes) -> None:
    raw(registration, data, answer=False)
    with enter(registration) as session:
        assert session.messages("add median").status_code == 200


def test_silent_connections_do_not_keep_others_out(
    replay: GatewayProcess, registration: Registration, enter: Any
) -> None:
    other = replay.control.register(grant(run="r2"))
    with contextlib.ExitStack() as stack:
        held = []
        for _ in range(MAX_CONNECTIONS * 2):
            sock = stack.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(str(registration.socket))  # waits while the backlog is full
            sock.settimeout(30)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # thrown out before it could speak
                sock.sendall(b"POST /v1/mess")
            held.append(sock)
        # In the order they came: whoever is over the number is thrown out, whoever was there stays.
        assert [_ended(sock) for sock in held[MAX_CONNECTIONS:]] == [True] * MAX_CONNECTIONS
        assert select.select(held[:MAX_CONNECTIONS], [], [], 0)[0] == []
        with enter(other) as session:
            assert session.messages("add median").status_code == 200
        assert psutil.Process(replay.pid).num_fds() < MAX_CONNECTIONS + 40
    with enter(registration) as session:
        assert session.messages("add median").status_code == 200


def _ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def test_fifty_at_once(replay: GatewayProcess, enter: Any) -> None:
    statuses: list[int] = []

    def ask(n: int) -> None:
        with enter(replay.control.register(grant(run=f"r{n}"))) as session:
            statuses.append(session.messages("add median", stream=True).status_code)
            statuses.append(session.chat("add median", "x", "hello").status_code)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100
    assert replay.control.totals() == {"model_calls": 100, "live_runs": 50}
    assert {replay.control.usage(f"r{n}").requests for n in range(50)} == {2}


def test_turns_bind_requests_at_the_same_time(replay: GatewayProcess, enter: Any) -> None:
    registration = replay.control.register(grant(run="r1", max_turns=5))
    statuses: list[int] = []

    def ask() -> None:
        with enter(registration) as session:
            statuses.append(session.messages("add median").status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 5 + [400] * 15
    assert replay.control.usage("r1").requests == 5


def test_tokens_are_not_told_by_errors(replay: GatewayProcess, registration: Registration, enter: Any) -> None:
    with enter(registration) as session:
        answer = session.messages("add median", model=registration.token)
        assert answer.status_code == 400
    kept = b"".join(path.read_bytes() for path in (replay.home / "gateway").rglob("*") if path.is_file())
    assert registration.token.encode() not in kept
    assert registration.token not in replay.errors()


def test_count_tokens_is_answered_here(replay: GatewayProcess, registration: Registration, enter: Any) -> None:
    with enter(registration) as session:
        said = session.post("/v1/messages/count_tokens", session.anthropic("x" * 3000)).json()
    assert said["input_tokens"] >= 1000
    assert replay.control.totals()["model_calls"] == 0
