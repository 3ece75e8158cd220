"""The process around the forge: one lock per home, two listeners (TCP and the admin socket), a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import logging
import logging.handlers
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from factory.devforge.connection import Listener, Protocol
from factory.devforge.server import Forge, Pages, build_app

ADMIN_SOCKET = "admin.sock"


def serve(
    home: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    url: str = "",
    allow_hosts: tuple[str, ...] = (),
    strict: bool = True,
    pages: Pages | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. Prints one JSON line with address and pid as soon as requests are served.

    Raises OSError when the port is taken or another forge serves this home.
    """
    os.umask(0o077)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _log_to(home / "forge.log")
    with _only_one(home):
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
        # asyncio sets it only on sockets made with IPPROTO_TCP; without it every answer waits 40 ms for a delayed ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = listener.getsockname()[1]
        root = url or f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        names = {f"{name}:{bound}" for name in ("127.0.0.1", "localhost", "[::1]")} | set(allow_hosts)
        names.add(root.partition("://")[2].partition("/")[0].lower())
        forge = build_app(home, root_url=root, hosts=frozenset(names), strict=strict)
        if pages is not None:
            forge.pages = pages(forge)
        try:
            asyncio.run(
                _run(forge, listener, home, {"url": root, "pid": os.getpid(), "admin": str(home / ADMIN_SOCKET)})
            )
        finally:
            forge.close()


async def _run(forge: Forge, listener: socket.socket, home: Path, facts: dict[str, Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    admin = _unix_listener(home / ADMIN_SOCKET)
    running = []
    for sock, is_admin in ((listener, False), (admin, True)):
        config = uvicorn.Config(
            forge.app(admin=is_admin), http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, date_header=False, timeout_keep_alive=30,
            timeout_graceful_shutdown=3, proxy_headers=False,
        )  # fmt: skip
        running.append(asyncio.ensure_future(Listener(config, stop).serve(sockets=[sock])))
    forge.deliverer.wake()
    # Both sockets listen already: whoever connects from now on waits at most for the loop.
    print(json.dumps({"factory.devforge/v1": facts}), flush=True)  # noqa: T201 the starter reads this line
    await asyncio.gather(*running)
    with contextlib.suppress(FileNotFoundError):
        (home / ADMIN_SOCKET).unlink()


def _unix_listener(path: Path) -> socket.socket:
    """The admin socket, 0600 from its first moment. A path too long for the kernel is reached through its folder."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made.bind(str(path) if len(str(path)) < 100 else f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.umask(before)
        os.close(folder)
    made.listen(16)
    return made


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Two processes on one home would race on refs and rows; the lock dies with its holder."""
    with open(home / "forge.lock", "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another forge is running on {home}") from None
        yield


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=5_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
