"""The forge as one ASGI application: access log, host check, fault knobs, then API, git or pages."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import logging.handlers
import re
import time
from collections.abc import AsyncIterator, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from factory.devforge import auth, connection, recovery
from factory.devforge.access_log import AccessLog
from factory.devforge.api import describe, dispatch, downloads, misc
from factory.devforge.errors import Refusal, Unauthorized
from factory.devforge.faults import Fault, Faults
from factory.devforge.githttp import GitAnswer, GitBackend, GitRequest
from factory.devforge.store import repos, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.devforge.store.events import Event
from factory.devforge.webhooks import Deliverer, record
from factory.errors import FactoryError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]
App = Callable[[Scope, Receive, Send], Any]
Pages = Callable[["Forge"], App]

DESCRIPTIONS = ("/api/swagger.v1.json", "/swagger.v1.json")
"""What this forge offers; the second is where Forgejo has its own."""
MAX_BODY = 32 * 1024 * 1024
MAX_ASSET = 256 * 1024 * 1024
THREADS = 8

_ASSET = re.compile(r"^/repos/[^/]+/[^/]+/releases/[0-9]+/assets$")
_SECRET = re.compile(r"\b(token|access_token|password|secret)=[^&]*", re.IGNORECASE)
_log = logging.getLogger("factory.devforge")


class Forge:
    """Everything of one running forge. ``pages`` (an ASGI app) gets whatever is neither API nor git."""

    def __init__(self, store: Store, allowed_hosts: frozenset[str], access_log: Path) -> None:
        self.store = store
        self.allowed_hosts = set(allowed_hosts)
        self.doorkeeper = auth.Doorkeeper()
        self.faults = Faults()
        self.deliverer = Deliverer(store, self.faults.take_any)
        self.pages: App | None = None
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="forge")
        self.git = GitBackend(store, self.in_thread)
        self._access = AccessLog(access_log)
        store.listener = self._on_event
        store.wake_deliverer = self.deliverer.wake

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run what blocks (SQLite, libgit2) outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(function, *args))

    def _on_event(self, event: Event) -> None:
        try:
            recorded = record(self.store, event)
        except (Refusal, FactoryError, KeyError, ValueError):
            _log.exception("writing the webhooks of %s", event)  # a hint less; what happened has happened
            return
        if recorded:
            self.store.after_commit(self.deliverer.wake)

    def close(self) -> None:
        self.deliverer.close()
        self._threads.shutdown(wait=True)
        self.store.close()
        self._access.close()

    # ------------------------------------------------------------ requests

    def app(self, *, admin: bool) -> App:
        """The application of one listener; on the admin socket every request acts as the site admin."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self._request(scope, receive, send, admin=admin)

        return serve

    async def _request(self, scope: Scope, receive: Receive, send: Send, *, admin: bool) -> None:
        began = time.monotonic()
        noted = {"status": 0, "user": ""}
        written = False

        def write() -> None:
            nonlocal written
            if not written:
                written = True
                self._access.write(_line(scope, noted, began))

        async def reply(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                noted["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-factory-forge", b"embedded"),
                    (b"date", formatdate(usegmt=True).encode()),
                ]
            elif not message.get("more_body"):
                write()  # before the client can know the answer: whoever counts requests counts this one
            await send(message)

        scope.setdefault("state", {})["noted"] = noted
        try:
            await self._route(scope, receive, reply, admin=admin, noted=noted)
        except ConnectionDropped:
            noted["status"] = 0
            connection.abort(scope)
        except _Replaced as fault:
            await _send(reply, fault.code, {"Content-Type": "text/plain"}, b"a fault knob answered this\n")
        except Exception:
            # A bug outside the API's own net: the client gets a 500 (if nothing was sent yet), the log the traceback.
            _log.exception("%s %s", scope["method"], scope["path"])
            if not noted["status"]:
                await _send(reply, 500, {"Content-Type": "text/plain"}, b"internal error\n")
        finally:
            write()

    async def _route(self, scope: Scope, receive: Receive, send: Send, *, admin: bool, noted: dict[str, Any]) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not admin and headers.get("host", "").lower() not in self.allowed_hosts:
            await _send(send, 421, {"Content-Type": "text/plain"}, b"this host name is not served here\n")
            return
        path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        method: str = scope["method"]
        if not admin and _foreign(headers, self.allowed_hosts):
            # A browser that once logged in to git remembers Basic: no other site may make it use that.
            await _send(send, 403, {"Content-Type": "text/plain"}, b"requests from other sites are refused\n")
            return
        after: list[Fault] = []
        if self.faults and not (admin and path == "/_faults"):
            after = await self._misbehave(method, path, send)
        if after:
            send = _mute
        if path.startswith(dispatch.PREFIX + "/"):
            await self._api(path[len(dispatch.PREFIX) :], scope, headers, receive, send, admin=admin, noted=noted)
        elif path == "/api/forgejo/v1/version":
            body = json.dumps({"version": misc.VERSION}).encode()
            await _send(send, 200, {"Content-Type": "application/json"}, body)
        elif path in DESCRIPTIONS and method == "GET":
            document = await self.in_thread(describe.description)
            await _send(send, 200, {"Content-Type": "application/json"}, json.dumps(document).encode())
        elif path == "/_faults" and admin:
            await self._set_faults(method, receive, send)
        elif path.startswith("/_"):
            await _send(send, 404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        elif (parts := _git_path(path)) is not None:
            await self._git(parts, scope, headers, receive, send, admin=admin, noted=noted)
        elif downloads.asked(path) and (admin or "authorization" in headers):
            actor = await self._actor(headers, admin, noted)
            done = await self.in_thread(downloads.perform, self.store, actor, path)
            await _send(send, *done, head=method == "HEAD")
        elif self.pages is not None and not admin:
            await self.pages(scope, receive, send)
        else:
            await _send(send, 404, {"Content-Type": "text/plain"}, b"404 page not found\n")
        for fault in after:
            if fault.kind == "drop":
                raise ConnectionDropped
            raise _Replaced(fault.code)

    async def _actor(self, headers: dict[str, str], admin: bool, noted: dict[str, Any]) -> Actor:
        if admin:
            actor = Actor(user=await self.in_thread(users.site_admin, self.store), by_socket=True)
        else:
            actor = await self.in_thread(self.doorkeeper.identify, self.store, headers.get("authorization", ""))
        noted["user"] = actor.user.login if actor.user else ""
        return actor

    async def _api(
        self, path: str, scope: Scope, headers: dict[str, str], receive: Receive, send: Send, *, admin: bool,
        noted: dict[str, Any],
    ) -> None:  # fmt: skip
        try:
            actor = await self._actor(headers, admin, noted)
            body = await _body(receive, MAX_ASSET if _ASSET.search(path) else MAX_BODY)
        except Refusal as error:
            await _send(send, *dispatch.refusal(self.store, Actor(), error))
            return
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if admin:
            headers.setdefault("content-type", "application/json")
        done = await self.in_thread(dispatch.perform, self.store, actor, scope["method"], path, query, headers, body)
        await _send(send, *done, head=scope["method"] == "HEAD")

    async def _git(
        self, parts: tuple[str, str, str], scope: Scope, headers: dict[str, str], receive: Receive, send: Send, *,
        admin: bool, noted: dict[str, Any],
    ) -> None:  # fmt: skip
        owner, name, service = parts
        query = parse_qs(scope["query_string"].decode("latin-1"))
        request = GitRequest(scope["method"], service, (query.get("service") or [""])[0], headers, _chunks(receive))
        try:
            actor = await self._actor(headers, admin, noted)
            find = functools.partial(self.git.find, pushes=request.pushes)
            repo = await self.in_thread(find, actor, owner, name)
            answer = await self.git.serve(actor, repo, request)
        except Refusal as error:
            more = {"Content-Type": "text/plain; charset=utf-8"}
            if isinstance(error, Unauthorized):
                more["WWW-Authenticate"] = 'Basic realm="Factory forge"'
            await _send(send, error.status, more, f"{error.message or 'refused'}\n".encode())
            return
        await _send_git(send, answer)

    # ------------------------------------------------------------ faults

    async def _misbehave(self, method: str, path: str, send: Send) -> list[Fault]:
        for fault in self.faults.take("slow", method, path):
            await asyncio.sleep(fault.seconds)
        after: list[Fault] = []
        for kind in ("status", "drop"):
            for fault in self.faults.take(kind, method, path):
                if fault.after:
                    after.append(fault)
                elif kind == "drop":
                    raise ConnectionDropped
                else:
                    raise _Replaced(fault.code)
        return after

    async def _set_faults(self, method: str, receive: Receive, send: Send) -> None:
        try:
            body = json.loads(await _body(receive) or b"{}")
            for window in body.get("checking", []):
                repo = repos.get(self.store, window["owner"], window["repo"])
                self.store.check_for(repo.id, float(window["seconds"]))
            shown = self.faults.show() if method == "GET" else self.faults.replace(body.get("faults", []))
        except (Refusal, ValueError, KeyError, TypeError) as error:
            await _send(send, 422, {"Content-Type": "text/plain"}, f"{error}\n".encode())
            return
        await _send(send, 200, {"Content-Type": "application/json"}, json.dumps(shown).encode())


class ConnectionDropped(Exception):
    """A knob asked for it."""


class _Replaced(Exception):
    """A knob replaces the answer by this status."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _line(scope: Scope, noted: dict[str, Any], began: float) -> dict[str, Any]:
    """What the access log keeps of a request. A token somebody put into the address is not kept."""
    query = scope["query_string"].decode("latin-1")
    return {
        "t": round(time.time(), 3),
        "method": scope["method"],
        "path": scope["path"] + ("?" + _SECRET.sub(r"\1=***", query) if query else ""),
        "status": noted["status"],
        "ms": dispatch.milliseconds(began),
        "user": noted["user"],
    }


def _foreign(headers: dict[str, str], hosts: set[str]) -> bool:
    """Whether a browser says that another site's page made this request (beyond following a link)."""
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return headers.get("sec-fetch-mode") != "navigate" or headers.get("sec-fetch-dest") != "document"
    origin = headers.get("origin", "")
    return bool(origin) and origin.partition("://")[2].lower() not in hosts


async def _mute(_message: MutableMapping[str, Any]) -> None:
    """Where the answer of a request goes whose client is to be left without it."""


async def _send(send: Send, status: int, headers: dict[str, str], body: bytes, *, head: bool = False) -> None:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
    if status not in (204, 304):
        pairs.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": b"" if head or status in (204, 304) else body})


async def _send_git(send: Send, answer: GitAnswer) -> None:
    headers = [
        (b"content-type", answer.content_type.encode()),
        (b"cache-control", b"no-cache, max-age=0, must-revalidate"),
    ]
    if answer.stream is None:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if answer.stream is None:
        await send({"type": "http.response.body", "body": answer.body})
        return
    async with contextlib.aclosing(answer.stream) as stream:  # type: ignore[type-var]
        async for piece in stream:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the client went away")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _body(receive: Receive, most: int = MAX_BODY) -> bytes:
    held = bytearray()
    async for piece in _chunks(receive):
        held += piece
        if len(held) > most:
            raise Refusal(413, "the request is too large")
    return bytes(held)


def _git_path(path: str) -> tuple[str, str, str] | None:
    """(owner, name, service) of ``/owner/name.git/service``; git also asks without ``.git``."""
    parts = path.strip("/").split("/", 2)
    if len(parts) != 3 or parts[2] not in ("info/refs", "git-upload-pack", "git-receive-pack"):
        return None
    return unquote(parts[0]), unquote(parts[1]).removesuffix(".git"), parts[2]


def build_app(home: Path, *, root_url: str = "", hosts: frozenset[str] = frozenset(), strict: bool = True) -> Forge:
    """Open (or make) the forge in ``home`` and bring it into a consistent state. ``root_url`` stands in links."""
    store = Store(home, strict=strict)
    store.root_url = root_url.rstrip("/")
    recovery.recover(store)
    users.site_admin(store)
    return Forge(store, hosts, home / "access.log")
