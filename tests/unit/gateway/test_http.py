"""No client can hold the gateway longer than its bounds."""

from __future__ import annotations

import asyncio

import pytest

from factory.gateway import http
from factory.gateway.dialogue import Refused
from factory.gateway.http import ClientGone, Message, Reply, read_body


async def _never() -> Message:
    await asyncio.Event().wait()
    return {}


def test_a_body_that_never_ends_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "BODY_S", 0.01)
    with pytest.raises(Refused) as caught:
        asyncio.run(read_body({"headers": []}, _never))
    assert caught.value.status == 408


def test_a_body_too_big_is_refused_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "MAX_BODY", 10)

    async def endless() -> Message:
        return {"type": "http.request", "body": b"12345", "more_body": True}

    for headers in ([], [(b"content-length", b"11")]):
        with pytest.raises(Refused) as caught:
            asyncio.run(read_body({"headers": headers}, endless))
        assert caught.value.status == 413


def test_a_client_that_leaves_in_mid_body_is_gone() -> None:
    async def leaves() -> Message:
        return {"type": "http.disconnect"}

    with pytest.raises(ClientGone):
        asyncio.run(read_body({"headers": []}, leaves))


def test_a_client_that_stops_reading_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "SEND_S", 0.01)

    async def stuck(_: Message) -> None:
        await asyncio.Event().wait()

    reply = Reply(stuck)
    with pytest.raises(ClientGone):
        asyncio.run(reply.piece(b"x"))
