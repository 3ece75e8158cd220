"""The Forgejo client: the only place that speaks HTTP to a forge.

Every request is bounded in time and size, every message is free of credentials, nothing but reads is ever repeated on
its own (a request that never left is not a repetition).
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit
from weakref import WeakSet

import httpx

from factory.errors import ForgeError, ForgeRefused, ForgeUnavailable, NotFound
from factory.forge import decode
from factory.forge.calls import Query, Reply, at
from factory.forge.issues import IssueCalls
from factory.forge.merge import MergeCalls
from factory.forge.packs import AGENT, PackCalls
from factory.forge.redact import Redactor, basic_header
from factory.forge.releases import ReleaseCalls
from factory.forge.retry import MERGES, READ_AGAIN, READS, Backoff
from factory.forge.settings import SettingsCalls
from factory.forge.values import ForgeVersion, Repo, RepoName, User
from factory.forge.watchdog import Watchdog

TIMEOUT_S = 20.0
MOST_BYTES = 32 * 1024 * 1024
EMBEDDED_HEADER = "x-factory-forge"
"""The embedded forge says who it is in this header, so that its version can read like Forgejo's."""
_SLOW = 128 * 1024
"""Bytes a second that a transfer of files may be as slow as."""
_WATCHDOG = Watchdog()
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@cache
def authorities() -> ssl.SSLContext:
    """Whose certificates count. Read once for all clients: it takes longer than most requests."""
    return httpx.create_ssl_context()


@cache
def _nobody() -> ssl.SSLContext:
    """For a forge that is spoken to in the clear: no certificate counts, as none is asked for."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class ForgejoClient(PackCalls, IssueCalls, MergeCalls, ReleaseCalls, SettingsCalls):
    """One account on one Forgejo (11 to 16) or embedded forge. Safe to use from several threads.

    ``token`` or ``basic`` (user, password) authenticates; with neither, and with ``uds``, the socket itself does.
    ``timeout_s`` bounds every wait for the network; a whole answer may take three times as long. ``clock`` is a
    monotonic clock in seconds, ``sleep`` waits between repeated reads.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        basic: tuple[str, str] | None = None,
        uds: Path | None = None,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        reads: Backoff = READS,
        merges: Backoff = MERGES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self.url = url.rstrip("/")
        self.reads, self.merges = reads, merges
        self._timeout, self._clock, self._sleep, self._most = timeout_s, clock, sleep, most_bytes
        self._lock = threading.Lock()
        self._requests = 0
        self._server_time: datetime | None = None
        self._server_header = ""
        self._renamed: dict[RepoName, RepoName] = {}
        self._sockets: WeakSet[socket.socket] = WeakSet()
        secrets = [token or "", *(basic or ()), basic_header(*basic)[6:] if basic else ""]
        if token:
            secrets.append(basic_header("token", token)[6:])
            self._auth, self._git_auth = f"token {token}", basic_header("token", token)
        else:
            self._auth = self._git_auth = basic_header(*basic) if basic else ""
        self._redact = Redactor(secrets)
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(
                verify=authorities() if urlsplit(self.url).scheme == "https" else _nobody(),
                uds=str(uds) if uds else None,
                # Shorter than any server's, so that a write is not lost on a connection that is just being closed.
                limits=httpx.Limits(max_connections=16, max_keepalive_connections=4, keepalive_expiry=2.0),
            ),
            timeout=httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
            trust_env=False,
            follow_redirects=False,
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},
        )

    def __repr__(self) -> str:
        return f"ForgejoClient({self._redact(self.url)!r})"

    def __enter__(self) -> ForgejoClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    @property
    def requests(self) -> int:
        """HTTP requests sent so far, repeated ones included."""
        return self._requests

    @property
    def server_time(self) -> datetime | None:
        return self._server_time

    def wait(self, seconds: float) -> None:
        self._sleep(seconds)

    # about the server and the account
    def version(self) -> ForgeVersion:
        data = decode.record(self.get("/version", doing="asking the forge for its version"))
        return decode.version(data, embedded=bool(self._server_header))

    def me(self) -> User:
        """The account of this token. Refused (403) to a token limited to repos, which may not read users."""
        return decode.user(self.get("/user", doing="asking the forge who this token is"))

    def repo(self, repo: RepoName) -> Repo:
        return decode.repo(decode.record(self.get(at(repo), doing=f"reading {repo}")))

    # transport
    def ask(self, method: str, path: str, *, doing: str, query: Query | None = None, body: object = None) -> Reply:
        """One request to the API, with this account's token; only a GET is repeated.

        ``doing`` is what an error says was being done. Raises ForgeUnavailable, ForgeRefused, NotFound.
        """
        for old, new in tuple(self._renamed.items()):
            path = _moved(path, old, new)
        url = f"{self.url}/api/v1{path}" + (f"?{httpx.QueryParams(dict(query))}" if query else "")
        content = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"} | ({} if content is None else {"Content-Type": "application/json"})
        for _ in range(4):
            if method == "GET":
                reply = self._repeated(method, url, doing, headers=headers, auth=self._auth)
            else:
                reply = self._once(method, url, doing, headers=headers, auth=self._auth, content=content)
            if reply.status not in (301, 302, 307, 308):
                return reply
            url = self._redirected(method, url, path, reply, doing)
        raise ForgeError(f"{doing}: the forge redirects in a circle")

    def rpc(self, repo: RepoName, service: str, *, doing: str, content: bytes) -> Reply:
        """One POST of git's smart HTTP to ``git-upload-pack`` (a read, repeated) or ``git-receive-pack`` (sent once).

        The address is never followed anywhere else. Raises ForgeUnavailable, ForgeRefused, NotFound.
        """
        owner, name = at(repo).split("/")[2:4]
        url = f"{self.url}/{owner}/{name}.git/{service}"
        headers = {"Content-Type": f"application/x-{service}-request", "Accept": f"application/x-{service}-result"}
        if service == "git-upload-pack":
            headers["Git-Protocol"] = "version=2"
            reply = self._repeated("POST", url, doing, headers=headers, auth=self._git_auth, content=content)
        else:
            reply = self._once("POST", url, doing, headers=headers, auth=self._git_auth, content=content,
                               more_s=len(content) / _SLOW)  # fmt: skip
        if reply.status in (301, 302, 307, 308):  # git of the factory follows none either
            hint = "give it its name back, or set the factory up for the new one"
            raise ForgeError(f"{doing}: the forge sends us elsewhere: the repo was renamed or moved", hint=hint)
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return reply

    def upload(self, path: str, *, doing: str, data: bytes, query: Query) -> Reply:
        """POST bytes below the API, once; the time allowed grows with their size."""
        url = f"{self.url}/api/v1{path}?{httpx.QueryParams(dict(query))}"
        sent = {"Accept": "application/json", "Content-Type": "application/octet-stream"}
        return self._once("POST", url, doing, headers=sent, auth=self._auth, content=data, more_s=len(data) / _SLOW)

    def download(self, path: str, *, doing: str, most: int) -> Reply:
        """GET bytes outside of the API, at most ``most``; never followed anywhere else."""
        url = f"{self.url}{path}"
        return self._once("GET", url, doing, headers={}, auth=self._auth, most=most, more_s=most / _SLOW)

    def _redirected(self, method: str, url: str, path: str, reply: Reply, doing: str) -> str:
        """Where to ask instead. A renamed repo answers 301, which would turn a write into a read: look it up first."""
        target = urljoin(url, reply.headers.get("location", ""))
        if urlsplit(target)[:2] != urlsplit(self.url)[:2]:
            # Following would hand the token to whoever is named there.
            raise ForgeRefused(
                f"{doing}: the forge redirects to {self._redact('/'.join(target.split('/', 3)[:3]))}",
                status=reply.status,
                hint="if that is the forge's new address, use it",
            )
        if method == "GET":
            return target
        parts = path.split("?")[0].split("/")
        if len(parts) < 4 or parts[1] != "repos":
            raise self.refusal(reply, doing)
        old = RepoName(*(httpx.URL("/" + part).path[1:] for part in parts[2:4]))
        new = self.repo(old).name
        if new == old or not new.name:
            raise self.refusal(reply, doing)
        with self._lock:
            self._renamed[old] = new
        return url.replace(at(old), at(new), 1)

    def _repeated(
        self, method: str, url: str, doing: str, *, headers: dict[str, str], auth: str, content: bytes | None = None
    ) -> Reply:
        """A read, repeated in bounds while the answer is a passing trouble."""
        waits = self.reads.waits()
        while True:
            wait = next(waits, None)
            try:
                reply = self._once(method, url, doing, headers=headers, auth=auth, content=content)
                if reply.status not in READ_AGAIN or wait is None:
                    return reply
                asked = reply.headers.get("retry-after", "")
                if asked.isdigit():
                    if int(asked) > self.reads.total:
                        return reply
                    wait = max(wait, float(asked))
            except ForgeUnavailable:
                if wait is None:
                    raise
            self._sleep(wait)

    def _once(
        self, method: str, url: str, doing: str, *, headers: dict[str, str], auth: str, content: bytes | None = None,
        most: int | None = None, more_s: float = 0.0,
    ) -> Reply:  # fmt: skip
        """One request, sent again only when it provably never left."""
        sent = headers | ({"Authorization": auth} if auth else {})
        bounds = (most or self._most, 3 * self._timeout + more_s)
        try:
            try:
                return self._exchange(method, url, doing, sent, content, *bounds)
            except _NEVER_SENT:
                if method == "GET":
                    raise
                self._sleep(self.reads.first)
                return self._exchange(method, url, doing, sent, content, *bounds)
        except _NEVER_SENT as error:
            raise ForgeUnavailable(
                f"{doing}: cannot reach the forge at {self._redact(self.url)}: {self._redact(str(error))}",
                hint="is it running, and is the address right?",
            ) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fate = "" if method == "GET" or url.endswith("/git-upload-pack") else "; whether it was done is not known"
            raise ForgeUnavailable(
                f"{doing}: no usable answer from {self._redact(self.url)} ({type(error).__name__}){fate}"
            ) from None

    def _exchange(
        self, method: str, url: str, doing: str, headers: dict[str, str], content: bytes | None, most: int,
        seconds: float,
    ) -> Reply:  # fmt: skip
        with self._lock:
            self._requests += 1
        until = self._clock() + seconds
        watch = {"trace": self._note_socket}
        with (
            _WATCHDOG.within(seconds, self._cut),  # single waits are bounded, but headers may drip
            self._http.stream(method, url, headers=headers, content=content, extensions=watch) as answer,
        ):
            got = b"".join(self._bounded(answer.iter_bytes(), until, doing, most))
            seen = {key.lower(): value for key, value in answer.headers.items()}
            with self._lock:
                self._server_time = _date(seen.get("date")) or self._server_time
                self._server_header = seen.get(EMBEDDED_HEADER, "") or self._server_header
            return Reply(answer.status_code, got, seen)

    def _note_socket(self, event: str, info: Mapping[str, Any]) -> None:
        """Remember each connection made, so that one that only drips can be cut."""
        if event.endswith(("connect_tcp.complete", "connect_unix_socket.complete", "start_tls.complete")):
            connection = info["return_value"].get_extra_info("socket")
            if isinstance(connection, socket.socket):
                self._sockets.add(connection)

    def _cut(self) -> None:
        for connection in tuple(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _bounded(self, chunks: Iterator[bytes], until: float, doing: str, most: int) -> Iterator[bytes]:
        size = 0
        for chunk in chunks:
            size += len(chunk)
            if size > most:
                raise ForgeError(f"{doing}: the answer is larger than {most} bytes")
            if self._clock() > until:
                raise httpx.ReadTimeout("the answer takes too long")
            yield chunk

    def redacted(self, text: str) -> str:
        return self._redact(text)

    def refusal(self, reply: Reply, doing: str) -> ForgeError:
        """The error that an answer of 400 or more stands for, with a hint."""
        detail = self._redact(reply.message)[:500]
        said = f"{doing}: the forge answered {reply.status}" + (f": {detail}" if detail else "")
        if reply.status >= 500 or reply.status == 429:
            return ForgeUnavailable(said, hint="look at the forge's log")
        if reply.status == 401:
            return ForgeRefused(
                said,
                status=401,
                detail=detail,
                hint="the token is not valid there (any more): run the set-up again to mint one",
            )
        if reply.status == 403 and "scope" in detail:
            return ForgeRefused(
                said, status=403, detail=detail, hint="the token lacks a scope: run the set-up again to mint one"
            )
        if reply.status == 404:
            return NotFound(said, status=404, detail=detail, hint="it does not exist, or this account may not see it")
        return ForgeRefused(said, status=reply.status, detail=detail)


def _moved(path: str, old: RepoName, new: RepoName) -> str:
    """The path below the repo's new name."""
    was = at(old)
    return at(new) + path[len(was) :] if path == was or path.startswith(was + "/") else path


def _date(header: str | None) -> datetime | None:
    if not header:
        return None
    try:
        return parsedate_to_datetime(header).astimezone(UTC)
    except (ValueError, TypeError):
        return None
