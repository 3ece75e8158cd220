"""kill -9 of the gateway at bad moments: sockets come back, nothing that was counted is lost."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from factory.gateway.values import GatewayUnavailable
from factory.testing.gateway_process import GatewayProcess, grant


def test_everything_is_there_again(replay: GatewayProcess, enter: Any) -> None:
    live = [replay.control.register(grant(run=f"r{n}")) for n in range(3)]
    replay.control.revoke("r2")
    replay.control.correct("r1", 1)
    with enter(live[0]) as session:
        session.messages("add median", "x", "hello")
    before = [replay.control.usage(f"r{n}") for n in range(3)]
    replay.kill()
    assert live[0].socket.exists(), "kill -9 leaves the dead socket behind"
    replay.start()
    assert [replay.control.usage(f"r{n}") for n in range(3)] == before
    assert replay.control.answer("r0") == '{"done": true}'
    assert replay.control.totals() == {"model_calls": 1, "live_runs": 2}
    with enter(live[0]) as session:
        assert session.messages("add median").status_code == 200
    with enter(live[1]) as session:
        assert session.messages("x").json()["content"][0]["text"] == "corrected"
    assert not live[2].socket.exists()


def test_a_dead_socket_of_a_run_revoked_meanwhile_goes(replay: GatewayProcess) -> None:
    registration = replay.control.register(grant(run="r1"))
    replay.kill()
    folder = replay.home / "gateway" / "runs" / "r1"
    saved = json.loads((folder / "grant.json").read_text(encoding="utf-8")) | {"revoked": True, "token_sha256": ""}
    (folder / "grant.json").write_text(json.dumps(saved), encoding="utf-8")
    replay.start()
    assert not registration.socket.exists()


def test_a_damaged_run_is_left_out_and_said(replay: GatewayProcess) -> None:
    replay.control.register(grant(run="r1"))
    replay.control.register(grant(run="r2"))
    replay.kill()
    (replay.home / "gateway" / "runs" / "r1" / "grant.json").write_text("{", encoding="utf-8")
    assert replay.start()["live_runs"] == 1
    assert "run r1 not taken up" in replay.errors()


def test_a_call_in_flight_at_the_kill_counts_as_its_reservation(
    start: Callable[..., GatewayProcess], httpserver: HTTPServer, enter: Any
) -> None:
    arrived, release = threading.Event(), threading.Event()

    def handler(_: Request) -> Response:
        arrived.set()
        release.wait(20)
        return Response("")

    httpserver.expect_request("/v1/messages").respond_with_handler(handler)
    price = {"input_per_mtok": 3, "output_per_mtok": 15}
    gateway = start({"name": "b", "api": "anthropic", "url": httpserver.url_for("/").rstrip("/"), "price": price})
    with enter(gateway.control.register(grant(run="r1"))) as session:

        def ask() -> None:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                session.messages("hi")

        asking = threading.Thread(target=ask)
        asking.start()
        assert arrived.wait(10)
        gateway.kill()
        asking.join()
    release.set()
    gateway.start()
    used = gateway.control.usage("r1")
    assert used.requests == 1
    assert used.cost_usd >= 1000 * 15 / 1e6


def test_a_control_call_waits_for_a_gateway_that_comes_back(replay: GatewayProcess) -> None:
    replay.control.register(grant(run="r1"))
    replay.kill()
    timer = threading.Timer(0.3, replay.start)
    timer.start()
    assert replay.control.usage("r1").requests == 0
    timer.join()


def test_a_gateway_that_stays_away_is_said_within_bounds(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path / "g", [])
    control = type(process.control)(process.socket, patience_s=0.2)
    with pytest.raises(GatewayUnavailable, match=r"control\.sock"):
        control.health()


def test_sigterm_ends_it_cleanly_with_a_request_under_way(replay: GatewayProcess, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1", step="slow"))) as session:

        def ask() -> None:
            with pytest.raises((ConnectionError, http.client.HTTPException)):
                session.messages("x")

        asking = threading.Thread(target=ask)
        asking.start()
        while replay.control.usage("r1").requests == 0:
            threading.Event().wait(0.01)
        assert replay.stop() == 0
        asking.join()
    assert "Traceback" not in replay.errors()
    assert not session.registration.socket.exists()


def test_many_kills_lose_no_count(replay: GatewayProcess, enter: Any) -> None:
    """Every answer that a client saw is in the log afterwards, wherever the kill fell."""
    registration = replay.control.register(grant(run="r1", max_turns=10_000))
    answered = 0
    for _ in range(4):
        seen: list[int] = []

        def ask(seen: list[int] = seen) -> None:
            with enter(registration) as session:
                while True:
                    try:
                        seen.append(session.messages("add median").status_code)
                    except (OSError, http.client.HTTPException):
                        return

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(seen) < 20:
            threading.Event().wait(0.005)
        replay.kill()
        for thread in threads:
            thread.join()
        answered += len(seen)
        assert set(seen) == {200}
        replay.start()
    assert answered <= replay.control.usage("r1").requests <= answered + 16
