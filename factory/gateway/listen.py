"""Unix sockets: the control socket, and one per run whose path is the run's identity.

uvicorn's protocol class is used without ``uvicorn.Server``: that serves a fixed set of sockets and wakes ten times a
second, while here sockets come and go with runs and an idle gateway must not wake at all.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from factory.gateway.values import GatewayRefused

MAX_CONNECTIONS = 64
"""Per socket."""
HEADER_S = 30.0
"""From connecting to a complete request head."""
KEEP_ALIVE_S = 120
CLOSE_S = 5.0
MAX_PATH = 107
"""Bytes of a Unix socket's path on Linux."""
LONGEST_NAME = 48
"""Bytes of ``/<run>.sock`` that the folder leaves room for; a run id has 28."""


class _Bounded(H11Protocol):
    """Adds what uvicorn's server would not bound: connections per socket, and a client that never asks."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self._waiting = self.loop.call_later(HEADER_S, self._silent)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        super().connection_lost(exc)

    def _silent(self) -> None:
        if getattr(self, "cycle", None) is None:
            self.transport.abort()


class Listener:
    """One listening socket with its own connections."""

    def __init__(self, path: Path, server: asyncio.AbstractServer, state: ServerState) -> None:
        self.path = path
        self._server = server
        self._state = state

    async def close(self) -> None:
        """Stops listening and cuts what is open; the socket file goes too."""
        self._server.close()
        for connection in list(self._state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        tasks = list(self._state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            # What they settle on their way out belongs to the run's account.
            await asyncio.wait(tasks, timeout=CLOSE_S)
        self.path.unlink(missing_ok=True)


async def listen(path: Path, app: Any, mode: int, state: dict[str, Any]) -> Listener:
    """Serves ``app`` on the Unix socket ``path``; ``state`` reaches it as ``scope["state"]``.

    A leftover socket is replaced. The new one appears under its name only when it already listens.
    """
    config = Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=KEEP_ALIVE_S,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )
    config.load()
    # What it would say is about broken requests of hostile sessions, as often as they like; our own errors are
    # printed where they happen.
    logging.getLogger("uvicorn.error").disabled = True
    served = ServerState()
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Through the descriptor: the folder's own path may already be too long for a socket address.
        near = f"/proc/self/fd/{folder}"
        draft = f".{hashlib.sha256(path.name.encode()).hexdigest()[:12]}"
        Path(near, draft).unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        sock.bind(f"{near}/{draft}")
        Path(near, draft).chmod(mode)
        sock.listen(256)
        Path(near, draft).rename(Path(near, path.name))
    finally:
        os.close(folder)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Bounded(config, served, state), sock=sock)
    return Listener(path, server, served)


def socket_folder(home: Path) -> Path:
    """Where the runs' sockets go: ``home/run``, or a private folder of the temporary directory when that is too deep
    for a socket address. The same home gives the same folder, so a restart re-creates the same paths.

    Raises ``GatewayRefused`` when the folder is somebody else's.
    """
    folder = home / "run"
    if len(os.fsencode(folder)) + LONGEST_NAME > MAX_PATH:
        name = hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"fgw-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) != 0o700:
        raise GatewayRefused(
            f"keeping sockets in {folder}: not a folder of ours with mode 0700", hint=f"remove {folder}"
        )
    return folder
