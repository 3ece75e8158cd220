"""What a run asks the broker for, read strictly, and whether its formula and policy allow it. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from factory.vault.formulas import METHODS, Host

READS = frozenset({"GET", "HEAD"})
HTTPS = 443
MAX_BODY = 8 * 1024 * 1024
_LINE = re.compile(rb"([A-Z]{3,10}) ([!-~]{1,4000}) HTTP/1\.[01]")
_URL = re.compile(r"http://([A-Za-z0-9.-]{1,253})(?::([0-9]{1,5}))?(/[^#]*)?")
_PATH = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@/?%-]*")
_HEADER = re.compile(rb"([A-Za-z0-9-]{1,80}):[ \t]*([\t\x20-\x7e]{0,4000}?)[ \t]*")
PASSED = frozenset({"accept", "accept-language", "content-type", "if-match", "if-none-match", "if-modified-since",
                    "if-unmodified-since", "prefer", "user-agent"})  # fmt: skip
"""Headers of a run that go on; those beginning with ``x-`` too. What chooses a part of an answer, or says who asks,
does not: a secret cut in pieces by the server would not be seen, and credentials are the broker's."""


class Refused(Exception):
    """Why a request goes nowhere; in words for the log and for the run."""


@dataclass(frozen=True)
class Asked:
    """One request. ``name`` without port; ``headers`` are those that go on; ``proof`` is what it says to the broker."""

    method: str
    name: str
    port: int
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int = 0
    proof: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """As formulas and policies write it."""
        return self.name if self.port == HTTPS else f"{self.name}:{self.port}"

    @property
    def reads(self) -> bool:
        return self.method in READS

    def __str__(self) -> str:
        return f"{self.method} {self.host}{self.path.partition('?')[0]}"


def read(head: bytes) -> Asked:
    """The request that begins so (without the empty line). Raises Refused."""
    first, *rows = head.split(b"\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise Refused("not a request")
    method = line[1].decode()
    if method == "CONNECT":
        raise Refused("CONNECT: ask with plain http://, the broker speaks TLS itself")
    if method not in METHODS:
        raise Refused(f"{method}: no method that is offered")
    url = _URL.fullmatch(line[2].decode())
    if url is None:
        raise Refused(f"{method}: only whole addresses http://host/path are taken")
    name, port, path = url[1].lower().rstrip("."), int(url[2] or HTTPS), url[3] or "/"
    if port == 80 and url[2]:
        port = HTTPS  # a client that wrote http's own port means nothing by it
    if not 0 < port < 65536 or ".." in name or not name:
        raise Refused(f"{method}: not a host")
    headers = _headers(rows)
    length = headers.pop("content-length", "0")
    if "transfer-encoding" in headers or not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > MAX_BODY:
        raise Refused(f"{method} {name}: a body has a length, at most {MAX_BODY} bytes")
    kept = {key: value for key, value in headers.items() if key in PASSED or key.startswith("x-")}
    proof = headers.get("proxy-authorization", "")
    return Asked(method, name, port, _path(path, f"{method} {name}"), kept, int(length), proof)


def _headers(rows: Sequence[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for row in rows:
        match = _HEADER.fullmatch(row)
        if match is None or match[1].lower().decode() in found:
            raise Refused("a header that is none, or stands twice")
        found[match[1].lower().decode()] = match[2].decode()
    return found


def _path(path: str, what: str) -> str:
    """The path when no two readers could take it for different ones. Raises Refused."""
    plain = path.partition("?")[0]
    decoded = unquote_to_bytes(plain)
    parts = decoded.split(b"/")[1:]
    odd = any(part in (b".", b"..") for part in parts) or b"" in parts[:-1] or b"\\" in decoded or b"%" in decoded
    hidden = re.search(r"%(?:2f|5c|00)", plain, re.IGNORECASE) or any(byte < 0x20 or byte == 0x7F for byte in decoded)
    if not _PATH.fullmatch(path) or re.search(r"%(?![0-9A-Fa-f]{2})", path) or odd or hidden:
        raise Refused(f"{what}: a path that can be read in two ways")
    return path


def allowed(asked: Asked, hosts: Sequence[Host], never: Collection[str]) -> None:
    """Raises Refused unless one of ``hosts`` names method, host and beginning of the path. ``never``: names that stay
    closed whatever is allowed."""
    if asked.name in {name.lower().rstrip(".") for name in never}:
        raise Refused(f"{asked}: {asked.name} is the forge; a run has no way to it")
    if not any(_fits(asked, host) for host in hosts):
        known = ", ".join(sorted({f"{host.method} {host.host}{host.path}" for host in hosts}))
        raise Refused(f"{asked}: not among what formula and policy allow ({known[:300] or 'nothing'})")


def _fits(asked: Asked, host: Host) -> bool:
    name = host.host.removesuffix(f":{HTTPS}")
    same = asked.host == name or (name.startswith("*.") and asked.host.endswith(name[1:]))
    path = asked.path.partition("?")[0]
    below = path == host.path or path.startswith(host.path if host.path.endswith("/") else f"{host.path}/")
    return asked.method == host.method and same and below
