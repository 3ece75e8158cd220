"""What opens a channel, and what does not; a wrong one is never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.config.model import ChannelHost
from factory.errors import ConfigInvalid
from factory.notify.channel import channel, opened

BOT = "123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw"
HOOK = "https://hooks.slack.test/services/T1/B2/xyz"


def made(kind: str, secret: bytes, **more: str):  # type: ignore[no-untyped-def]
    return channel("phone", ChannelHost(kind, Path("x"), **more), secret)


def test_each_kind_opens_with_what_it_is_given() -> None:
    ntfy = made("ntfy", b"https://ntfy.test/sub/my-topic\ntk_abc\n")
    assert (ntfy.address, ntfy.token) == ("https://ntfy.test/sub/my-topic", "tk_abc")
    assert made("ntfy", b"https://ntfy.test/my-topic").token == ""
    assert made("slack", HOOK.encode() + b"\n").address == HOOK
    assert made("mattermost", b"http://127.0.0.1:8065/hooks/abc").place == "mattermost at 127.0.0.1"
    telegram = made("telegram", BOT.encode(), chat="-100123")
    assert (telegram.address, telegram.token) == ("https://api.telegram.org", BOT)
    assert telegram.place == "telegram chat -100123"


@pytest.mark.parametrize(("kind", "secret"), [
    ("ntfy", b""), ("ntfy", b"ntfy.test/topic"), ("ntfy", b"https://ntfy.test/"), ("ntfy", b"https://ntfy.test"),
    ("ntfy", b"https://me:pw@ntfy.test/topic"), ("ntfy", b"https://ntfy.test/topic?auth=x"),
    ("ntfy", b"https://ntfy.test/topic\nBearer x y"), ("ntfy", b"https://ntfy.test/a\nb\nc"),
    ("ntfy", b"https://ntfy.test/a\r\ntoken\x00"), ("ntfy", b"https://ntfy.test:99999/topic"),
    ("ntfy", b"ftp://ntfy.test/topic"), ("ntfy", b"https://ntfy.test/to pic"), ("ntfy", b"https://" + b"x" * 5000),
    ("slack", b"https://hooks.slack.test"), ("slack", HOOK.encode() + b"\nmore"), ("slack", b"\xff\xfe"),
    ("slack", b"https://hooks.slack.test/services/a|b"), ("telegram", b"123456"), ("telegram", b"123456:short"),
    ("telegram", b"123456:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/../x"), ("telegram", BOT.encode() + b"\nx"),
])  # fmt: skip
def test_anything_else_is_refused_and_not_quoted(kind: str, secret: bytes) -> None:
    with pytest.raises(ConfigInvalid) as no:
        made(kind, secret, chat="1")
    said = f"{no.value.message} {no.value.hint}"
    assert "factory notify add phone" in said
    for line in secret.decode("ascii", "replace").split():
        assert len(line) < 4 or line not in said


def test_who_is_told_does_not_depend_on_the_token() -> None:
    assert made("ntfy", b"https://n.test/t\nold").to == made("ntfy", b"https://n.test/t\nnew").to
    assert made("ntfy", b"https://n.test/t").to != made("ntfy", b"https://n.test/u").to
    assert made("telegram", BOT.encode(), chat="1").to != made("telegram", BOT.encode(), chat="2").to


def test_over_the_network_in_the_clear_is_said() -> None:
    assert made("ntfy", b"http://box.lan/topic").clear
    assert not made("ntfy", b"http://127.0.0.1:80/topic").clear
    assert not made("ntfy", b"https://ntfy.test/topic").clear


def test_a_file_that_is_not_there_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid) as no:
        opened("phone", ChannelHost("ntfy", tmp_path / "phone.secret"))
    assert "No such file" in no.value.message
    assert no.value.hint == "factory notify add phone ntfy"
