"""HTTP connections: uvicorn's, except that a request can reach its own connection (to drop it), and a quiet server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, MutableMapping
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol


class Protocol(H11Protocol):
    """uvicorn's, except that a request can reach its connection (to drop it)."""

    live: dict[Any, asyncio.Transport] = {}  # noqa: RUF012 shared on purpose

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.live[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.live.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


def abort(scope: MutableMapping[str, Any]) -> None:
    transport = Protocol.live.get(tuple(scope["client"] or ()))
    if transport is not None:
        transport.abort()


class Listener(uvicorn.Server):
    """A uvicorn server that sleeps until it is told to stop, instead of waking ten times a second."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process handles them once for both listeners

    async def main_loop(self) -> None:
        await self._stop.wait()
