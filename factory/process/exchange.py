"""Feeding a child and reading its two streams without deadlock, bounded in bytes and time."""

from __future__ import annotations

import os
import selectors
import time

from factory.process.child import Child

_CHUNK = 65536


class Exchange:
    """What goes into ``child`` and what came out, at most ``max_output`` bytes of each stream."""

    def __init__(self, child: Child, data: bytes, max_output: int) -> None:
        self._child = child
        self._data = memoryview(data)
        self._max = max_output
        self.out = bytearray()
        self.err = bytearray()
        self.truncated = False

    def pump(self, deadline: float) -> bool:
        """Move bytes until the child has ended and its streams are drained; False when the deadline came first."""
        child = self._child
        with selectors.DefaultSelector() as selector:
            selector.register(child.fileno(), selectors.EVENT_READ, None)
            for fd, sink in ((child.stdout_fd, self.out), (child.stderr_fd, self.err)):
                if fd is not None:
                    os.set_blocking(fd, False)
                    selector.register(fd, selectors.EVENT_READ, sink)
            if child.stdin is not None:
                os.set_blocking(child.stdin.fileno(), False)
                selector.register(child.stdin.fileno(), selectors.EVENT_WRITE, "stdin")
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                ended = False
                for key, _events in selector.select(left):
                    if key.data is None:
                        ended = True
                    elif key.data == "stdin":
                        self._feed(selector, key.fd)
                    else:
                        self._take(selector, key.fd, key.data)
                if ended:
                    # A descendant may keep the pipes open for ever: what is there now is all that counts.
                    for fd, sink in ((child.stdout_fd, self.out), (child.stderr_fd, self.err)):
                        while fd is not None and fd in selector.get_map() and self._take(selector, fd, sink):
                            pass
                    return True

    def _feed(self, selector: selectors.BaseSelector, fd: int) -> None:
        stdin = self._child.stdin
        assert stdin is not None
        try:
            written = os.write(fd, self._data[:_CHUNK]) if self._data else 0
            self._data = self._data[written:]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = self._data[:0]
        if not self._data:
            selector.unregister(fd)
            stdin.close()

    def _take(self, selector: selectors.BaseSelector, fd: int, sink: bytearray) -> bool:
        try:
            data = os.read(fd, _CHUNK)
        except BlockingIOError:
            return False
        if not data:
            selector.unregister(fd)
            return False
        room = self._max - len(sink)
        sink += data[: max(room, 0)]
        self.truncated = self.truncated or len(data) > room
        return True
