"""The forge as one ASGI application, and the process around it: two listeners, one of them the admin socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import logging.handlers
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from factory.devforge import auth, moves, receive
from factory.devforge.api import dispatch
from factory.devforge.errors import Refusal, Unauthorized
from factory.devforge.faults import Fault, Faults
from factory.devforge.githttp import GitAnswer, GitBackend, GitRequest
from factory.devforge.store import pulls, repos, users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.devforge.store.events import Event
from factory.devforge.webhooks import Deliverer, record
from factory.git import objects

Scope = MutableMapping[str, Any]
Receive = Callable[[], Any]
Send = Callable[[MutableMapping[str, Any]], Any]
App = Callable[[Scope, Receive, Send], Any]
Pages = Callable[["Forge"], App]

MAX_BODY = 32 * 1024 * 1024
THREADS = 8
ADMIN_SOCKET = "admin.sock"

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
        self._access = open(access_log, "ab", buffering=0)  # noqa: SIM115 lives as long as the process
        store.listener = self._on_event
        store.wake_deliverer = self.deliverer.wake

    async def in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run what blocks (SQLite, libgit2) outside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, functools.partial(function, *args))

    def _on_event(self, event: Event) -> None:
        if record(self.store, event):
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

        async def reply(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                noted["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-factory-forge", b"embedded"),
                    (b"date", formatdate(usegmt=True).encode()),
                ]
            await send(message)

        scope.setdefault("state", {})["noted"] = noted
        try:
            await self._route(scope, receive, reply, admin=admin, noted=noted)
        except ConnectionDropped:
            noted["status"] = 0
            _abort(scope)
        except _Replaced as fault:
            await _send(reply, fault.code, {"Content-Type": "text/plain"}, b"a fault knob answered this\n")
        except Exception:
            # A bug outside the API's own net: the client gets a 500 (if nothing was sent yet), the log the traceback.
            _log.exception("%s %s", scope["method"], scope["path"])
            if not noted["status"]:
                await _send(reply, 500, {"Content-Type": "text/plain"}, b"internal error\n")
        finally:
            line = {
                "t": round(time.time(), 3),
                "method": scope["method"],
                "path": scope["path"]
                + (f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""),
                "status": noted["status"],
                "ms": dispatch.milliseconds(began),
                "user": noted["user"],
            }
            self._access.write(json.dumps(line).encode() + b"\n")

    async def _route(self, scope: Scope, receive: Receive, send: Send, *, admin: bool, noted: dict[str, Any]) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if not admin and headers.get("host", "").lower() not in self.allowed_hosts:
            await _send(send, 421, {"Content-Type": "text/plain"}, b"this host name is not served here\n")
            return
        path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        method: str = scope["method"]
        after: list[Fault] = []
        if self.faults and not (admin and path == "/_faults"):
            after = await self._misbehave(method, path, send)
        if after:
            send = _mute
        if path.startswith(dispatch.PREFIX + "/"):
            await self._api(path[len(dispatch.PREFIX) :], scope, headers, receive, send, admin=admin, noted=noted)
        elif path == "/_faults" and admin:
            await self._set_faults(method, receive, send)
        elif (parts := _git_path(path)) is not None:
            await self._git(parts, scope, headers, receive, send, admin=admin, noted=noted)
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
            body = await _body(receive)
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


async def _body(receive: Receive) -> bytes:
    held = bytearray()
    async for piece in _chunks(receive):
        held += piece
        if len(held) > MAX_BODY:
            raise Refusal(413, "the request is too large")
    return bytes(held)


def _git_path(path: str) -> tuple[str, str, str] | None:
    """(owner, name, service) of ``/owner/name.git/service``; git also asks without ``.git``."""
    parts = path.strip("/").split("/", 2)
    if len(parts) != 3 or parts[2] not in ("info/refs", "git-upload-pack", "git-receive-pack"):
        return None
    return unquote(parts[0]), unquote(parts[1]).removesuffix(".git"), parts[2]


# ---------------------------------------------------------------- the process


class _Protocol(H11Protocol):
    """uvicorn's, except that a request can reach its connection (to drop it)."""

    live: dict[Any, asyncio.Transport] = {}  # noqa: RUF012 shared on purpose

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.live[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.live.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


def _abort(scope: Scope) -> None:
    transport = _Protocol.live.get(tuple(scope["client"] or ()))
    if transport is not None:
        transport.abort()


class _Listener(uvicorn.Server):
    """A uvicorn server that sleeps until it is told to stop, instead of waking ten times a second."""

    def __init__(self, config: uvicorn.Config, stop: asyncio.Event) -> None:
        super().__init__(config)
        self._stop = stop

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # the process handles them once for both listeners

    async def main_loop(self) -> None:
        await self._stop.wait()


def build_app(home: Path, *, root_url: str = "", hosts: frozenset[str] = frozenset(), strict: bool = True) -> Forge:
    """Open (or make) the forge in ``home`` and bring it into a consistent state. ``root_url`` stands in links."""
    store = Store(home, strict=strict)
    store.root_url = root_url.rstrip("/")
    _find_renamed(store)
    receive.sweep(home)
    moves.recover(store)
    _pull_refs(store)
    users.site_admin(store)
    return Forge(store, hosts, home / "access.log")


def _find_renamed(store: Store) -> None:
    """A kill in the middle of a rename leaves the folder under the other name: find it by the id inside."""
    for repo in repos.every(store):
        if repo.path.exists():
            continue
        for marker in (store.home / "repos").glob("*/*.git/factory-repo-id"):
            if marker.read_text().strip() == str(repo.id):
                repo.path.parent.mkdir(exist_ok=True)
                marker.parent.rename(repo.path)
                break


def _pull_refs(store: Store) -> None:
    """``refs/pull/N/head`` of open pull requests follows from their rows: set again what a kill kept from being set."""
    for repo in repos.every(store):
        rows = store.all(
            "SELECT i.number, p.head_sha FROM pulls p JOIN issues i ON i.id = p.issue_id"
            " WHERE i.repo_id = ? AND i.state = 'open'",
            repo.id,
        )
        if not rows:
            continue
        have = objects.list_refs(repo.path, "refs/pull/")
        for row in rows:
            ref = pulls.pull_ref(row["number"])
            if have.get(ref) != row["head_sha"]:
                objects.update_ref(repo.path, ref, row["head_sha"])


def serve(
    home: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    url: str = "",
    allow_hosts: tuple[str, ...] = (),
    strict: bool = True,
    pages: Pages | None = None,
) -> None:
    """Run until SIGTERM or SIGINT. Prints one JSON line with address and pid as soon as requests are served.

    Raises OSError when the port is taken or another forge serves this home.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    _log_to(home / "forge.log")
    with _only_one(home):
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=128
        )
        bound = listener.getsockname()[1]
        root = url or f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        names = {f"{name}:{bound}" for name in ("127.0.0.1", "localhost", "[::1]")} | set(allow_hosts)
        names.add(root.partition("://")[2].partition("/")[0].lower())
        forge = build_app(home, root_url=root, hosts=frozenset(names), strict=strict)
        if pages is not None:
            forge.pages = pages(forge)
        try:
            asyncio.run(
                _run(forge, listener, home, {"url": root, "pid": os.getpid(), "admin": str(home / ADMIN_SOCKET)})
            )
        finally:
            forge.close()


async def _run(forge: Forge, listener: socket.socket, home: Path, facts: dict[str, Any]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    admin = _unix_listener(home / ADMIN_SOCKET)
    running = []
    for sock, is_admin in ((listener, False), (admin, True)):
        config = uvicorn.Config(
            forge.app(admin=is_admin), http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, date_header=False, timeout_keep_alive=30, timeout_graceful_shutdown=3, proxy_headers=False,
        )  # fmt: skip
        running.append(asyncio.ensure_future(_Listener(config, stop).serve(sockets=[sock])))
    forge.deliverer.wake()
    # Both sockets listen already: whoever connects from now on waits at most for the loop.
    print(json.dumps({"factory.devforge/v1": facts}), flush=True)  # noqa: T201 the starter reads this line
    await asyncio.gather(*running)
    with contextlib.suppress(FileNotFoundError):
        (home / ADMIN_SOCKET).unlink()


def _unix_listener(path: Path) -> socket.socket:
    """The admin socket, 0600 from its first moment. A path too long for the kernel is reached through its folder."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        made.bind(str(path) if len(str(path)) < 100 else f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.umask(before)
        os.close(folder)
    made.listen(16)
    return made


@contextlib.contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """Two processes on one home would race on refs and rows; the lock dies with its holder."""
    import fcntl

    with open(home / "forge.lock", "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OSError(f"another forge is running on {home}") from None
        yield


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=5_000_000, backupCount=2)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
