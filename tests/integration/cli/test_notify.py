"""``factory notify`` on a forge: a channel is set, tried and taken away; what needs somebody is told there, once."""

from __future__ import annotations

import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from factory.app.daemon import loop_of
from factory.app.deployment import Deployment
from factory.app.doctor.finding import State
from factory.app.doctor.notify import look
from factory.app.places import vault_folder
from factory.app.services import VaultProcesses
from factory.daemon import board
from factory.daemon.loop import Loop
from factory.daemon.wake import Wake
from factory.vault.watch import frozen
from tests.integration.cli.person import Person
from tests.integration.cli.test_vault import OPS, opened, release
from tests.integration.notify.chat import Answer, Chat

TOPIC = "a-topic-that-nobody-guesses"
BOT = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"


@pytest.fixture
def chat() -> Iterator[Chat]:
    made = Chat()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def tidy(settled: Person, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No session and no process of the vault is started, and no channel and no request is left for the test after."""
    monkeypatch.setattr(VaultProcesses, "keep", lambda self, alive: None)
    monkeypatch.setattr(board, "PACE", timedelta(0))
    settled.run("pause", "project")
    yield
    with opened(settled) as deployment:
        for name in deployment.host.channels:
            settled.run("notify", "remove", name)
        forge = deployment.forge("vault-bot")
        for pull in forge.pulls(OPS):
            forge.edit_pull(OPS, pull.number, state="closed")


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "given"
    file.write_text(text, encoding="ascii")
    return file


def test_a_channel_is_set_tried_and_taken_away(settled: Person, chat: Chat, tmp_path: Path) -> None:
    given = written(tmp_path, f"{chat.url}/{TOPIC}\ntk_secret\n")
    ran = settled.run("notify", "add", "phone", "ntfy", "--file", given)
    assert ran.out == "phone: ntfy at 127.0.0.1 is told; the test message arrived\n"
    (got,) = chat.got
    assert (got.body["topic"], got.body["title"]) == (TOPIC, "A test of the factory")
    assert got.headers["Authorization"] == "Bearer tk_secret"
    kept = settled.home / "state" / "notify" / "phone.secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    host = (settled.home / "state" / "host.toml").read_text(encoding="utf-8")
    assert '[notify.phone]\nkind = "ntfy"\nsecret_file = "notify/phone.secret"' in host
    listed, tried = settled.run("notify", "list"), settled.run("notify", "test", "phone", "--json")
    assert listed.out == (
        "NAME   TELLS              LAST   WAITING  STATE\nphone  ntfy at 127.0.0.1  never  0        well\n"
    )
    assert tried.facts()["tested"] is True
    assert len(chat.got) == 2
    status, doctor = settled.run("status"), settled.run("doctor", "--json", code=None)
    assert "notify: phone (ntfy at 127.0.0.1) nothing told yet: well" in status.out
    assert [(f["name"], f["state"]) for f in doctor.facts()["findings"] if f["area"] == "notify"] == [("phone", "ok")]
    said = "".join(f"{r.out}{r.err}" for r in (ran, listed, tried, status, doctor)) + host
    assert TOPIC not in said
    assert "tk_secret" not in said
    assert settled.run("notify", "remove", "phone").out == "phone: ntfy at 127.0.0.1 is told no more\n"
    assert not kept.exists()
    assert settled.run("notify", "list").out == "nobody is told outside the forge; factory notify add NAME KIND\n"
    with opened(settled) as deployment:
        (one,) = look(deployment)
    assert (one.name, one.state) == ("channels", State.NOTE)


def test_where_the_test_message_does_not_arrive_nothing_is_set(settled: Person, chat: Chat, tmp_path: Path) -> None:
    chat.answer = lambda post: Answer(404, f"no such bot: {BOT}".encode())
    ran = settled.run(
        "notify", "add", "me", "telegram", "--chat", "42", "--api", chat.url, "--file", written(tmp_path, BOT), code=6
    )  # fmt: skip
    assert "trying the channel me (telegram chat 42): it answers 404: no such bot: ***" in ran.err
    assert BOT not in ran.err
    with opened(settled) as deployment:
        assert not deployment.host.channels
    assert list((settled.home / "state" / "notify").glob("me.*")) == []
    chat.answer = lambda post: Answer(200, b'{"ok": true}')
    settled.run("notify", "add", "me", "telegram", "--chat", "42", "--api", chat.url, "--file", tmp_path / "given")
    assert chat.got[-1].path == f"/bot{BOT}/sendMessage"


def test_it_is_read_from_stdin_where_no_file_is_named(settled: Person) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "factory", "notify", "add", "team", "slack", "--no-test", "--json"],
        env={**settled.environment}, cwd=settled.project, input="https://hooks.slack.test/services/T/B/x\n",
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "services" not in done.stdout + done.stderr
    assert (settled.home / "state" / "notify" / "team.secret").read_text() == "https://hooks.slack.test/services/T/B/x\n"


def test_a_prompt_shows_nothing_of_it(settled: Person) -> None:
    answers = {"topic's address": f"https://ntfy.test/{TOPIC}", "access token": "tk_secret"}
    shown = settled.asked("notify", "add", "phone", "ntfy", "--no-test", answers=answers)
    assert TOPIC not in shown
    assert "tk_secret" not in shown
    kept = settled.home / "state" / "notify" / "phone.secret"
    assert kept.read_text() == f"https://ntfy.test/{TOPIC}\ntk_secret\n"
    kept.chmod(0o640)
    ran = settled.run("notify", "list", code=1)
    assert "other users can read" in ran.out
    assert "chmod go-rwx" in ran.out


WRONG = {
    "notify add Phone ntfy": (2, "adding the channel 'Phone': a name is lower-case letters, digits and dashes"),
    "notify add phone telegram": (2, "a bot has to know whom to write to"),
    "notify add phone telegram --chat x": (2, "a bot has to know whom to write to"),
    "notify add phone telegram --chat 1 --api ftp://x": (2, "--api is no address of a server"),
    "notify add phone slack --chat 1": (2, "--chat and --api are for telegram"),
    "notify add phone slack": (4, "opening the channel phone (slack): what was given for it is not that"),
    "notify test phone": (2, "trying a channel: there is no channel 'phone'"),
    "notify remove phone": (2, "taking a channel away: there is no channel 'phone'"),
}


@pytest.mark.parametrize("words", WRONG)
def test_what_cannot_be_is_said_in_words(settled: Person, tmp_path: Path, words: str) -> None:
    code, said = WRONG[words]
    file = ("--file", written(tmp_path, "not an address")) if " add " in words else ()
    ran = settled.run(*words.split(), *file, code=code)
    assert said in ran.err
    assert "not an address" not in ran.err
    assert "hint:" in ran.err or "for telegram" in ran.err
    with opened(settled) as deployment:
        assert not deployment.host.channels


def all_read(loop: Loop) -> bool:
    return all(ticker.observer.snapshot.settled for ticker in loop.tickers)


def turned(deployment: Deployment, said: list[str], loop: Loop | None = None) -> Loop:
    """The daemon's loop, or one that runs already, turned until nothing changes."""
    if loop is None:
        loop = loop_of(deployment, Wake(), said.append)
        loop.start()
    deadline = time.monotonic() + 60
    # The dashboard is written after a turn's look; the look after that reads what it moved.
    while loop.turn() or loop.last_beat.unwritten or loop.last_beat.recent[-1].forge_requests > 3 or not all_read(loop):
        assert time.monotonic() < deadline, loop.last_beat
        time.sleep(0.2)
    loop.rest()
    return loop


def test_a_request_is_told_once_with_its_facts_and_costs_an_idle_turn_nothing(
    settled: Person, chat: Chat, tmp_path: Path
) -> None:
    settled.run("notify", "add", "phone", "ntfy", "--no-test", "--file", written(tmp_path, f"{chat.url}/{TOPIC}"))
    words = "ready <!channel> [x](https://evil.test) @here"
    asked = settled.run(
        "vault", "request", "release", "tag=v3.0.0", "commit=main", "--reason", words, "--json"
    ).facts()  # fmt: skip
    facts, said = asked["facts"], list[str]()
    with opened(settled) as deployment:
        loop = turned(deployment, said)
        (got,) = [post for post in chat.got if "v3.0.0" in post.text]
        text = got.body["message"]
        assert got.body["title"] == f"approve: {facts['formula']} on {facts['target']} (high) waits for founder"
        assert got.body["click"] == asked["pull"]["url"]
        assert text.endswith(asked["pull"]["url"])
        order = [text.index(part) for part in (
            f"Runs: {facts['formula']}", "With: ", facts["params"]["commit"], f"On: {facts['target']}", "Tier: high",
            "Undo: ", "Last time: never on this target", "Expires: ", "Approves: founder",
            "says (nobody checked it):", "> ready <!channel> [x](https[:]//evil[.]test) ＠here",
        )]  # fmt: skip
        assert order == sorted(order), text
        before = len(chat.got)
        for _ in range(3):
            loop.turn()
            assert (loop.last_beat.recent[-1].forge_requests, loop.last_beat.recent[-1].processes) == (3, 0)
    with opened(settled) as deployment:  # as after a restart
        turned(deployment, said)
        assert len(chat.got) == before
        assert not [line for line in said if "notify" in line]
        frozen.keep(vault_folder(deployment.state, str(OPS)), "the repo was renamed", datetime.now(UTC))
        try:
            turned(deployment, said)
            assert [post.body["title"] for post in chat.got[before:]] == [
                "look: the vault is frozen: frozen on this host: the repo was renamed"
            ]
        finally:
            frozen.clear(vault_folder(deployment.state, str(OPS)))
    status = settled.run("notify", "list", "--json").facts()["channels"][0]
    assert (status["waiting"], status["trouble"]) == (0, "")
    assert status["last"] is not None


def test_a_running_factory_goes_by_a_channel_with_its_next_turn(settled: Person, chat: Chat, tmp_path: Path) -> None:
    asked, said = release(settled, "v3.2.0"), list[str]()
    given = written(tmp_path, f"{chat.url}/{TOPIC}")
    with opened(settled) as deployment:
        loop = turned(deployment, said)
        settled.run("notify", "add", "phone", "ntfy", "--no-test", "--file", given)
        turned(deployment, said, loop)
        assert [post.body["click"] for post in chat.got] == [asked["pull"]["url"]]
        settled.run("notify", "remove", "phone")
        release(settled, "v3.3.0")
        turned(deployment, said, loop)
        assert len(chat.got) == 1


def test_a_channel_that_is_away_stops_nothing_and_is_shown(settled: Person, chat: Chat, tmp_path: Path) -> None:
    settled.run("notify", "add", "phone", "ntfy", "--no-test", "--file", written(tmp_path, f"{chat.url}/{TOPIC}"))
    chat.answer = lambda post: Answer(403, b'{"error": "forbidden"}')
    release(settled, "v3.1.0")
    said: list[str] = []
    with opened(settled) as deployment:
        loop = turned(deployment, said)
        assert loop.trouble == ""
    assert "notify phone: it answers 403: forbidden" in said
    ran = settled.run("notify", "list", code=1)
    assert "it answers 403: forbidden" in ran.out
    assert "hint: factory notify test phone" in ran.out
    assert "trouble: it answers 403: forbidden" in settled.run("status").out
    with opened(settled) as deployment:
        (one,) = look(deployment)
    assert (one.state, one.hint) == (State.PROBLEM, "factory notify test phone")
    assert "things still to be told" in one.detail
