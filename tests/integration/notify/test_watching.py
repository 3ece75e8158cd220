"""A host that cannot work is told of once it lasted, once, over restarts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from factory.app.telling import Watching
from tests.integration.notify.chat import Chat
from tests.integration.notify.house import House
from tests.unit.notify.things import FORGE


def watching(house: House) -> Watching:
    deployment: Any = SimpleNamespace(host=SimpleNamespace(host="box", channels=house.channels, forge_url=FORGE))
    return Watching(deployment, house.courier)


def turns(house: House, watch: Watching, trouble: str, minutes: int) -> None:
    for _ in range(2 * minutes):
        watch(trouble, house.now)
        house.settle()
        house.later(seconds=30)


def test_trouble_that_lasts_is_told_once(tmp_path: Path, chat: Chat) -> None:
    house = House(tmp_path, chat.url, phone="ntfy")
    watch = watching(house)
    turns(house, watch, "the forge does not answer", 9)
    assert chat.got == []
    turns(house, watch, "", 1)
    turns(house, watch, "the forge does not answer", 9)
    assert chat.got == [], "two short ones are not a long one"
    turns(house, watch, "the forge does not answer", 30)
    house.start()
    turns(house, watching(house), "the forge does not answer, still", 60)
    assert [post.body["title"] for post in chat.got] == ["look: box cannot work: the forge does not answer"]
    turns(house, watching(house), "", 5)
    turns(house, watching(house), "the disk is full", 15)
    assert [post.body["title"] for post in chat.got[1:]] == ["look: box cannot work: the disk is full"]
    assert chat.got[1].body["click"] == FORGE
    assert "Project:" not in chat.got[1].body["message"]


def test_without_a_channel_nothing_is_done(tmp_path: Path) -> None:
    house = House(tmp_path, "http://127.0.0.1:1")
    watching(house)("no forge", house.now + timedelta(hours=1))
    assert not (tmp_path / "notify").exists()
