"""The little of ASGI that the front needs, with every wait bounded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from factory.gateway.dialogue import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY = 16_000_000
"""Bytes. Providers take up to 32 MB; a conversation of a million tokens of text has about 4."""
BODY_S = 60.0
"""For the whole body to arrive."""
DRAIN_S = 2.0
"""For what a refused client still sends."""
SEND_S = 60.0
"""For a client to take one piece of an answer."""


class ClientGone(Exception):
    """The session closed the connection, or stopped reading."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The body. Raises ``Refused`` when it is too big or too slow, ``ClientGone`` when it never ends."""
    if (declared := header(scope, b"content-length")) and declared.isdigit() and int(declared) > MAX_BODY:
        raise Refused(f"the request is larger than {MAX_BODY} bytes", status=413)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                size += len(message.get("body", b""))
                if size > MAX_BODY:
                    raise Refused(f"the request is larger than {MAX_BODY} bytes", status=413)
                pieces.append(message.get("body", b""))
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError as error:
        raise Refused(f"the request did not arrive within {BODY_S:.0f} s", status=408) from error


class Incoming:
    """``receive`` of one request that knows whether all of it has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.whole = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.whole = self.whole or message["type"] != "http.request" or not message.get("more_body")
        return message

    async def drain(self) -> None:
        """Take the rest and forget it, within bounds: whoever still sends does not read an answer."""
        size = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self.whole and size <= MAX_BODY:
                    size += len((await self()).get("body", b""))


def header(scope: Scope, name: bytes) -> str:
    """The header's value, several joined by commas; empty when absent."""
    return ",".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


class Reply:
    """Sends one response; ``started`` tells whether a status is already out."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def start(self, status: int, content_type: str, extra: tuple[tuple[str, str], ...] = ()) -> None:
        headers = [(b"content-type", content_type.encode()), (b"cache-control", b"no-store")]
        headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in extra]
        self.started = True
        await self._bounded({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, body: bytes, *, more: bool = True) -> None:
        await self._bounded({"type": "http.response.body", "body": body, "more_body": more})

    async def json(self, status: int, value: Any, extra: tuple[tuple[str, str], ...] = ()) -> None:
        body = json.dumps(value, ensure_ascii=False).encode()
        await self.start(status, "application/json", (*extra, ("content-length", str(len(body)))))
        await self.piece(body, more=False)

    async def _bounded(self, message: Message) -> None:
        try:
            await asyncio.wait_for(self._send(message), SEND_S)
        except (TimeoutError, OSError) as error:
            raise ClientGone from error
