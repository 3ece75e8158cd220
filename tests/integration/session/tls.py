"""A TLS server that needs no certificate (anonymous key exchange), and the client's half of that agreement."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

CIPHER = "AECDH-AES128-SHA:@SECLEVEL=0"

CLIENT = f"""
import ssl
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.maximum_version = ssl.TLSVersion.TLSv1_2
context.set_ciphers("{CIPHER}")
"""
"""Python that makes ``context``, for here and for programs in a sandbox."""


def client() -> ssl.SSLContext:
    scope: dict[str, ssl.SSLContext] = {}
    exec(CLIENT, scope)
    return scope["context"]


class TlsServer:
    """Answers every request over TLS with its body, upper-cased, and remembers which host was named."""

    def __init__(self) -> None:
        self.named: list[str | None] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.maximum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_ciphers(CIPHER)
        self._context.sni_callback = self._on_name
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def _on_name(self, _socket: object, name: str | None, _context: object) -> None:
        self.named.append(name)

    def __enter__(self) -> TlsServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError), self._context.wrap_socket(raw, server_side=True) as connection:
            head, body = b"", b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65536) or _ended()
            head, _, body = head.partition(b"\r\n\r\n")
            size = next(
                (
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length:")
                ),
                0,
            )
            while len(body) < size:
                body += connection.recv(65536) or _ended()
            said = body.upper() or b"HELLO"
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(said), said)
            )


def _ended() -> bytes:
    raise OSError("the client went away")
