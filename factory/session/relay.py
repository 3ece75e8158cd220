"""The run's own end of the gateway: a Unix socket bound into the sandbox, each connection passed on by path.

The sandbox holds one socket file for its whole life; the gateway may die and come back with a new one of the same name
meanwhile. So the session process listens, and connects to the gateway anew for every connection it accepts.
"""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from factory.sandbox.doorway import Doorway, carry, reachable


class Relay:
    """Listens on ``inside`` and carries bytes to ``gateway``. A context manager; leaving it closes every connection."""

    def __init__(self, inside: Path, gateway: Path) -> None:
        self._gateway = gateway
        self._door = Doorway(inside, self._pass_on, name="gateway-relay")

    def __enter__(self) -> Self:
        self._door.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.__exit__(kind, error, trace)

    def _pass_on(self, client: socket.socket) -> None:
        with self._door.keep(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)) as upstream:
            try:
                with reachable(self._gateway) as address:
                    upstream.connect(address)
            except OSError:
                return  # the gateway is away: the client sees a closed connection and retries
            carry(client, upstream)
