"""The way out of a sandbox, where there is one: a CONNECT proxy on a Unix socket that lets named hosts through.

It resolves the name itself, refuses every address that is not public, connects to exactly an address it checked, and
holds the TLS handshake until it names the same host (security-rules.md, "Gateway and egress"). What is inside the TLS
stream it cannot see: an allowed host that takes uploads stays a way for data to leave.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from factory.sandbox.doorway import Doorway, carry

PORT = 443
CONNECT_S = 15.0
HEAD_BYTES = 8192
HELLO_BYTES = 16_384
_CONNECT = re.compile(rb"CONNECT ([A-Za-z0-9.-]{1,253}):(\d{1,5}) HTTP/1\.[01]\r\n")
# Addresses that look public and lead elsewhere: translation to IPv4 (RFC 6052, 8215), 6to4 (RFC 3056).
_DISGUISED = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16")))

Resolve = Callable[[str], Sequence[str]]
"""Host name -> addresses to try, in order. Raises Refused, OSError."""


class Refused(Exception):
    """Why a connection is not let through."""


def resolve(host: str) -> tuple[str, ...]:
    """The addresses of the host, IPv4 first, if all of them are public. Raises Refused, OSError."""
    found = {str(info[4][0]) for info in socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)}
    for address in found:
        if not is_public(address):
            raise Refused(f"{host} is {address}, which is not a public address")
    return tuple(sorted(found, key=lambda address: (":" in address, address)))


def is_public(address: str) -> bool:
    """Whether this is an address of the open internet, and of nothing that is reached through a translation of it."""
    found = ipaddress.ip_address(address)
    return found.is_global and not found.is_multicast and not any(found in network for network in _DISGUISED)


class EgressProxy:
    """Listens on ``path`` while entered. ``hosts`` may be connected to on port 443 and nothing else may.

    ``*.example.org`` stands for every name below ``example.org``. ``never`` are hosts that stay closed whatever
    ``hosts`` says (the forge). ``on_event`` is told every refusal and every connection, in words. ``resolver`` and
    ``port`` exist for tests.
    """

    def __init__(
        self, path: Path, hosts: Iterable[str], on_event: Callable[[str], None], *, never: Iterable[str] = (),
        resolver: Resolve = resolve, port: int = PORT,
    ) -> None:  # fmt: skip
        self._hosts = frozenset(host.lower().rstrip(".").removesuffix(f":{PORT}") for host in hosts)
        self._never = frozenset(host.lower().rstrip(".") for host in never)
        self._say = on_event
        self._resolve = resolver
        self._port = port
        self._door = Doorway(path, self._handle, name="egress")
        self.refused: list[str] = []
        """What was not let through, in words, the first few."""
        self.failures = 0
        """Connections to allowed hosts that the network did not give: not the sandbox's fault."""

    def __enter__(self) -> Self:
        self._door.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.__exit__(kind, error, trace)

    def _handle(self, client: socket.socket) -> None:
        client.settimeout(CONNECT_S)
        answered = False
        try:
            host, early = _asked(client)
            self._allow(host)
            addresses = self._look_up(host)
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            answered = True
            hello = _hello(client, early)
            named = server_name(hello)
            if named != host:
                raise Refused(f"the handshake names {named or 'no host'} instead of {host}")
            self._connect(client, host, addresses, hello)
        except Refused as refused:
            self._say(f"egress: refused: {refused}")
            if len(self.refused) < 20:
                self.refused.append(str(refused))
            if not answered:
                _answer(client, b"403 Forbidden")
        except OSError as error:
            self._say(f"egress: failed: {error}")
            if not answered:
                _answer(client, b"502 Bad Gateway")

    def _allow(self, host: str) -> None:
        below = any(pattern.startswith("*.") and host.endswith(pattern[1:]) for pattern in self._hosts)
        if host in self._never:
            raise Refused(f"{host} is the forge, which no session reaches")
        if host not in self._hosts and not below:
            raise Refused(f"{host} is not among the allowed hosts ({', '.join(sorted(self._hosts)) or 'none'})")

    def _look_up(self, host: str) -> Sequence[str]:
        try:
            return self._resolve(host)
        except OSError:
            self.failures += 1
            raise

    def _connect(self, client: socket.socket, host: str, addresses: Sequence[str], hello: bytes) -> None:
        trouble = OSError(f"{host} has no address")
        for address in addresses:
            try:
                made = socket.create_connection((address, self._port), CONNECT_S)
            except OSError as error:
                trouble = OSError(f"connecting to {host} ({address}): {error.strerror or error}")
                continue
            with self._door.keep(made) as upstream:
                self._say(f"egress: connected to {host} ({address})")
                upstream.sendall(hello)
                carry(client, upstream)
                return
        self.failures += 1
        raise trouble


def _answer(client: socket.socket, status: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


def _asked(client: socket.socket) -> tuple[str, bytes]:
    """The host of a CONNECT to port 443, and what came after its head. Raises Refused."""
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
    return host, early


def _hello(client: socket.socket, data: bytes) -> bytes:
    """The first TLS record, whole, and what came with it."""
    while len(data) < 5 or len(data) < 5 + int.from_bytes(data[3:5], "big"):
        if data[:1] not in (b"", b"\x16") or len(data) > HELLO_BYTES:
            break
        more = client.recv(4096)
        if not more:
            break
        data += more
    return data


def server_name(hello: bytes) -> str | None:
    """The host that a TLS ClientHello names (RFC 6066), or None when it is none, names none, or is not all there.

    Only the first record is read, and everything in it must be whole: a name that goes on in a second record would
    be another name to the server than to us.
    """
    try:
        if hello[0] != 22 or hello[5] != 1:
            return None
        message = hello[5 : 5 + int.from_bytes(hello[3:5], "big")]
        end = 4 + int.from_bytes(message[1:4], "big")
        if end > len(message):
            return None
        at = 4 + 2 + 32
        at += 1 + message[at]
        at += 2 + int.from_bytes(message[at : at + 2], "big")
        at += 1 + message[at]
        if at + 2 + int.from_bytes(message[at : at + 2], "big") > end:
            return None
        at += 2
        found: list[str] = []
        while at + 4 <= end:
            kind, size = int.from_bytes(message[at : at + 2], "big"), int.from_bytes(message[at + 2 : at + 4], "big")
            value = message[at + 4 : at + 4 + size]
            if len(value) != size:
                return None
            if kind == 0:
                found.append(_one_name(value))
            at += 4 + size
    except (IndexError, ValueError):
        return None
    return found[0] if len(found) == 1 else None


def _one_name(value: bytes) -> str:
    """The only name of a server_name extension. Raises ValueError: a list of several leaves open which one counts."""
    length = int.from_bytes(value[3:5], "big")
    if value[2] != 0 or int.from_bytes(value[:2], "big") != len(value) - 2 or len(value) != 5 + length:
        raise ValueError("not exactly one host name")
    return value[5:].decode("ascii").lower()
