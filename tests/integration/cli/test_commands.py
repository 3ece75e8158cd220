"""A day with the commands, on a deployment that lives: hire, file, watch, cancel, change, approve, replay."""

from __future__ import annotations

import http.server
import json
import os
import re
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from factory.app.deployment import Deployment
from factory.app.explaining import explained, newest
from factory.app.people import as_person
from factory.app.runs import show_run
from factory.app.setup import admin_of
from factory.app.status import status as status_of
from factory.errors import UsageError
from factory.forge.values import RepoName, ReviewState
from tests.integration.cli.person import Person, forge_up, until

pytestmark = pytest.mark.needs_bwrap

MARK = str(10_000_000 + os.getpid())
"""Seconds that nobody else on this machine sleeps."""
STUBBORN = f'sh -c \'trap "" TERM; (trap "" TERM; sleep {MARK}) & sleep {MARK}\''
SCRIPT = f"""
schema = 1
kind = "scripted"
[[turn]]
formula = "dev"
step = "implement"
alias = "a-slow-one"
turn = 0
text = "I wait."
call = [{{ tool = "run", input = {{ command = {json.dumps(STUBBORN)} }} }}]
usage = {{ input = 1000, output = 100 }}
"""


class Provider(http.server.BaseHTTPRequestHandler):
    """A provider of the Messages API that knows one key and one word."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[dict[str, Any]]] = []

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append(body)
        if self.headers["x-api-key"] != "the-key":
            self._answer(401, "application/json", json.dumps({"error": {"message": "invalid x-api-key"}}))
            return
        message = {"id": "m", "type": "message", "role": "assistant", "content": [], "model": body["model"]}
        events = [
            {"type": "message_start", "message": {**message, "usage": {"input_tokens": 9, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ready"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
        self._answer(200, "text/event-stream", text)

    def _answer(self, status: int, kind: str, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def provider() -> Iterator[str]:
    Provider.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def approve(person: Person, number: int) -> None:
    """The founder approves on the forge, as with the button of its page."""
    ops = RepoName("founder", "hello-ops")
    with as_person(Deployment.open(person.home), "founder") as founder:
        head = founder.pull(ops, number).head_sha
        founder.review(ops, number, state=ReviewState.APPROVED, body="", commit=head)


@contextmanager
def living(person: Person) -> Iterator[None]:
    person.run("up", "--detach")
    try:
        yield
    finally:
        person.run("down")


def stubborn() -> list[psutil.Process]:
    """Processes of the stubborn session of this machine."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if MARK in (process.info["cmdline"] or []):
            found.append(process)
    return found


class TestHire:
    def test_a_model_that_does_not_answer_is_not_hired(self, settled: Person, provider: str, tmp_path: Path) -> None:
        forge_up(settled)
        key = tmp_path / "key"
        key.write_text("wrong\n", encoding="utf-8")
        host = settled.home / "state" / "host.toml"
        before = host.read_bytes()
        ran = settled.run("hire", "anthropic", "--url", provider, "--key-file", key, code=4)
        assert ran.err == (
            "error: asking anthropic-1 (claude-opus-4-8) a first question: 400: factory gateway: the provider refused "
            "the gateway's key (401)\n"
            "hint:  nothing is changed; check --url, --model and --key-file, or hire it unasked with --no-test\n"
        )
        assert (host.read_bytes(), len(Provider.asked)) == (before, 1)
        assert not (settled.home / "state" / "gateway" / "keys" / "anthropic-1").exists()
        assert settled.run("status", "--json").facts()["services"][1]["pid"] is None, (
            "the gateway was for the test only"
        )

    def test_hired_changed_and_shared_by_one_open_pull_request(
        self, settled: Person, provider: str, tmp_path: Path
    ) -> None:
        forge_up(settled)
        key = tmp_path / "key"
        key.write_text("the-key\n", encoding="utf-8")
        ran = settled.run("hire", "anthropic", "--name", "ann", "--url", provider, "--key-file", key,
                          "--price-input", "3", "--price-output", "15")  # fmt: skip
        assert re.sub(r"\d+ s", "N s", ran.out) == (
            "hired ann (native, claude-opus-4-8) for dev, reviewer · smoke test N s · "
            "change with `factory hire ann --roles ...`\n"
        )
        assert Provider.asked[0]["messages"] == [{"role": "user", "content": "Answer with the one word: ready"}]
        assert "the-key" not in (settled.home / "state" / "host.toml").read_text(encoding="utf-8")
        first = settled.run("hire", "ann", "--model", "m2", "--roles", "reviewer", "--json").facts()
        assert (first["changed"], first["model"], first["roles"]) == (True, "m2", ["reviewer"])
        ops = RepoName("founder", "hello-ops")
        with as_person(Deployment.open(settled.home), "founder") as founder:
            opened = [p for p in founder.pulls(ops) if p.head_ref.startswith("edit/hire-ann")]
        assert [(p.number, p.author.login, p.title) for p in opened] == [
            (first["shared"][0]["number"], "factory-bot", "Change ann (native, m2)")
        ]
        assert opened[0].body.endswith("Requested-by: founder\n") or opened[0].body.endswith("Requested-by: founder")
        (agent,) = (a for a in settled.run("agents", "--json").facts()["agents"] if a["name"] == "ann")
        assert (agent["state"], agent["model"], agent["shared"]) == ("ready", "m2", False)

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            ("nobody", "there is no such backend"),
            ("native", "where does its model answer?"),
            ("native --roles king", "there is no such active role"),
            ("native --name X --url http://127.0.0.1:1", "a name is lower-case letters"),
            ("native --replay /nonexistent", "there is no recording"),
            ("native --key-file /nonexistent --url http://127.0.0.1:1", "reading the key"),
        ],
    )
    def test_what_does_not_fit_is_said(self, settled: Person, words: str, said: str) -> None:
        ran = settled.run("hire", *shlex.split(words), code=2)
        assert said in ran.err


class TestDay:
    """One deployment through a day; the order of the tests is the order of the day."""

    def test_issues(self, settled: Person, tmp_path: Path) -> None:
        forge_up(settled)
        body = tmp_path / "body.md"
        body.write_text("Say \x1b[31mhello\x1b[0m to a name.\n", encoding="utf-8")
        first = settled.run("issue", "file", "Greet by name", "--body-file", body, "--json").facts()
        assert (first["number"], first["by"], first["labels"]) == (1, "founder", [])
        second = settled.run("issue", "file", "Greet twice", "--depends-on", "1", "--label", "priority", "--start")
        assert second.out.startswith("issue #2 filed by founder, after #1: Greet twice\n")
        assert "note: the factory is down; it begins with: factory up --detach" in second.err
        shown = settled.run("issue", "show", "2", "--json").facts()
        assert (shown["labels"], [d["number"] for d in shown["depends_on"]]) == (["backlog", "priority"], [1])
        text = settled.run("issue", "show", "1").out
        assert ("\x1b" in text, "\\x1b[31mhello" in text) == (False, True), "a terminal obeys nobody's issue"
        settled.run("issue", "file", "  ", code=2)
        assert "no label 'nope'" in settled.run("issue", "file", "x", "--label", "nope", code=2).err
        settled.run("issue", "file", "x", "--depends-on", "99", code=6)
        assert [i["number"] for i in settled.run("issue", "list", "--json").facts()["issues"]] == [1, 2]

    def test_explained_before_any_tick(self, settled: Person) -> None:
        status = settled.run("status").out.splitlines()
        assert status[1] == "what needs you is not known yet: founder/hello", "nobody looked: that is not nothing"
        ran = settled.run("explain", "issue", "2", code=2)
        assert ran.err.endswith("hint:  factory up --detach\n")
        settled.run("replay-tick", code=2)

    def test_what_waits_says_why_and_the_plan_replays(self, settled: Person, tmp_path: Path) -> None:
        script = tmp_path / "script.toml"
        script.write_text(SCRIPT, encoding="utf-8")
        settled.run("hire", "native", "--name", "player", "--replay", script, "--slots", "2")
        with living(settled):
            why = until(lambda: _explained(settled, 2, "dependency"))
            assert why["clears"] == "#1"
            assert "it depends on #1" in settled.run("issue", "list").out
            status = until(lambda: _ticked(settled))
            assert status["up"]
            assert {"forge_requests", "processes", "model_calls"} == set(status["recent_ticks"][-1])
            assert [w["title"] for w in status["projects"][0]["waiting"]] == ["Greet twice"]
            assert status["projects"][0]["mode"] == "merge"
        replayed = settled.run("replay-tick", "--json").facts()
        assert replayed["same"]
        assert ("issue #2", "dependency") in [(s["subject"], s["rule"]) for s in replayed["skips"]]
        assert settled.run("explain", "pull", "2", code=2).err.endswith("#2 is an issue: factory explain issue 2\n")

    def test_another_plan_is_noticed(self, settled: Person) -> None:
        (ticks,) = (settled.home / "state" / "worlds").glob("*/ticks.jsonl")
        before = ticks.read_text(encoding="utf-8")
        last = json.loads(before.splitlines()[-1])
        ticks.write_text(
            before + json.dumps({**last, "tick": last["tick"] + 1, "plan": "0" * 64}) + "\n", encoding="utf-8"
        )
        try:
            assert "ANOTHER plan: recorded 0000000000000000" in settled.run("replay-tick", code=1).out
            assert "another version" in settled.run("explain", "issue", "2").err
            assert "another version" in settled.run("status").out
        finally:
            ticks.write_text(before, encoding="utf-8")

    @pytest.mark.parametrize("daemon", [True, False])
    def test_cancel_ends_the_whole_tree_in_two_seconds(self, settled: Person, daemon: bool) -> None:
        number = settled.run("issue", "file", "A slow one", "--start", "--json").facts()["number"]
        with living(settled):
            until(stubborn)
            (run,) = (
                r["run"] for r in settled.run("runs", "list", "--live", "--json").facts()["runs"] if r["role"] == "dev"
            )
            going = settled.run("status", "--json").facts()["projects"][0]["running"]
            assert [r["alive"] for r in going if r["run"] == run] == [True]
            if not daemon:
                settled.run("down")
            assert stubborn(), "a session outlives the daemon"
            began = time.monotonic()
            ran = settled.run("runs", "cancel", run[-8:], "--json").facts()
            assert stubborn() == []
            # The command's own start is not the session's end.
            assert (ran["was_alive"], ran["seconds"] <= 2.0, time.monotonic() - began < 8) == (True, True, True)
            settled.run("runs", "cancel", run, code=2)
            settled.run("up", "--detach", code=None)
            record = until(lambda: _ended(settled, run))
            assert (record["state"], record["cause"]) == ("cancelled", "cancelled")
            assert "step implement" in settled.run("runs", "logs", "-f", run).out
            why = until(lambda: _explained(settled, number, "gave-up"))
            assert len([r for r in why["runs"] if r["role"] == "dev"]) == 1, "a cancelled run does not start again"
            with as_person(Deployment.open(settled.home), "founder") as founder:
                founder.edit_issue(RepoName("founder", "hello"), number, state="closed")

    def test_a_solo_founder_changes_the_mode_by_one_approval(self, settled: Person) -> None:
        with living(settled):
            until(lambda: _acts_by(settled, "merge"))
            asked = settled.run("mode", "suggest", "--json").facts()
            assert asked["route"] == "person"
            again = settled.run("mode", "suggest", "--json").facts()
            assert again["number"] == asked["number"], "the same wish is the same pull request"
            status = settled.run("status", "--json").facts()["projects"][0]
            until(lambda: _asks_for(settled, asked["url"]))
            assert status["mode"] == "merge"
            approve(settled, asked["number"])
            until(lambda: _acts_by(settled, "suggest"))
            assert settled.run("mode").out == "founder/hello: suggest (it opens pull requests and never merges)\n"
            assert settled.run("mode", "suggest").out == "mode suggest already\n"

    def test_a_direct_route_is_written_at_once(self, settled: Person, tmp_path: Path) -> None:
        forge_up(settled)
        note = tmp_path / "note.md"
        note.write_text("A lesson.\n", encoding="utf-8")
        done = settled.run("edit", "knowledge/dev/note.md", "--file", note, "--json").facts()
        assert (done["route"], done["number"]) == ("direct", None)
        assert settled.run("edit", "knowledge/dev/note.md", "--file", note).out.endswith("nothing to change\n")
        note.write_text("key = sk-ant-" + "api03-" + "aB3" * 20 + "\n", encoding="utf-8")
        assert "Anthropic key" in settled.run("edit", "knowledge/dev/note.md", "--file", note, code=4).err
        assert "refusing the ops repo path" in settled.run("edit", "../x", "--file", note, code=5).err

    def test_login(self, settled: Person, tmp_path: Path) -> None:
        forge_up(settled)
        how = settled.run("login", "--json").facts()
        assert (how["login"], how["embedded"]) == ("founder", True)
        assert Path(how["password_file"]).read_text(encoding="utf-8").strip() == how["password"]
        token = tmp_path / "token"
        token.write_text("no-token\n", encoding="utf-8")
        assert "the forge does not take this token (401)" in settled.run("login", "--token-file", token, code=5).err
        with as_person(Deployment.open(settled.home), "founder") as founder:
            secret = founder._auth.removeprefix("token ")
            token.write_text(secret, encoding="utf-8")
            told = settled.run("login", "--token-file", token, "--json").facts()
            assert (told["login"], told["may_approve"], told["is_admin"]) == ("founder", True, True)
        state = settled.home / "state"
        kept = [
            f for f in state.rglob("*") if f.is_file() and "forge" not in f.parts and secret.encode() in f.read_bytes()
        ]
        assert kept == [], "a person's token is not stored"

    def test_doctor_finds_what_was_broken_by_hand(self, settled: Person) -> None:
        forge_up(settled)
        tokens = settled.home / "state" / "tokens"
        tokens.joinpath("dev-bot").chmod(0o644)
        admin_rule = RepoName("founder", "hello-ops")
        with admin_of(Deployment.open(settled.home).host, None) as admin:
            admin.delete_protection(admin_rule, "ledge[r]")
        ran = settled.run("doctor", code=1)
        assert f"PROBLEM  host: privacy: other users can get at {tokens / 'dev-bot'}" in ran.out
        assert "PROBLEM  forge: rules: not as wanted: protect ledge[r] of founder/hello-ops" in ran.out
        tokens.joinpath("dev-bot").chmod(0o600)
        (hint,) = {line.split("hint: ")[1] for line in ran.out.splitlines() if "hint: factory init" in line}
        settled.run(*shlex.split(hint)[1:])
        facts = settled.run("doctor", "--json", code=None).facts()
        assert [f for f in facts["findings"] if f["area"] in ("machine", "forge") and f["state"] == "problem"] == []


# Waiting asks in this process what the commands ask in theirs: a process per look would cost more than the wait.


def _explained(person: Person, number: int, rule: str) -> dict[str, Any] | None:
    try:
        facts = explained(Deployment.open(person.home), "issue", number)
    except UsageError:
        return None
    return facts if facts["rule"] == rule else None


def _ticked(person: Person) -> dict[str, Any] | None:
    """Status once a tick is over: its plan is on disk before its costs are."""
    facts = person.run("status", "--json").facts()
    return facts if facts["recent_ticks"] else None


def _ended(person: Person, run: str) -> dict[str, Any] | None:
    facts = show_run(Deployment.open(person.home), run)
    return facts if facts["finished_at"] else None


def _asks_for(person: Person, url: str) -> bool:
    return any(need["url"] == url for need in status_of(Deployment.open(person.home))["projects"][0]["needs_you"])


def _acts_by(person: Person, mode: str) -> bool:
    seen = newest(Deployment.open(person.home), RepoName("founder", "hello"))
    return seen is not None and seen.world.config.mode.value == mode
