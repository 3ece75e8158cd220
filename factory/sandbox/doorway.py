"""A Unix socket whose every connection gets a thread of its own: bounded in number, and all gone when it is left."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

CHUNK = 65536
MOST = 64
"""Connections at once; further ones wait in the listener's queue instead of using up our descriptors."""
_LEAVE_S = 1.0
_EXIT, _ENDED = b"x", b"e"


class Doorway:
    """Listens on ``path`` (of any length) while entered; ``handle(connection)`` serves each connection in a thread.

    Leaving it shuts every connection and every socket that a handler ``keep``\\ s. Whoever reaches the file may
    connect: that is decided by the folders above it and by what is bound into a sandbox.
    """

    def __init__(self, path: Path, handle: Callable[[socket.socket], None], *, name: str, most: int = MOST) -> None:
        self.path = path
        self._handle = handle
        self._name = name
        self._most = most
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._woken, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._lock = threading.Lock()
        self._live: set[socket.socket] = set()
        self._serving: set[threading.Thread] = set()
        self._left = False

    def __enter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        with reachable(self.path) as address:
            self._listener.bind(address)
        self.path.chmod(0o666)
        self._listener.listen(128)
        self._listener.setblocking(False)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        self._wake(_EXIT)
        self._thread.join()
        self._listener.close()
        with self._lock:
            live, serving = list(self._live), list(self._serving)
        for one in live:
            _shut(one)
        until = time.monotonic() + _LEAVE_S
        for thread in serving:
            # A handler may hang in a name lookup, which nothing can end; it is a daemon's thread then.
            thread.join(max(0.0, until - time.monotonic()))
        with self._lock:
            os.close(self._woken)
            os.close(self._waker)
            self._waker = -1

    @contextmanager
    def keep(self, connection: socket.socket) -> Iterator[socket.socket]:
        """Close ``connection`` at the end of the block, and shut it when the doorway is left before that."""
        with self._lock:
            self._live.add(connection)
            late = self._left
        if late:
            _shut(connection)
        try:
            yield connection
        finally:
            with self._lock:
                self._live.discard(connection)
                connection.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._woken, selectors.EVENT_READ)
            listening = False
            while not self._left:
                room = len(self._serving) < self._most
                if room and not listening:
                    ready.register(self._listener, selectors.EVENT_READ)
                elif listening and not room:
                    ready.unregister(self._listener)
                listening = room
                for key, _ in ready.select():
                    if key.fileobj == self._woken:
                        os.read(self._woken, 4096)
                    elif not self._accept():
                        # Out of descriptors: one that ends makes room, and tells us. Until then the queue waits.
                        ready.unregister(self._listener)
                        listening = False
                        ready.select(0.2)

    def _accept(self) -> bool:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return True  # gone again before we looked
        except OSError:
            return False
        connection.setblocking(True)
        thread = threading.Thread(target=self._one, args=(connection,), name=self._name, daemon=True)
        with self._lock:
            self._serving.add(thread)
        thread.start()
        return True

    def _one(self, connection: socket.socket) -> None:
        try:
            with self.keep(connection):
                self._handle(connection)
        finally:
            with self._lock:
                self._serving.discard(threading.current_thread())
                self._wake(_ENDED)

    def _wake(self, word: bytes) -> None:
        if self._waker >= 0:
            with contextlib.suppress(BlockingIOError):  # full: it wakes anyhow
                os.write(self._waker, word)


@contextmanager
def reachable(path: Path) -> Iterator[str]:
    """A name for a socket path of any length: sun_path holds 108 bytes, a descriptor of its folder is always short."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def carry(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until both sides have said all; the end of one direction is passed on and leaves the other."""
    left.settimeout(None)
    right.settimeout(None)
    back = threading.Thread(target=_pump, args=(right, left), daemon=True)
    back.start()
    _pump(left, right)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(CHUNK):
            target.sendall(data)
    except OSError:
        # One of them is broken: nothing more can come or go, and the other end must learn it.
        _shut(source)
        _shut(target)
        return
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
