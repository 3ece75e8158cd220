"""Requests through the broker: plain HTTP on our side, it speaks TLS and adds the credentials on the other."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from factory.vault.run.inside import given, layout

TIMEOUT_S = 90.0
MAX_BODY = 16 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """Header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


def ask(
    method: str, host: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One request, never followed anywhere. Ends the step where no answer came, or the broker refuses it."""
    proxy = urlsplit(os.environ["http_proxy"])
    own = {**(headers or {}), "Proxy-Authorization": layout.proof(proxy.password or "")}
    connection = http.client.HTTPConnection("127.0.0.1", layout.PORT, timeout=TIMEOUT_S)
    try:
        connection.request(method, f"http://{host}{path}", body=body, headers=own)
        reply = connection.getresponse()
        data = reply.read(MAX_BODY + 1)
    except (OSError, http.client.HTTPException) as error:
        given.fail(f"{method} {host}{path}: no answer: {type(error).__name__}")
    finally:
        connection.close()
    told = {name.lower(): value for name, value in reply.getheaders()}
    if "x-factory-refused" in told:
        given.fail(f"{method} {host}{path}: refused: {told['x-factory-refused']}")
    if len(data) > MAX_BODY:
        given.fail(f"{method} {host}{path}: the answer is larger than {MAX_BODY} bytes")
    given.say(f"{method} {host}{path}: {reply.status}, {len(data)} bytes")
    return Answer(reply.status, told, data)
