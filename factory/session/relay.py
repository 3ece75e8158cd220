"""The run's own end of the gateway: a Unix socket bound into the sandbox, each connection passed on by path.

The sandbox holds one socket file for its whole life; the gateway may die and come back with a new one of the same name
meanwhile. So the session process listens, and connects to the gateway anew for every connection it accepts.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from pathlib import Path
from types import TracebackType

CHUNK = 65536


def _address(path: Path) -> tuple[str, int]:
    """A name for a socket path of any length: sun_path holds 108 bytes, a descriptor of its folder is always short."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{folder}/{path.name}", folder


class Relay:
    """Listens on ``inside`` and pumps bytes to ``gateway``. A context manager; leaving it closes every connection."""

    def __init__(self, inside: Path, gateway: Path) -> None:
        self.inside = inside
        self._gateway = gateway
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._serve, name="gateway-relay", daemon=True)

    def __enter__(self) -> Relay:
        self.inside.unlink(missing_ok=True)
        name, folder = _address(self.inside)
        try:
            self._listener.bind(name)
        finally:
            os.close(folder)
        # Any uid may connect: who can reach this file is decided by the 0700 folder above it and the sandbox's bind.
        self.inside.chmod(0o666)
        self._listener.listen(64)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join()
        self._listener.close()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready, contextlib.ExitStack() as open_sockets:
            ready.register(self._wake_read, selectors.EVENT_READ)
            ready.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj == self._wake_read:
                        return
                    client, _ = self._listener.accept()
                    open_sockets.callback(client.close)
                    threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def _pass_on(self, client: socket.socket) -> None:
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with client, upstream:
            try:
                name, folder = _address(self._gateway)
                try:
                    upstream.connect(name)
                finally:
                    os.close(folder)
            except OSError:
                return  # the gateway is away: the client sees a closed connection and retries
            back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
            back.start()
            _pump(client, upstream)
            back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy until the source ends, then say so to the target and nothing more."""
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
    except OSError:
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
