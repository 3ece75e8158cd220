"""Sends one message: the only place that speaks HTTP to a channel. What went wrong is said without its secrets.

The transport is used without httpx's client, which would write addresses into a log, and the address of a webhook or a
bot is its secret. No redirect is followed and no proxy of the environment is used.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from factory import __version__
from factory.forge.client import authorities
from factory.forge.redact import Redactor
from factory.notify.channel import Channel
from factory.notify.dialects import outgoing
from factory.notify.words import Message
from factory.ops.markdown import plain

TIMEOUT_S = 10.0
MOST_BYTES = 4096
_REFUSED = frozenset({400, 413, 422})
"""What a channel says of a message that it does not like."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True)
class Fate:
    """What became of a message. ``why`` empty: it arrived."""

    why: str = ""
    perhaps: bool = False
    """It may have arrived all the same."""
    refused: bool = False
    """Because of what it says."""
    wait: timedelta | None = None
    """The channel's own wish."""


def post(
    channel: Channel, message: Message, *, timeout_s: float = TIMEOUT_S, clock: Callable[[], float] = time.monotonic
) -> Fate:
    """Send it, once. ``timeout_s`` bounds each wait, twice that the whole. Never raises for what a network may do."""
    asked = outgoing(channel, message)
    redact = Redactor(channel.secrets)
    request = httpx.Request(
        "POST", asked.url, content=json.dumps(asked.body, ensure_ascii=False).encode("utf-8", "replace"),
        headers={"Content-Type": "application/json", "User-Agent": f"ops-factory/{__version__}", **asked.headers},
        extensions={"timeout": httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)).as_dict()},
    )  # fmt: skip
    until = clock() + 2 * timeout_s
    secure = request.url.scheme == "https"
    try:
        with closing(httpx.HTTPTransport(verify=authorities() if secure else False, trust_env=False)) as transport:
            response = transport.handle_request(request)
            with closing(response):
                return _judged(response, _body(response, until, clock), redact)
    except httpx.TransportError as error:
        words = redact(plain(str(error), 120)) or type(error).__name__
        return Fate(f"{channel.place} cannot be reached: {words}", perhaps=not isinstance(error, _NEVER_SENT))


def _body(response: httpx.Response, until: float, clock: Callable[[], float]) -> bytes:
    """The beginning of what it answered, as far as it came in time."""
    body = b""
    for part in response.iter_raw():
        body += part
        if len(body) >= MOST_BYTES or clock() > until:
            break
    return body[:MOST_BYTES]


def _judged(response: httpx.Response, body: bytes, redact: Redactor) -> Fate:
    status = response.status_code
    data = _data(body)
    if 200 <= status < 300:
        return Fate()
    if 300 <= status < 400:
        return Fate(f"it answers {status}: it sends us elsewhere, and a message with its secret follows nobody")
    words = data.get("description") or data.get("error") or data.get("message") or body.decode("utf-8", "replace")
    said = redact(plain(str(words), 120))
    wait = _wait(response, data) if status == 429 else None
    return Fate(f"it answers {status}" + (f": {said}" if said else ""), status >= 500, status in _REFUSED, wait)


def _data(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _wait(response: httpx.Response, data: dict[str, Any]) -> timedelta | None:
    parameters = data.get("parameters")
    told = parameters.get("retry_after") if isinstance(parameters, dict) else response.headers.get("Retry-After")
    try:
        return timedelta(seconds=max(0, min(3600, int(str(told)))))
    except ValueError:
        return None  # a date, or nothing: our own pause does
