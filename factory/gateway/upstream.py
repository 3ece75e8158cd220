"""One call to a provider's real endpoint: sent with the gateway's key, passed on piece by piece, metered on the way."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from factory.gateway import anthropic_answer, openai_answer
from factory.gateway.config import BackendConfig
from factory.gateway.dialogue import Asked
from factory.gateway.redact import Redactor
from factory.gateway.sse import Splitter
from factory.gateway.values import FactKind

if TYPE_CHECKING:
    import httpx

CONNECT_S = 15.0
TOTAL_S = 1_800.0
"""For one whole answer, however lively its stream."""
MAX_ERROR = 100_000
LONGEST_WAIT_S = 7 * 86_400.0
MAX_ANSWER = 64_000_000

Reader = anthropic_answer.Reader | openai_answer.Reader


class UpstreamFailed(Exception):
    """The provider gave no answer. ``status`` is what the session is told; ``billed`` whether it may cost money."""

    def __init__(
        self, kind: FactKind, message: str, *, status: int, retry_after_s: float | None = None, billed: bool = False
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.billed = billed


@dataclass
class Exchange:
    """An accepted call whose answer is arriving."""

    response: httpx.Response
    reader: Reader
    redact: Redactor
    stream: bool

    async def pieces(self) -> AsyncIterator[bytes]:
        """The answer's bytes as they may be passed on. Raises ``UpstreamFailed`` when it stalls or breaks off."""
        import httpx

        try:
            async with asyncio.timeout(TOTAL_S):
                if not self.stream:
                    yield self._whole(await _capped(self.response, MAX_ANSWER))
                    return
                splitter = Splitter()
                async for chunk in self.response.aiter_raw():
                    for raw, data in splitter.feed(chunk):
                        if data:
                            self.reader.feed(data)
                        yield self.redact.exact(raw)
                        if self.reader.ended:
                            return  # whether or not the provider closes its side
        except httpx.TimeoutException as error:
            raise UpstreamFailed(FactKind.UPSTREAM, "the provider's stream stalled", status=504, billed=True) from error
        except (httpx.HTTPError, ValueError) as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM, f"the provider's stream broke off ({type(error).__name__})", status=502, billed=True
            ) from error
        except TimeoutError as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM, f"the answer took longer than {TOTAL_S:.0f} s", status=504, billed=True
            ) from error
        if self.reader.error:
            raise UpstreamFailed(
                _kind_of(self.reader.error),
                f"the provider said: {self.redact(self.reader.error)[:500]}",
                status=502,
                billed=True,
            )
        if self.reader.got.stop == "cut":
            raise UpstreamFailed(FactKind.UPSTREAM, "the provider's stream ended early", status=502, billed=True)

    def _whole(self, raw: bytes) -> bytes:
        body = json.loads(raw)
        if not isinstance(body, dict):
            raise ValueError("not an object")
        self.reader.whole(body)
        return self.redact.exact(raw)


class Upstream:
    """The client of one backend. Made on first use: an idle or scripted gateway has no TLS stack in memory."""

    def __init__(self, backend: BackendConfig) -> None:
        self._backend = backend
        self._client: httpx.AsyncClient | None = None
        self.redact = Redactor()

    def key(self) -> str | None:
        """The provider's key, read at each call, so that a rotated file counts at once. Raises ``UpstreamFailed``."""
        if self._backend.key_file is None:
            return None
        try:
            key = self._backend.key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM, f"the gateway cannot read the key of backend {self._backend.name!r}", status=400
            ) from error
        self.redact = Redactor([key])
        return key

    @asynccontextmanager
    async def call(self, asked: Asked, max_tokens: int) -> AsyncIterator[Exchange]:
        """Sends ``asked``. Raises ``UpstreamFailed`` when the provider does not accept it."""
        import httpx

        body = dict(asked.body)
        for name in ("max_tokens", "max_completion_tokens"):
            if name in body:
                body[name] = max_tokens
        anthropic = asked.api == "anthropic"
        base = self._backend.url or ""
        url = f"{base}/v1/messages" if anthropic else f"{base}/chat/completions"
        request = self._http().build_request(
            "POST", url, content=json.dumps(body, ensure_ascii=False).encode(), headers=self._headers(asked)
        )
        try:
            response = await self._http().send(request, stream=True)
        except httpx.ConnectError as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM, f"the provider of {self._backend.name!r} cannot be reached", status=502
            ) from error
        except httpx.TimeoutException as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM, "the provider did not answer in time", status=504, billed=True
            ) from error
        except httpx.HTTPError as error:
            raise UpstreamFailed(
                FactKind.UPSTREAM,
                f"the provider's answer could not be read ({type(error).__name__})",
                status=502,
                billed=True,
            ) from error
        try:
            if response.status_code != 200:
                raise await self._failure(response)
            reader: Reader = anthropic_answer.Reader() if anthropic else openai_answer.Reader()
            yield Exchange(response, reader, self.redact, asked.stream)
        finally:
            await response.aclose()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            import httpx

            stall = self._backend.stall_s
            timeout = httpx.Timeout(stall, connect=CONNECT_S, pool=stall, read=stall, write=60.0)
            self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=False)
        return self._client

    def _headers(self, asked: Asked) -> dict[str, str]:
        headers = {
            "content-type": "application/json",
            "accept": "text/event-stream" if asked.stream else "application/json",
            "accept-encoding": "identity",
            "user-agent": "ops-factory-gateway",
        }
        key = self.key()
        if asked.api == "anthropic":
            headers["anthropic-version"] = "2023-06-01"
            if asked.betas:
                headers["anthropic-beta"] = ",".join(asked.betas)
            if key is not None:
                headers["x-api-key"] = key
        elif key is not None:
            headers["authorization"] = f"Bearer {key}"
        return headers

    async def _failure(self, response: httpx.Response) -> UpstreamFailed:
        """What a status other than 200 means. The provider's words are shown, redacted and capped."""
        import httpx

        status = response.status_code
        try:
            raw = (await _capped(response, MAX_ERROR)).decode("utf-8", "replace")
        except (httpx.HTTPError, ValueError):
            raw = ""
        said = self.redact(_message_in(raw))[:500]
        wait = _retry_after(response)
        if status in (429, 529) or "insufficient_quota" in raw:
            return UpstreamFailed(
                FactKind.QUOTA,
                f"the provider is out of quota or overloaded ({status}): {said}",
                status=429 if status not in (429, 529) else status,
                retry_after_s=wait,
            )
        if status in (401, 403):
            return UpstreamFailed(FactKind.UPSTREAM, f"the provider refused the gateway's key ({status})", status=400)
        if status >= 500:
            return UpstreamFailed(
                FactKind.UPSTREAM, f"the provider failed ({status}): {said}", status=status, retry_after_s=wait
            )
        return UpstreamFailed(
            FactKind.UPSTREAM,
            f"the provider refused the request ({status}): {said}",
            status=status if 400 <= status < 500 else 502,
        )


async def _capped(response: httpx.Response, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > limit:
            raise ValueError("the provider's answer is too long")
        pieces.append(chunk)
    return b"".join(pieces)


def _message_in(raw: str) -> str:
    try:
        error = json.loads(raw).get("error")
        return str(error.get("message") if isinstance(error, dict) else error or raw)
    except (ValueError, AttributeError):
        return re.sub(r"\s+", " ", raw)


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, from either form that HTTP allows (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after", "")
    try:
        wait = float(value)
    except ValueError:
        try:
            wait = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return None if math.isnan(wait) else min(max(wait, 0.0), LONGEST_WAIT_S)


def _kind_of(message: str) -> FactKind:
    quota = re.search(r"overloaded|rate.?limit|quota", message, re.IGNORECASE)
    return FactKind.QUOTA if quota else FactKind.UPSTREAM
