"""What is new is told once on each channel, over failures and restarts, and nobody waits for it."""

from __future__ import annotations

import json
import stat
import threading
import time
from pathlib import Path

import pytest

from factory.notify import store
from factory.notify.words import AGAIN
from tests.integration.notify.chat import Answer, Chat
from tests.integration.notify.house import House
from tests.unit.notify.things import PROJECT, item, screen


def test_a_thing_is_told_once_on_each_channel_and_a_restart_repeats_nothing(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, phone="ntfy", team="slack")
    for _ in range(3):
        for _ in range(3):
            house.courier.tell(PROJECT, [item(1, screen=screen())])
            house.settle()
            house.later(seconds=30)
        house.start()
    assert sorted(post.path for post in chat.got) == ["/", "/team"]
    house.courier.tell(PROJECT, [item(1), item(2)])
    house.settle()
    assert len(chat.got) == 4
    assert all("target-2" in post.text for post in chat.got[2:])
    assert stat.S_IMODE(store.path_of(tmp_path, "phone").stat().st_mode) == 0o600


def test_only_what_is_told_is_computed(tmp_path: Path, chat: Chat) -> None:
    house, asked = House(tmp_path, chat.url, phone="ntfy"), []

    def detailed(one):  # type: ignore[no-untyped-def]
        asked.append(one.key)
        return item(1, screen=screen("because"))

    for _ in range(5):
        house.courier.tell(PROJECT, [item(1)], detailed)
        house.settle()
    assert asked == [item(1).key]
    assert "because" in chat.got[0].text


def test_without_news_nothing_is_written_and_nobody_is_asked(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, phone="ntfy")
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    before = store.path_of(tmp_path, "phone").stat().st_mtime_ns, threading.active_count()
    for _ in range(20):
        house.later(seconds=30)
        house.courier.tell(PROJECT, [item(1)])
        house.courier.keep()
    assert (store.path_of(tmp_path, "phone").stat().st_mtime_ns, threading.active_count()) == before
    assert len(chat.got) == 1


def test_a_channel_that_fails_is_tried_again_and_holds_up_no_other(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, bad="slack", good="slack")
    chat.answer = lambda post: Answer(503 if post.path == "/bad" else 200)
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    assert sorted(post.path for post in chat.got) == ["/bad", "/good"]
    assert house.said == ["notify bad: it answers 503: ok"]
    house.settle()
    assert len(chat.got) == 2, "not before its time"
    house.start()
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    assert len(chat.got) == 2, "nor after a restart"
    house.later(seconds=31)
    house.settle()
    assert [post.path for post in chat.got[2:]] == ["/bad"]
    chat.answer = lambda post: Answer()
    house.later(minutes=5)
    house.settle()
    assert [post.path for post in chat.got[3:]] == ["/bad"]
    assert AGAIN in chat.got[3].text, "after a 503 nobody knows"
    told = store.read(tmp_path, "bad")
    assert told is not None
    assert (told.trouble, told.waiting) == ("", ())
    assert house.said[-1] == "notify bad: all is well again"


def test_a_server_that_hangs_blocks_nobody(tmp_path: Path, chat: Chat) -> None:
    house, free = House(tmp_path, chat.url, phone="ntfy"), threading.Event()

    def hang(post):  # type: ignore[no-untyped-def]
        free.wait(20)
        return Answer()

    chat.answer = hang
    house.courier.tell(PROJECT, [item(1)])
    chat.wait(1)
    began = time.monotonic()
    for number in range(2, 30):
        house.courier.tell(PROJECT, [item(n) for n in range(1, number)])
        house.courier.keep()
    assert time.monotonic() - began < 2
    assert not house.courier.settled(0)
    free.set()
    assert house.courier.settled(20)
    house.settle()
    titles = [post.body["title"] for post in chat.got]
    assert titles[0].startswith("approve: release@1 on target-1")
    assert titles[1:] == ["27 things need you"]


def test_of_a_message_that_a_channel_does_not_take_the_headline_goes(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, team="slack")
    chat.answer = lambda post: Answer(400 if "Runs:" in post.text else 200)
    house.courier.tell(PROJECT, [item(1, screen=screen()), item(2)])
    house.settle()
    house.later(minutes=1)
    house.settle()
    assert ["Runs:" in post.text for post in chat.got] == [True, False, False]


def test_a_channel_added_later_is_told_what_waits_and_one_taken_away_nothing(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, phone="ntfy")
    house.courier.tell(PROJECT, [item(n) for n in range(5)])
    house.settle()
    house.channels = {**house.channels, "team": house.host("team", "slack")}
    house.courier.tell(PROJECT, [item(n) for n in range(5)])
    house.settle()
    assert [post.path for post in chat.got] == ["/", "/team"]
    assert "5 things need you" in chat.got[1].text
    house.channels = {"team": house.channels["team"]}
    house.courier.tell(PROJECT, [item(n) for n in range(6)])
    house.settle()
    assert [post.path for post in chat.got[2:]] == ["/team"]


def test_for_other_people_under_the_same_name_everything_is_new(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, team="slack")
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    file = house.channels["team"].secret_file
    file.write_text(f"{chat.url}/others\n", encoding="ascii")
    house.channels = dict(house.channels)
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    assert [post.path for post in chat.got] == ["/team", "/others"]


def test_a_channel_that_cannot_be_opened_is_told_of_once_and_stops_no_other(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, phone="ntfy", team="slack")
    house.channels["phone"].secret_file.unlink()
    for _ in range(3):
        house.courier.tell(PROJECT, [item(1)])
        house.settle()
    assert [post.path for post in chat.got] == ["/team"]
    assert len(house.said) == 1
    assert "No such file" in house.said[0]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"factory.notify/v1": {"to": 1}}', b"[" * 100_000])
def test_a_file_that_cannot_be_read_is_set_aside_and_what_waits_is_told(
    tmp_path: Path, chat: Chat, content: bytes
) -> None:
    house = House(tmp_path, chat.url, phone="ntfy")
    store.path_of(tmp_path, "phone").write_bytes(content)
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    assert len(chat.got) == 1
    assert "phone.unreadable" in house.said[0]
    assert store.path_of(tmp_path, "phone").with_suffix(".unreadable").read_bytes() == content


def test_what_cannot_be_written_down_is_not_sent(
    tmp_path: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    house = House(tmp_path, chat.url, phone="ntfy")
    real, full = store.write, True

    def write(*given):  # type: ignore[no-untyped-def]
        if full:
            raise OSError(28, "No space left on device", "/state/notify/phone.json")
        real(*given)

    monkeypatch.setattr(store, "write", write)
    for _ in range(3):
        house.courier.tell(PROJECT, [item(1)])
        house.settle()
    assert chat.got == []
    assert len(house.said) == 1
    full = False
    house.courier.tell(PROJECT, [item(1)])
    house.settle()
    assert len(chat.got) == 1


def test_on_a_disk_that_is_full_after_it_left_it_is_not_sent_again_and_again(
    tmp_path: Path, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, real = House(tmp_path, chat.url, phone="ntfy"), store.write

    def write(state, name, told):  # type: ignore[no-untyped-def]
        if told.last is not None:
            raise OSError(28, "No space left on device", "/state/notify/phone.json")
        real(state, name, told)

    monkeypatch.setattr(store, "write", write)
    for _ in range(5):
        house.courier.tell(PROJECT, [item(1)])
        house.settle()
        house.later(minutes=5)
    assert len(chat.got) == 1


def test_a_bug_while_telling_ends_nothing_and_is_not_repeated_at_once(tmp_path: Path, chat: Chat) -> None:
    house, calls = House(tmp_path, chat.url, phone="ntfy"), []

    def send(*given):  # type: ignore[no-untyped-def]
        calls.append(given)
        raise ZeroDivisionError("x")

    house.courier.send = send
    for _ in range(5):
        house.courier.tell(PROJECT, [item(1)])
        house.settle()
    assert len(calls) == 1
    assert "Traceback" in house.said[0]
    assert json.loads(store.path_of(tmp_path, "phone").read_bytes())["factory.notify/v1"]["trouble"].startswith("a bug")
