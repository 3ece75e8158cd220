"""The only way out of a run's sandbox: a proxy that holds the credentials and asks the ledger before it lets through.

Inside it is plain HTTP, so that method and path can be judged; outside it is TLS to an address that was checked. The
run never sees a credential, in no answer either.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from factory.sandbox import egress
from factory.sandbox.doorway import Doorway
from factory.vault.formulas import Host
from factory.vault.ports import Order
from factory.vault.run.asked import HTTPS, Asked, Refused, allowed, read
from factory.vault.run.gate import Gate, Shut
from factory.vault.run.inside import layout
from factory.vault.run.redact import Redactor
from factory.vault.run.result import Note

REQUEST_S = 60.0
"""Of one request, whole: after it nothing of it is under way any more."""
CONNECT_S = 15.0
MAX_HEAD = 16 * 1024
MAX_ANSWER = 16 * 1024 * 1024
MOST_REQUESTS = 1000
MOST_BYTES = 256 * 1024 * 1024
"""Of all answers of one run."""
KEY_HEADER = "Idempotency-Key"
_NOT_PASSED = frozenset({"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
                         "transfer-encoding", "upgrade", "content-length", "content-encoding", "set-cookie", "date",
                         "server", "www-authenticate", "alt-svc"})  # fmt: skip
_UNSURE = frozenset({408, 409, 425, 429})

Connect = Callable[[str, int], socket.socket]
"""Host name, port -> a connection over which HTTP is spoken. Raises Refused, OSError."""


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def connect(name: str, port: int) -> socket.socket:
    """TLS to the host, at an address that is public and was resolved here. Raises Refused, OSError."""
    try:
        addresses = egress.resolve(name)
    except egress.Refused as refused:
        raise Refused(str(refused)) from None
    return secured(name, port, addresses, _tls())


def secured(name: str, port: int, addresses: Sequence[str], context: ssl.SSLContext) -> socket.socket:
    """TLS to the first of these addresses that answers, as ``name``. Raises OSError."""
    trouble: OSError = OSError(f"{name} has no address")
    for address in addresses:
        try:
            plain = socket.create_connection((address, port), CONNECT_S)
        except OSError as error:
            trouble = error
            continue
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
    raise trouble


@dataclass
class Noted:
    """How many requests went through and how many did not. Which ones, only ``say`` is told: a run chooses that."""

    passed: int = 0
    refused: int = 0
    failed: int = 0
    bytes: int = 0

    @property
    def note(self) -> Note:
        """What may be said of it outside this host."""
        return Note.REFUSED if self.refused else Note.FAILED if self.failed else Note.NONE


class Broker:
    """Serves one run on a Unix socket while entered: the socket says which run it is, ``token`` must come with every
    request besides.

    ``hosts`` may be asked for; ``secret(name)`` opens one that the action names; ``never`` are names that stay closed
    (the forge); ``say`` is told every request and refusal. ``connector`` is for tests.
    """

    def __init__(
        self, path: Path, order: Order, hosts: Sequence[Host], gate: Gate, secret: Callable[[str], bytes],
        redactor: Redactor, say: Callable[[str], None], *, never: Collection[str] = (), connector: Connect = connect,
    ) -> None:  # fmt: skip
        self._order, self._hosts, self._gate, self._secret = order, tuple(hosts), gate, secret
        self._redactor, self._say, self._never, self._connect = redactor, say, frozenset(never), connector
        self._inject = {host.removesuffix(f":{HTTPS}"): how for host, how in order.rule.inject.items()}
        self.token = secrets.token_hex(16)
        self._door = Doorway(path, self._handle, name="broker", most=16)
        self._lock = threading.Lock()
        self._keyed: set[str] = set()
        self.noted = Noted()

    def __enter__(self) -> Self:
        self._door.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.__exit__(kind, error, trace)

    def _handle(self, client: socket.socket) -> None:
        client.settimeout(REQUEST_S)
        what = "a request"
        try:
            asked, body = _received(client)
            what = str(asked)
            answer = self._served(asked, body)
        except (Refused, Shut) as refused:
            words = f"{what}: {refused}" if isinstance(refused, Shut) else str(refused)
            self._say(f"broker: refused: {words}")
            with self._lock:
                self.noted.refused += 1
            answer = _answer(403, {"X-Factory-Refused": _header(str(refused))}, b"")
        except (OSError, http.client.HTTPException) as error:
            # The kind of error is told, not its words: they may quote what the other side sent.
            self._say(f"broker: failed: {what}: {type(error).__name__}")
            with self._lock:
                self.noted.failed += 1
            answer = _answer(502, {}, b"")
        with contextlib.suppress(OSError):
            client.sendall(answer)

    def _own(self, asked: Asked) -> None:
        """Raises Refused for who is on this run's socket and does not have its token."""
        if not hmac.compare_digest(asked.proof.encode(), layout.proof(self.token).encode()):
            raise Refused(f"{asked}: it does not come with this run's token (http_proxy has it)")

    def _served(self, asked: Asked, body: bytes) -> bytes:
        self._own(asked)
        allowed(asked, self._hosts, self._never)
        if self._order.probe and not asked.reads:
            raise Refused(f"{asked}: a probe only looks")
        headers = {**asked.headers, "Host": asked.host, "Accept-Encoding": "identity", "Connection": "close"}
        headers |= self._credential(asked)
        if not asked.reads:
            headers |= self._key(asked, body)
        with self._lock:
            if self.noted.passed >= MOST_REQUESTS or self.noted.bytes > MOST_BYTES:
                raise Refused(f"{asked}: more than one run may ask for")
        with self._door.keep(self._connect(asked.name, asked.port)) as upstream, _cut(upstream, REQUEST_S):
            # As late as can be: between the ledger's answer and the first byte nothing is waited for.
            if asked.reads:
                self._gate.read()
            else:
                self._gate.change(str(asked))
            status, told, data = _exchange(upstream, asked, headers, body)
        if not asked.reads and 400 <= status < 500 and status not in _UNSURE:
            self._gate.came_to_nothing(str(asked))
        with self._lock:
            self.noted.bytes += len(data)
            self.noted.passed += 1
        self._say(f"broker: {asked}: {status}, {len(data)} bytes")
        return self._stripped(asked, status, told, data)

    def _credential(self, asked: Asked) -> dict[str, str]:
        how = self._inject.get(asked.host)
        if how is None or how.secret not in self._order.action.secrets:
            return {}
        value = self._secret(how.secret)
        self._redactor.know(how.secret, value)
        text = value.decode("utf-8", "replace").strip()
        if not text or not text.isprintable() or not text.isascii():
            raise Refused(f"{asked}: the secret {how.secret} cannot stand in a header")
        return {how.header: how.prefix + text}

    def _key(self, asked: Asked, body: bytes) -> dict[str, str]:
        """Of a keyed formula all requests that change something are one and the same: else its key would lie."""
        if self._order.formula.effect_class != "B":
            return {}
        content = hashlib.sha256(f"{asked.method} {asked.host}{asked.path}\n".encode() + body).hexdigest()
        with self._lock:
            if self._keyed - {content}:
                raise Refused(f"{asked}: another request has this action's key already")
            self._keyed.add(content)
        return {KEY_HEADER: self._order.idem_key}

    def _stripped(self, asked: Asked, status: int, told: Sequence[tuple[str, str]], data: bytes) -> bytes:
        """The answer without anything that was handed out. Raises Refused where it cannot be cut out."""
        encoding = next((value for name, value in told if name.lower() == "content-encoding"), "identity")
        if encoding.lower() not in ("identity", ""):
            raise Refused(f"{asked}: the answer is packed ({_header(encoding)[:20]}) and cannot be looked into")
        cleaned, left = self._redactor.withheld(data)
        if left:
            raise Refused(f"{asked}: the answer shows {', '.join(map(str, left))}")
        headers: dict[str, str] = {}
        for name, value in told:
            shown, hidden = self._redactor.withheld(value.encode("latin-1", "replace"))
            if name.lower() not in _NOT_PASSED and not hidden and not self._redactor.find(name.encode()):
                headers[name] = shown.decode("latin-1")
        length = next((value for name, value in told if name.lower() == "content-length" and value.isdigit()), "0")
        return _answer(status, headers, cleaned, length if asked.method == "HEAD" else None)


def _received(client: socket.socket) -> tuple[Asked, bytes]:
    data = b""
    while b"\r\n\r\n" not in data:
        more = client.recv(8192)
        if not more or len(data) > MAX_HEAD:
            raise Refused("not a request")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    asked = read(head)
    while len(body) < asked.length:
        more = client.recv(65536)
        if not more:
            raise Refused(f"{asked}: its body ended early")
        body += more
    if len(body) > asked.length:
        raise Refused(f"{asked}: more was sent than said")
    return asked, body


def _exchange(
    upstream: socket.socket, asked: Asked, headers: dict[str, str], body: bytes
) -> tuple[int, list[tuple[str, str]], bytes]:
    connection = http.client.HTTPConnection(asked.name, asked.port)
    connection.sock = upstream
    connection.auto_open = 0
    connection.putrequest(asked.method, asked.path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name, value)
    if body or not asked.reads:
        connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body or None)
    with connection.getresponse() as reply:
        data = reply.read(MAX_ANSWER + 1)
        if len(data) > MAX_ANSWER:
            raise Refused(f"{asked}: the answer is larger than {MAX_ANSWER} bytes")
        return reply.status, reply.getheaders(), data


@contextmanager
def _cut(upstream: socket.socket, seconds: float) -> Iterator[None]:
    """End the connection when the exchange takes longer: single waits are bounded, but an answer may drip."""
    upstream.settimeout(seconds)

    def cut() -> None:
        with contextlib.suppress(OSError):
            upstream.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _answer(status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Answer"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {_header(value)}" for name, value in headers.items() if name.replace("-", "").isalnum()]
    lines += [f"Content-Length: {length or len(body)}", "Connection: close"]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def _header(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:1000]
