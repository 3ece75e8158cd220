"""One message to a real server on loopback: what each channel is sent, and what is made of its answers."""

from __future__ import annotations

import logging
import socket
import time
from datetime import timedelta

import pytest

from factory.notify.channel import Channel
from factory.notify.post import post
from factory.notify.words import Message
from tests.integration.notify.chat import Answer, Chat

SECRET = "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
MESSAGE = Message("0123abcd", "approve: a release", ("Runs: make", "On: gamma"), "https://forge.example/o/n-ops/pulls/1")


def channel(kind: str, url: str) -> Channel:
    made = {
        "ntfy": Channel("c", "ntfy", f"{url}/base/my-topic", f"tk_{SECRET}"),
        "slack": Channel("c", "slack", f"{url}/services/{SECRET}"),
        "mattermost": Channel("c", "mattermost", f"{url}/hooks/{SECRET}"),
        "telegram": Channel("c", "telegram", url, f"123456:{SECRET}", "42"),
    }
    return made[kind]


@pytest.mark.parametrize(("kind", "path"), [
    ("ntfy", "/base/"), ("slack", f"/services/{SECRET}"), ("mattermost", f"/hooks/{SECRET}"),
    ("telegram", f"/bot123456:{SECRET}/sendMessage"),
])  # fmt: skip
def test_each_channel_gets_what_its_own_interface_takes(chat: Chat, kind: str, path: str) -> None:
    assert post(channel(kind, chat.url), MESSAGE).why == ""
    (got,) = chat.got
    assert (got.path, got.headers["Content-Type"]) == (path, "application/json")
    assert got.headers.get("Authorization") == (f"Bearer tk_{SECRET}" if kind == "ntfy" else None)
    assert {"ntfy": "topic", "telegram": "chat_id"}.get(kind, "text") in got.body
    assert "approve: a release" in got.text
    assert MESSAGE.url in got.text


@pytest.mark.parametrize("kind", ["ntfy", "slack", "mattermost", "telegram"])
def test_its_secret_is_in_no_log_and_in_no_error(chat: Chat, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    chat.answer = lambda got: Answer(404, f"no such thing: {got.path} {got.headers.get('Authorization')}".encode())
    fate = post(channel(kind, chat.url), MESSAGE)
    assert fate.why.startswith("it answers 404: no such thing")
    assert SECRET not in fate.why
    assert SECRET not in caplog.text
    assert SECRET not in repr(fate)


@pytest.mark.parametrize(("status", "body", "why", "refused", "perhaps"), [
    (400, b'{"ok": false, "description": "Bad Request: chat not found"}', "Bad Request: chat not found", True, False),
    (403, b'{"code": 40301, "error": "forbidden"}', "forbidden", False, False),
    (404, b"no_service\r\n\x1b[31m", "no_service", False, False),
    (413, b"", "it answers 413", True, False),
    (500, b"[1]", "it answers 500", False, True),
    (502, b"[" * 200_000, "it answers 502", False, True),
    (200, b"\xff\xff", "", False, False),
])  # fmt: skip
def test_answers_are_understood(
    chat: Chat, status: int, body: bytes, why: str, refused: bool, perhaps: bool
) -> None:  # fmt: skip
    chat.answer = lambda got: Answer(status, body)
    fate = post(channel("telegram", chat.url), MESSAGE)
    assert why in fate.why
    assert (bool(fate.why), fate.refused, fate.perhaps) == (bool(why), refused, perhaps)
    assert len(fate.why) < 200
    assert "\x1b" not in fate.why


def test_nobody_is_followed_elsewhere(chat: Chat) -> None:
    other = Chat()
    chat.answer = lambda got: Answer(307, b"", {"Location": f"{other.url}{got.path}"})
    try:
        assert "sends us elsewhere" in post(channel("slack", chat.url), MESSAGE).why
        assert other.got == []
    finally:
        other.close()


def test_a_wish_to_wait_is_heard(chat: Chat) -> None:
    chat.answer = lambda got: Answer(429, b'{"ok": false, "parameters": {"retry_after": 77}}')
    assert post(channel("telegram", chat.url), MESSAGE).wait == timedelta(seconds=77)
    chat.answer = lambda got: Answer(429, b"", {"Retry-After": "99999"})
    assert post(channel("ntfy", chat.url), MESSAGE).wait == timedelta(hours=1)
    chat.answer = lambda got: Answer(429, b"", {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    assert post(channel("ntfy", chat.url), MESSAGE).wait is None


def test_where_nobody_listens_it_certainly_did_not_arrive() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        fate = post(channel("slack", f"http://127.0.0.1:{nobody.getsockname()[1]}"), MESSAGE)
    assert "cannot be reached" in fate.why
    assert not fate.perhaps
    assert SECRET not in fate.why


def test_a_connection_that_is_cut_leaves_a_doubt(chat: Chat) -> None:
    chat.answer = lambda got: None
    fate = post(channel("slack", chat.url), MESSAGE)
    assert fate.why
    assert fate.perhaps


def test_a_server_that_says_nothing_holds_nobody_up() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        fate = post(channel("slack", f"http://127.0.0.1:{silent.getsockname()[1]}"), MESSAGE, timeout_s=0.2)
    assert time.monotonic() - began < 5
    assert fate.why
    assert fate.perhaps


def test_a_proxy_of_the_environment_is_not_used(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Chat()
    try:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("ALL_PROXY", proxy.url)
        assert post(channel("slack", chat.url), MESSAGE).why == ""
        assert (len(chat.got), proxy.got) == (1, [])
    finally:
        proxy.close()
