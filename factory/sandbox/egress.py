"""The way out of a sandbox, where there is one: a CONNECT proxy on a Unix socket that lets named hosts through.

It resolves the name itself, refuses every address that is not public, connects to exactly the address it checked, and
holds the TLS handshake until it names the same host (security-rules.md, "Gateway and egress"). What is inside the TLS
stream it cannot see: an allowed host that takes uploads stays a way for data to leave.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType

PORT = 443
CONNECT_S = 15.0
HEAD_BYTES = 8192
HELLO_BYTES = 16_384
_CONNECT = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):(\d{1,5}) HTTP/1\.[01]\r\n")

Resolve = Callable[[str], str]
"""Host name -> the address to connect to. Raises OSError."""


class Refused(Exception):
    """Why a connection is not let through."""


def resolve(host: str) -> str:
    """The first address of the host, if all of its addresses are public. Raises Refused, OSError."""
    found = {info[4][0] for info in socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)}
    for address in found:
        if not ipaddress.ip_address(address).is_global:
            raise Refused(f"{host} is {address}, which is not a public address")
    return str(min(found))


class EgressProxy:
    """Listens on ``path`` while entered. ``hosts`` may be connected to on port 443 and nothing else may.

    ``on_event`` is told every refusal and every connection, in words. ``resolver`` exists for tests.
    """

    def __init__(
        self, path: Path, hosts: Iterable[str], on_event: Callable[[str], None], *, resolver: Resolve = resolve,
        port: int = PORT,
    ) -> None:  # fmt: skip
        self.path = path
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)
        self._say = on_event
        self._resolve = resolver
        self._port = port
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._serve, name="egress", daemon=True)

    def __enter__(self) -> EgressProxy:
        self.path.unlink(missing_ok=True)
        folder = os.open(self.path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Through the folder's descriptor: the path itself may be too long for a socket address.
            self._listener.bind(f"/proc/self/fd/{folder}/{self.path.name}")
        finally:
            os.close(folder)
        self.path.chmod(0o666)
        self._listener.listen(64)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.write(self._waker, b"x")
        self._thread.join()
        self._listener.close()
        os.close(self._wake)
        os.close(self._waker)

    def _serve(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._wake, selectors.EVENT_READ)
            ready.register(self._listener, selectors.EVENT_READ)
            while True:
                for key, _ in ready.select():
                    if key.fileobj == self._wake:
                        return
                    client, _ = self._listener.accept()
                    threading.Thread(target=self._handle, args=(client,), daemon=True).start()

    def _handle(self, client: socket.socket) -> None:
        with client:
            client.settimeout(CONNECT_S)
            try:
                host, early = self._asked(client)
                address = self._resolve(host)
                client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                hello = _hello(client, early)
                named = server_name(hello)
                if named != host:
                    raise Refused(f"the handshake names {named or 'no host'} instead of {host}")
                with socket.create_connection((address, self._port), CONNECT_S) as upstream:
                    self._say(f"egress: connected to {host} ({address})")
                    upstream.sendall(hello)
                    _both(client, upstream)
            except Refused as refused:
                self._say(f"egress: refused: {refused}")
                with contextlib.suppress(OSError):
                    client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            except OSError as error:
                self._say(f"egress: failed: {error}")
                with contextlib.suppress(OSError):
                    client.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def _asked(self, client: socket.socket) -> tuple[str, bytes]:
        """The host of an allowed CONNECT, and what came after its head."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = client.recv(4096)
            if not more or len(data) > HEAD_BYTES:
                raise Refused("not a request")
            data += more
        head, _, early = data.partition(b"\r\n\r\n")
        match = _CONNECT.match(head + b"\r\n")
        if match is None:
            raise Refused(f"only CONNECT to a host name is offered, not {head[:60]!r}")
        host, port = match[1].decode().lower().rstrip("."), int(match[2])
        if port != PORT:
            raise Refused(f"{host}:{port}: only port {PORT} is offered")
        if host not in self._hosts:
            raise Refused(f"{host} is not among the allowed hosts ({', '.join(sorted(self._hosts)) or 'none'})")
        return host, early


def _hello(client: socket.socket, data: bytes) -> bytes:
    """The first TLS record, whole."""
    while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
        if len(data) >= 5 and (data[0] != 22 or len(data) > HELLO_BYTES):
            break
        more = client.recv(4096)
        if not more:
            break
        data += more
    return data


def server_name(hello: bytes) -> str | None:
    """The host that a TLS ClientHello names (RFC 6066), or None when it is none or names none."""
    try:
        if hello[0] != 22 or hello[5] != 1:
            return None
        at = 5 + 4 + 2 + 32
        at += 1 + hello[at]
        at += 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 1 + hello[at]
        end = at + 2 + int.from_bytes(hello[at : at + 2], "big")
        at += 2
        while at + 4 <= end:
            kind, size = int.from_bytes(hello[at : at + 2], "big"), int.from_bytes(hello[at + 2 : at + 4], "big")
            if kind == 0:
                length = int.from_bytes(hello[at + 7 : at + 9], "big")
                return hello[at + 9 : at + 9 + length].decode("ascii").lower()
            at += 4 + size
    except (IndexError, UnicodeDecodeError):
        return None
    return None


def _both(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until both sides have ended."""
    left.settimeout(None)
    right.settimeout(None)
    back = threading.Thread(target=_pump, args=(right, left), daemon=True)
    back.start()
    _pump(left, right)
    back.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
