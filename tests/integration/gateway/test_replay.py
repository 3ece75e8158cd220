from __future__ import annotations

import json
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from factory.gateway.values import FactKind, GatewayRefused
from factory.testing.gateway_process import GatewayProcess, grant


def test_both_fronts_answer_whole_and_streamed(replay: GatewayProcess, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1"))) as session:
        assert session.send("HEAD", "/").status_code == 200
        whole = session.messages("add median").json()
        assert [block["type"] for block in whole["content"]] == ["text", "tool_use"]
        assert whole["content"][1]["input"] == {"command": "echo hello > a.txt; cat a.txt"}
        assert whole["stop_reason"] == "tool_use"
        assert whole["usage"]["input_tokens"] == 1000
        streamed = session.messages("add median", "I will look.", "hello", stream=True)
        assert streamed.headers["content-type"].startswith("text/event-stream")
        assert "event: message_stop" in streamed.text
        chat = session.chat("add median").json()
        assert json.loads(chat["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"])["command"]
        chunks = session.chat("add median", "x", "hello", stream=True, stream_options={"include_usage": True}).text
        assert '"prompt_tokens":2000' in chunks
        assert chunks.endswith("data: [DONE]\n\n")
        assert '"prompt_tokens"' not in session.chat("add median", stream=True).text
    used = replay.control.usage("r1")
    assert (used.requests, used.input_tokens, used.output_tokens) == (5, 7000, 320)
    assert used.cost_usd == pytest.approx((7000 * 3 + 320 * 15) / 1e6)
    assert used.scripted
    assert used.first_request_at
    assert used.facts == ()
    assert replay.control.answer("r1") == '{"done": true}'
    assert replay.control.totals() == {"model_calls": 5, "live_runs": 1}


def test_a_mismatch_is_loud_and_recorded(replay: GatewayProcess, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1", alias="other"))) as session:
        answer = session.messages("add median")
        assert answer.status_code == 400
        assert answer.headers["x-should-retry"] == "false"
        assert "alias='other'" in answer.json()["error"]["message"]
    with enter(replay.control.register(grant(run="r1"))) as session:
        answer = session.chat("add mean")
        assert answer.status_code == 400
        assert "expects 'median'" in answer.json()["error"]["message"]
    used = replay.control.usage("r1")
    assert [fact.kind for fact in used.facts] == [FactKind.MISMATCH, FactKind.MISMATCH]
    assert used.requests == 0


def test_a_correction_asks_the_next_answer(replay: GatewayProcess, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1"))) as session:
        session.messages("add median", "x", "hello")
        replay.control.correct("r1", 1)
        assert replay.control.answer("r1") is None
        assert session.messages("again").json()["content"][0]["text"] == "corrected"
    assert replay.control.answer("r1") == "corrected"


def test_a_scripted_failure_is_a_quota_fact(replay: GatewayProcess, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1", step="busy"))) as session:
        answer = session.messages("x")
    assert answer.status_code == 529
    assert answer.headers["retry-after"] == "30"
    fact = replay.control.usage("r1").facts[0]
    assert (fact.kind, fact.retry_after_s) == (FactKind.QUOTA, 30.0)


def test_the_socket_is_the_identity_and_the_token_the_second_factor(replay: GatewayProcess, enter: Any) -> None:
    one, two = replay.control.register(grant(run="r1")), replay.control.register(grant(run="r2"))
    assert stat.S_IMODE(one.socket.stat().st_mode) == 0o666
    assert stat.S_IMODE(one.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(replay.socket.stat().st_mode) == 0o600
    with enter(one) as session:
        for token in ("", "wrong", two.token):
            assert session.post("/v1/messages", session.anthropic("add median"), token=token).status_code == 401
        bearer = {"authorization": f"Bearer {one.token}"}
        assert session.post("/v1/messages", session.anthropic("add median"), bearer, token="").status_code == 200
        again = replay.control.register(grant(run="r1"))
        assert again.socket == one.socket
        assert again.token != one.token
        assert session.messages("add median").status_code == 401
    assert {fact.kind for fact in replay.control.usage("r1").facts} == {FactKind.UNAUTHORIZED}
    with enter(again) as session:
        assert session.messages("add median").status_code == 200
        replay.control.revoke("r1")
    with socket.socket(socket.AF_UNIX) as late, pytest.raises(FileNotFoundError):
        late.connect(str(again.socket))
    assert not again.socket.exists()
    assert replay.control.usage("r1").requests == 2
    with enter(two) as session:
        assert session.messages("add median").status_code == 200


def test_registration_names_what_is_wrong(replay: GatewayProcess) -> None:
    with pytest.raises(GatewayRefused, match=r"no backend 'x' \(configured: b\)"):
        replay.control.register(grant(backend="x"))
    with pytest.raises(GatewayRefused, match="not a run id"):
        replay.control.register(grant(run="../x"))
    for call in (replay.control.usage, replay.control.answer):
        with pytest.raises(GatewayRefused, match="not known"):
            call("r9")
    with pytest.raises(GatewayRefused, match="not registered"):
        replay.control.correct("r9", 1)
    replay.control.revoke("r9")


def test_reload_takes_a_better_script_or_keeps_the_last_good_one(
    replay: GatewayProcess, script: Path, enter: Any
) -> None:
    with enter(replay.control.register(grant(run="r1"))) as session:
        script.write_text(script.read_text(encoding="utf-8").replace("I will look.", "Better."), encoding="utf-8")
        replay.control.reload()
        assert session.messages("add median").json()["content"][0]["text"] == "Better."
        script.write_text(script.read_text(encoding="utf-8").replace("turn = 1", "trun = 1"), encoding="utf-8")
        with pytest.raises(GatewayRefused, match=r"script\.toml:\d+"):
            replay.control.reload()
        assert session.messages("add median").json()["content"][0]["text"] == "Better."


def test_sighup_reloads_and_says_what_it_did_not_take(replay: GatewayProcess, script: Path) -> None:
    script.write_text("schema = 3", encoding="utf-8")
    replay.hang_up()
    tick = threading.Event()
    while "kept the old configuration" not in replay.errors():
        assert not tick.wait(0.02)
    replay.configure([])
    replay.hang_up()
    while replay.control.health()["backends"]:
        assert not tick.wait(0.02)


def test_a_broken_script_stops_the_start_with_every_line(tmp_path: Path, script: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(script.read_text(encoding="utf-8").replace("turn = 1", "trun = 1"), encoding="utf-8")
    process = GatewayProcess(tmp_path / "g", [{"name": "b", "api": "openai", "replay": str(path)}])
    with pytest.raises(RuntimeError, match=r"ended with 4[\s\S]*s\.toml:\d+: turn\.1\.trun"):
        process.start()


def test_a_second_gateway_on_the_same_home_is_refused(replay: GatewayProcess) -> None:
    second = GatewayProcess(replay.home, [])
    with pytest.raises(RuntimeError, match="ended with 7"):
        second.start()
    assert replay.control.health()["pid"] == replay.pid


def test_transcripts_are_private_and_redacted(replay: GatewayProcess, enter: Any) -> None:
    secret = "sk-ant-api03-" + "x" * 40
    with enter(replay.control.register(grant(run="r1"))) as session:
        assert session.messages(f"median\n{secret}").status_code == 200
    path = replay.home / "gateway" / "transcripts" / "r1.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    line = json.loads(path.read_text(encoding="utf-8"))
    assert secret not in json.dumps(line)
    assert "[redacted]" in line["messages"][0]["content"]
    assert line["text"] == "I will look."


def test_a_live_run_is_recorded_in_the_format_that_replays(replay: GatewayProcess, tmp_path: Path, enter: Any) -> None:
    with enter(replay.control.register(grant(run="r1", record=True))) as session:
        session.messages("add median")
        session.messages("add median", "I will look.", "hello", stream=True)
    path = tmp_path / "recorded.toml"
    path.write_text(replay.control.recording("r1"), encoding="utf-8")
    replay.configure([{"name": "b", "api": "openai", "replay": str(path)}])
    replay.control.reload()
    with enter(replay.control.register(grant(run="r2"))) as session:
        assert session.chat("anything").json()["choices"][0]["message"]["content"] == "I will look."


def test_idle_costs_nothing(replay: GatewayProcess) -> None:
    replay.control.register(grant(run="r1"))
    process = psutil.Process(replay.pid)
    replay.control.health()
    spent: list[tuple[float, int]] = []
    for _ in range(3):  # the first look may still see the connection that just ended
        before, switches = process.cpu_times(), process.num_ctx_switches()
        with pytest.raises(psutil.TimeoutExpired):
            process.wait(1.5)
        after, woken = process.cpu_times(), process.num_ctx_switches().voluntary - switches.voluntary
        spent.append((round(after.user + after.system - before.user - before.system, 3), woken))
        if spent[-1][0] == 0 and woken <= 3:  # uvicorn's own server would have made fifteen
            break
    else:
        pytest.fail(f"seconds and awakenings in 1.5 s: {spent}")
    assert process.memory_info().rss < 80_000_000
