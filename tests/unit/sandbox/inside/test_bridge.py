"""The bridge from loopback ports to Unix sockets, on real sockets."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from factory.sandbox.inside import bridge


@pytest.fixture
def far(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(5)
        listener.bind(str(tmp_path / "s"))
        listener.listen(512)
        yield listener


@pytest.fixture
def port(far: socket.socket) -> int:
    made = bridge.Bridge([(0, far.getsockname())])
    made.start()
    return made.ports[0]


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def test_each_side_may_end_first(port: int, far: socket.socket) -> None:
    with connect(port) as near, far.accept()[0] as end:
        near.sendall(b"question")
        near.shutdown(socket.SHUT_WR)
        assert end.recv(100) == b"question"
        assert end.recv(100) == b""
        end.sendall(b"answer")
        end.close()
        assert near.recv(100) == b"answer"
        assert near.recv(100) == b""
    with connect(port) as near, far.accept()[0] as end:
        end.shutdown(socket.SHUT_WR)
        assert near.recv(100) == b""
        near.sendall(b"still heard")
        assert end.recv(100) == b"still heard"


def test_slow_reader_holds_the_writer_back_and_loses_nothing(port: int, far: socket.socket) -> None:
    size = 32 << 20
    with connect(port) as near, far.accept()[0] as end:
        sender = threading.Thread(target=lambda: (near.sendall(b"z" * size), near.shutdown(socket.SHUT_WR)))
        near.settimeout(30)
        sender.start()
        sender.join(0.3)
        assert sender.is_alive()  # kernel buffers and ours are full long before 32 MiB
        got = 0
        while data := end.recv(1 << 20):
            got += len(data)
        sender.join()
    assert got == size


def test_reset_of_one_side_ends_the_other(port: int, far: socket.socket) -> None:
    near = connect(port)
    with far.accept()[0] as end:
        end.settimeout(5)
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        near.close()
        with contextlib.suppress(ConnectionError):
            assert end.recv(1) == b""


def test_more_connections_than_allowed_wait_their_turn(
    port: int, far: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge, "MAX_CONNECTIONS", 3)
    with contextlib.ExitStack() as stack:
        near = [stack.enter_context(connect(port)) for _ in range(5)]
        ends = [stack.enter_context(far.accept()[0]) for _ in range(3)]
        far.settimeout(0.2)
        with pytest.raises(TimeoutError):
            far.accept()
        far.settimeout(5)
        near[0].close()
        ends[0].close()
        stack.enter_context(far.accept()[0])


def test_taken_port_is_an_error_at_once(port: int, far: socket.socket) -> None:
    with pytest.raises(OSError, match="in use"):
        bridge.Bridge([(port, far.getsockname())])
