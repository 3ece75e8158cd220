"""Loopback TCP ports that lead to Unix sockets: the only way out of a sandbox without a network."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Iterable

_BUFFER = 256 * 1024
_CHUNK = 64 * 1024
MAX_CONNECTIONS = 256
"""At once; further ones wait in the listener's queue instead of using up our descriptors."""


class _Half:
    """One direction: what was read from ``source`` and not yet written to ``sink``."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source = source
        self.sink = sink
        self.waiting = bytearray()
        self.ended = False
        self.closed = False


class _Pair:
    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.sockets = (near, far)
        self.up = _Half(near, far)
        self.down = _Half(far, near)


class Bridge:
    """All bridges of a session in one thread. Ends with the process."""

    def __init__(self, routes: Iterable[tuple[int, str]]) -> None:
        """Listen at once, so that a port is there before the backend starts; raises OSError when one is taken."""
        self._selector = selectors.DefaultSelector()
        self.ports: list[int] = []
        self._listeners: dict[socket.socket, str] = {}
        self._open = 0
        for port, path in routes:
            listener = socket.create_server(("127.0.0.1", port), backlog=128)
            listener.setblocking(False)
            self.ports.append(listener.getsockname()[1])
            self._listeners[listener] = path
        self._listen_for_more()

    def start(self) -> threading.Thread:
        """Serve in a background thread."""
        thread = threading.Thread(target=self.serve, name="bridge", daemon=True)
        thread.start()
        return thread

    def serve(self) -> None:
        """Serve for ever."""
        while True:
            for key, events in self._selector.select():
                if isinstance(key.data, str):
                    self._accept(key.fileobj, key.data)  # type: ignore[arg-type]
                else:
                    self._move(key.data, key.fileobj, events)  # type: ignore[arg-type]

    def _listen_for_more(self) -> None:
        for listener, path in self._listeners.items():
            waiting = listener in self._selector.get_map()
            if self._open < MAX_CONNECTIONS and not waiting:
                self._selector.register(listener, selectors.EVENT_READ, path)
            elif self._open >= MAX_CONNECTIONS and waiting:
                self._selector.unregister(listener)

    def _accept(self, listener: socket.socket, path: str) -> None:
        try:
            near, _address = listener.accept()
        except OSError:
            return  # gone again before we looked
        far = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Blocking: a Unix connect waits only while the listener's queue is full, and has no way to be polled.
            far.settimeout(5)
            _connect(far, path)
        except OSError:
            near.close()
            far.close()
            return
        near.setblocking(False)
        far.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = _Pair(near, far)
        for end in pair.sockets:
            self._selector.register(end, selectors.EVENT_READ, pair)
        self._open += 1
        self._listen_for_more()

    def _move(self, pair: _Pair, end: socket.socket, events: int) -> None:
        if end.fileno() == -1:
            return  # closed earlier in this round
        try:
            outgoing = pair.up if end is pair.up.source else pair.down
            incoming = pair.down if end is pair.up.source else pair.up
            if events & selectors.EVENT_READ and not outgoing.ended and len(outgoing.waiting) < _BUFFER:
                self._read(outgoing)
            if events & selectors.EVENT_WRITE:
                self._write(incoming)
            for half in (pair.up, pair.down):
                self._write(half)
        except OSError:
            self._close(pair)
            return
        if pair.up.closed and pair.down.closed:
            self._close(pair)
            return
        self._listen(pair)

    @staticmethod
    def _read(half: _Half) -> None:
        try:
            data = half.source.recv(_CHUNK)
        except BlockingIOError:
            return
        if data:
            half.waiting += data
        else:
            half.ended = True

    @staticmethod
    def _write(half: _Half) -> None:
        while half.waiting:
            try:
                sent = half.sink.send(half.waiting)
            except BlockingIOError:
                return
            del half.waiting[:sent]
        if half.ended and not half.closed:
            # One side has said all; the other may still answer.
            half.closed = True
            with contextlib.suppress(OSError):
                half.sink.shutdown(socket.SHUT_WR)

    def _listen(self, pair: _Pair) -> None:
        for end in pair.sockets:
            outgoing, incoming = (pair.up, pair.down) if end is pair.up.source else (pair.down, pair.up)
            events = 0
            if not outgoing.ended and len(outgoing.waiting) < _BUFFER:
                events |= selectors.EVENT_READ
            if incoming.waiting:
                events |= selectors.EVENT_WRITE
            registered = end in self._selector.get_map()
            if events and registered:
                self._selector.modify(end, events, pair)
            elif events:
                self._selector.register(end, events, pair)
            elif registered:
                self._selector.unregister(end)

    def _close(self, pair: _Pair) -> None:
        for end in pair.sockets:
            if end.fileno() != -1 and end in self._selector.get_map():
                self._selector.unregister(end)
            end.close()
        self._open -= 1
        self._listen_for_more()


def _connect(far: socket.socket, path: str) -> None:
    """To a socket file of any name: sun_path holds 108 bytes, a descriptor of its folder is always short."""
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        far.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
    finally:
        os.close(folder)
