"""The gateway before a provider's real endpoint, here a scripted server on loopback."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from factory.gateway import anthropic_answer, openai_answer
from factory.gateway.dialogue import Answer, Call, Tokens
from factory.gateway.values import FactKind
from factory.testing.gateway_process import GatewayProcess, grant

KEY = "sk-ant-api03-the-providers-key-0123456789"
PRICE = {"input_per_mtok": 3, "output_per_mtok": 15, "cached_input_per_mtok": 0.3}
SAID = Answer("fine", (Call("run", {"command": "ls"}),), Tokens(100, 50, 20, 30), "tools")
LAST = Answer("the end", (), Tokens(10, 0, 0, 5), "end")
COST = (100 * 3 + 20 * 3.75 + 50 * 0.3 + 30 * 15) / 1e6


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n", encoding="utf-8")
    return path


@pytest.fixture
def httpserver() -> Iterator[HTTPServer]:
    """Threaded: a provider answers several at once, and one that hangs does not hold up the others."""
    with HTTPServer(threaded=True) as server:
        yield server


@pytest.fixture
def gateway(start: Callable[..., GatewayProcess], httpserver: HTTPServer, key: Path) -> GatewayProcess:
    common = {"key_file": str(key), "price": PRICE, "stall_s": 1.0, "slots": 2}
    return start(
        {"name": "a", "api": "anthropic", "url": httpserver.url_for("/").rstrip("/"), **common},
        {"name": "o", "api": "openai", "url": httpserver.url_for("/v1"), **common},
    )


def anthropic_sse(answer: Answer) -> list[bytes]:
    return list(anthropic_answer.stream(answer, model="m1", seed="s"))


def openai_sse(answer: Answer) -> list[bytes]:
    return list(openai_answer.stream(answer, model="m1", seed="s", usage=True))


def test_anthropic_streams_through_and_is_metered(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response(iter(anthropic_sse(SAID)), content_type="text/event-stream")

    httpserver.expect_request("/v1/messages", method="POST").respond_with_handler(handler)
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        headers = {"anthropic-beta": "claude-code-20250219,context-1m-2025-08-07", "user-agent": "cli", "x-app": "cli"}
        body = session.anthropic("hi", stream=True, metadata={"user_id": "machine"})
        answer = session.post("/v1/messages?beta=true", body, headers)
        assert answer.status_code == 200
        assert answer.content == b"".join(anthropic_sse(SAID))
    request = seen[0]
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-beta"] == "claude-code-20250219"
    assert request.query_string == b""
    sent = dict(request.headers)
    assert "X-App" not in sent
    assert "cli" not in sent["User-Agent"]
    assert session.registration.token not in json.dumps(sent) + request.get_data(as_text=True)
    assert "metadata" not in json.loads(request.get_data())
    used = gateway.control.usage("r1")
    assert (used.requests, used.input_tokens, used.cached_tokens, used.output_tokens) == (1, 120, 50, 30)
    assert used.cost_usd == pytest.approx(COST)
    assert not used.scripted


def test_whole_answers_on_both_apis(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    httpserver.expect_request("/v1/messages").respond_with_json(anthropic_answer.render(SAID, model="m1", seed="s"))
    httpserver.expect_request("/v1/chat/completions").respond_with_json(
        openai_answer.render(LAST, model="m1", seed="s")
    )
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        assert session.messages("hi").json()["content"][0]["text"] == "fine"
        assert "speaks the anthropic API" in session.chat("hi").text
    with enter(gateway.control.register(grant(run="r2", backend="o"))) as session:
        assert session.chat("hi").json()["choices"][0]["message"]["content"] == "the end"
    assert httpserver.log[-1][0].headers["authorization"] == f"Bearer {KEY}"
    assert gateway.control.usage("r1").cost_usd == pytest.approx(COST)
    assert gateway.control.answer("r1") is None
    assert gateway.control.answer("r2") == "the end"


def test_openai_streams_through_and_is_metered(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    httpserver.expect_request("/v1/chat/completions").respond_with_handler(
        lambda _: Response(iter(openai_sse(LAST)), content_type="text/event-stream")
    )
    with enter(gateway.control.register(grant(run="r1", backend="o"))) as session:
        asked = session.chat("hi", stream=True, stream_options={"include_usage": True})
        assert asked.content == b"".join(openai_sse(LAST))
        assert '"choices":[]' not in session.chat("hi", stream=True).text, "metered, but not passed on unasked"
    assert gateway.control.usage("r1").output_tokens == 10
    assert json.loads(httpserver.log[-1][0].get_data())["stream_options"] == {"include_usage": True}


def test_a_failure_that_passed_is_told_from_one_that_stands(
    gateway: GatewayProcess, httpserver: HTTPServer, enter: Any
) -> None:
    good = anthropic_answer.render(LAST, model="m1", seed="s")
    httpserver.expect_ordered_request("/v1/messages").respond_with_json({}, status=503)
    httpserver.expect_ordered_request("/v1/messages").respond_with_json(good)
    httpserver.expect_ordered_request("/v1/messages").respond_with_json({}, status=529)
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        assert [session.messages("hi").status_code for _ in range(3)] == [503, 200, 529]
    facts = gateway.control.usage("r1").facts
    assert [(fact.kind, fact.passed) for fact in facts] == [(FactKind.UPSTREAM, True), (FactKind.QUOTA, False)]
    gateway.kill()
    gateway.start()
    assert gateway.control.usage("r1").facts == facts


@pytest.mark.parametrize(
    ("status", "headers", "body", "shown", "kind", "retry"),
    [
        (429, {"retry-after": "17"}, {"error": {"message": "slow down"}}, 429, FactKind.QUOTA, 17.0),
        (429, {"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}, {}, 429, FactKind.QUOTA, 0.0),
        (429, {"retry-after": "nan"}, {}, 429, FactKind.QUOTA, None),
        (429, {"retry-after": "soon"}, {}, 429, FactKind.QUOTA, None),
        (529, {}, {"error": {"message": "overloaded"}}, 529, FactKind.QUOTA, None),
        (400, {}, {"error": {"code": "insufficient_quota", "message": "pay"}}, 429, FactKind.QUOTA, None),
        (401, {}, {"error": {"message": f"bad key {KEY}"}}, 400, FactKind.UPSTREAM, None),
        (500, {}, {"error": {"message": f"oops {KEY}"}}, 500, FactKind.UPSTREAM, None),
        (404, {}, {"error": "no such model"}, 404, FactKind.UPSTREAM, None),
        (302, {"location": "http://127.0.0.1:1/"}, {}, 502, FactKind.UPSTREAM, None),
    ],
)
def test_what_a_provider_refuses_is_a_typed_fact_and_free(
    gateway: GatewayProcess,
    httpserver: HTTPServer,
    enter: Any,
    status: int,
    headers: dict[str, str],
    body: Any,
    shown: int,
    kind: FactKind,
    retry: float | None,
) -> None:
    httpserver.expect_request("/v1/messages").respond_with_json(body, status=status, headers=headers)
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        answer = session.messages("hi", stream=True)
    assert answer.status_code == shown
    assert KEY not in answer.text
    used = gateway.control.usage("r1")
    assert (used.requests, used.cost_usd) == (0, 0)
    assert [(fact.kind, fact.retry_after_s) for fact in used.facts] == [(kind, retry)]
    assert KEY not in used.facts[0].detail
    everything = b"".join(path.read_bytes() for path in (gateway.home / "gateway").rglob("*") if path.is_file())
    assert KEY.encode() not in everything


def test_a_stalled_stream_ends_with_an_error_and_its_reservation(
    gateway: GatewayProcess, httpserver: HTTPServer, enter: Any
) -> None:
    release = threading.Event()

    def stall() -> Iterator[bytes]:
        yield from anthropic_sse(SAID)[:4]
        release.wait(20)

    httpserver.expect_request("/v1/messages").respond_with_handler(
        lambda _: Response(stall(), content_type="text/event-stream")
    )
    try:
        with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
            began = time.monotonic()
            text = session.messages("hi", stream=True).text
            assert time.monotonic() - began < 10
    finally:
        release.set()
    assert text.count("event: error") == 1
    assert "stalled" in text
    used = gateway.control.usage("r1")
    assert used.requests == 1
    assert used.cost_usd >= 1000 * 15 / 1e6, "what the provider counted is unknown: the reservation stands"
    assert [fact.kind for fact in used.facts] == [FactKind.UPSTREAM]


def test_a_stream_cut_half_way_says_so(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    httpserver.expect_request("/v1/messages").respond_with_handler(
        lambda _: Response(iter(anthropic_sse(LAST)[:4]), content_type="text/event-stream")
    )
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        assert "ended early" in session.messages("hi", stream=True).text
    assert gateway.control.answer("r1") is None


def test_an_error_inside_the_stream_is_a_fact(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'
    httpserver.expect_request("/v1/messages").respond_with_handler(
        lambda _: Response(iter([*anthropic_sse(LAST)[:3], error]), content_type="text/event-stream")
    )
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        assert "Overloaded" in session.messages("hi", stream=True).text
    assert [fact.kind for fact in gateway.control.usage("r1").facts] == [FactKind.QUOTA]


def test_a_provider_that_never_closes_ends_with_its_last_event(
    gateway: GatewayProcess, httpserver: HTTPServer, enter: Any
) -> None:
    release = threading.Event()

    def linger() -> Iterator[bytes]:
        yield from anthropic_sse(LAST)
        release.wait(20)

    httpserver.expect_request("/v1/messages").respond_with_handler(
        lambda _: Response(linger(), content_type="text/event-stream")
    )
    try:
        with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
            assert session.messages("hi", stream=True).text.endswith('{"type":"message_stop"}\n\n')
    finally:
        release.set()
    assert gateway.control.usage("r1").facts == ()


def test_a_silent_or_absent_provider_is_bounded(
    start: Callable[..., GatewayProcess], httpserver: HTTPServer, enter: Any, tmp_path: Path
) -> None:
    release = threading.Event()

    def silent(_: Request) -> Response:
        release.wait(20)
        return Response("")

    httpserver.expect_request("/v1/messages").respond_with_handler(silent)
    url = httpserver.url_for("/").rstrip("/")
    gateway = start(
        {"name": "silent", "api": "anthropic", "url": url, "stall_s": 0.5},
        {"name": "absent", "api": "anthropic", "url": "http://127.0.0.1:9", "stall_s": 0.5},
        {"name": "keyless", "api": "anthropic", "url": url, "key_file": str(tmp_path / "no")},
    )
    expected = {"silent": 504, "absent": 502, "keyless": 400}
    try:
        for name, status in expected.items():
            with enter(gateway.control.register(grant(run=name, backend=name))) as session:
                assert session.messages("hi").status_code == status, name
    finally:
        release.set()


@pytest.mark.parametrize("slots", [1, 3])
def test_slots_bound_a_backend(
    start: Callable[..., GatewayProcess], httpserver: HTTPServer, enter: Any, slots: int
) -> None:
    lock = threading.Lock()
    now, most = 0, 0

    def handler(_: Request) -> Response:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.05)
        with lock:
            now -= 1
        return Response(json.dumps(anthropic_answer.render(LAST, model="m1", seed="s")))

    httpserver.expect_request("/v1/messages").respond_with_handler(handler)
    gateway = start({"name": "a", "api": "anthropic", "url": httpserver.url_for("/").rstrip("/"), "slots": slots})
    sessions = [enter(gateway.control.register(grant(run=f"r{n}", backend="a"))) for n in range(6)]
    threads = [threading.Thread(target=session.messages, args=("hi",)) for session in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for session in sessions:
        session.__exit__()
    assert most == slots
    assert gateway.control.totals()["model_calls"] == 6


def test_a_client_that_leaves_frees_the_slot_and_keeps_the_reservation(
    start: Callable[..., GatewayProcess], httpserver: HTTPServer, enter: Any
) -> None:
    release, first = threading.Event(), threading.Event()

    def handler(_: Request) -> Response:
        if not first.is_set():
            first.set()
            release.wait(60)
        return Response(json.dumps(anthropic_answer.render(LAST, model="m1", seed="s")))

    httpserver.expect_request("/v1/messages").respond_with_handler(handler)
    url = httpserver.url_for("/").rstrip("/")
    gateway = start({"name": "a", "api": "anthropic", "url": url, "slots": 1, "price": PRICE, "stall_s": 60})
    try:
        with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
            token = {"x-api-key": session.registration.token, "content-type": "application/json"}
            body = json.dumps(session.anthropic("hi")).encode()
            with session.sent("POST", "/v1/messages?beta=true", body, token):
                assert first.wait(30), "the provider has the request, and says nothing"
        with enter(gateway.control.register(grant(run="r2", backend="a"))) as session:
            assert session.messages("hi").status_code == 200
    finally:
        release.set()
    assert gateway.control.usage("r1").cost_usd > 0.015


def test_the_budget_binds_to_within_one_call(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any) -> None:
    """The provider bills exactly what it may: the limit is reached, and not passed by more than the input estimate."""
    asked: list[int] = []

    def handler(request: Request) -> Response:
        asked.append(json.loads(request.get_data())["max_tokens"])
        said = Answer("x", (), Tokens(input=len(request.get_data()) // 4, output=asked[-1]), "length")
        return Response(json.dumps(anthropic_answer.render(said, model="m1", seed="s")))

    httpserver.expect_request("/v1/messages").respond_with_handler(handler)
    with enter(gateway.control.register(grant(run="r1", backend="a", max_cost_usd=0.05))) as session:
        statuses = [session.messages("hi", max_tokens=1500).status_code for _ in range(6)]
    assert statuses == [200, 200, 200, 400, 400, 400]
    assert asked[0] == 1500
    assert asked[2] < 1500, "the last call is lowered to what is left"
    used = gateway.control.usage("r1")
    assert 0.04 < used.cost_usd <= 0.05
    assert {fact.kind for fact in used.facts} == {FactKind.BUDGET}


def test_a_rotated_key_counts_at_once(gateway: GatewayProcess, httpserver: HTTPServer, enter: Any, key: Path) -> None:
    httpserver.expect_request("/v1/messages").respond_with_json(anthropic_answer.render(LAST, model="m1", seed="s"))
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        session.messages("hi")
        key.write_text("another-key-9876543210", encoding="utf-8")
        session.messages("hi")
    assert [entry[0].headers["x-api-key"] for entry in httpserver.log] == [KEY, "another-key-9876543210"]


def test_a_provider_that_echoes_the_key_does_not_leak_it(
    gateway: GatewayProcess, httpserver: HTTPServer, enter: Any
) -> None:
    echo = Answer(f"your key is {KEY}", (), Tokens(1, 0, 0, 1), "end")
    httpserver.expect_request("/v1/messages").respond_with_handler(
        lambda _: Response(iter(anthropic_sse(echo)), content_type="text/event-stream")
    )
    with enter(gateway.control.register(grant(run="r1", backend="a"))) as session:
        assert KEY not in session.messages("hi", stream=True).text
    transcript = (gateway.home / "gateway" / "transcripts" / "r1.jsonl").read_text(encoding="utf-8")
    assert KEY not in transcript
