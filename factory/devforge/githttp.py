"""Git over HTTP, for any git client: protocol v2 (and older ones) to fetch, the receive protocol to push."""

from __future__ import annotations

import asyncio
import shutil
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from factory.devforge import lsrefs, receive
from factory.devforge.errors import Refusal, Unauthorized, not_found
from factory.devforge.pktline import FLUSH, BadPacket, length
from factory.devforge.receive import Push
from factory.devforge.store import access, repos
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo

MAX_REQUEST = 16 * 1024 * 1024
"""Bytes of a fetch request (its wants and haves)."""
MAX_COMMAND_BYTES = 1024 * 1024
MAX_PACK = 2 * 1024**3
TIMEOUT = 600.0
"""Seconds one git process may take."""
PUSHES_PER_TIDYING = 200
PROCESSES = 8
"""How many run at a time; further requests wait."""

T = TypeVar("T")
InThread = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class GitRequest:
    """One request below ``/owner/name.git/``; ``chunks`` yields the body as it comes."""

    method: str
    service: str
    """The rest of the path: ``info/refs``, ``git-upload-pack`` or ``git-receive-pack``."""
    query_service: str
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]

    @property
    def v2(self) -> bool:
        return "version=2" in self.headers.get("git-protocol", "").split(":")

    @property
    def pushes(self) -> bool:
        return "git-receive-pack" in (self.service, self.query_service)


@dataclass(frozen=True)
class GitAnswer:
    """``body`` is whole, or comes in pieces from ``stream``."""

    status: int
    content_type: str
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None


class GitBackend:
    """Serves the repos of one store. ``in_thread`` runs what blocks outside the event loop."""

    def __init__(self, store: Store, in_thread: InThread) -> None:
        self._store = store
        self._in_thread = in_thread
        self._slots: asyncio.Semaphore | None = None
        self._pushes: dict[int, int] = {}
        self._tidying: asyncio.Future[None] | None = None
        self._git = shutil.which("git") or "git"
        self._env = {
            "PATH": f"{Path(self._git).parent}:/usr/bin:/bin",
            "HOME": "/nonexistent",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": "/dev/null",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C",
        }

    def find(self, actor: Actor, owner: str, name: str, *, pushes: bool) -> Repo:
        """The repo when the actor may read it: 401 (so that git asks for a login) or 404 else. Rights to write are
        judged per push, as Forgejo does in its hook."""
        store = self._store
        found = repos.find(store, owner, name) or repos.renamed(store, owner, name)
        if actor.user is not None:
            actor.need_scope("repository", pushes)
        elif pushes or found is None or access.mode(store, actor, found) < Mode.READ:
            raise Unauthorized
        if found is None or access.mode(store, actor, found) < Mode.READ:
            raise not_found()
        return found

    async def serve(self, actor: Actor, repo: Repo, request: GitRequest) -> GitAnswer:
        """Answer one request; Refusal for what is no git request."""
        service = request.service
        if service == "info/refs" and request.method == "GET":
            return await self._info(repo, request)
        if service == "git-upload-pack" and request.method == "POST":
            return await self._upload(repo, request)
        if service == "git-receive-pack" and request.method == "POST":
            return await self._receive(actor, repo, request)
        raise not_found()

    # ------------------------------------------------------------ fetch

    async def _info(self, repo: Repo, request: GitRequest) -> GitAnswer:
        service = request.query_service
        kind = f"application/x-{service}-advertisement"
        if service == "git-receive-pack":
            return GitAnswer(200, kind, await self._in_thread(receive.advertisement, repo.path))
        if service != "git-upload-pack":
            raise Refusal(403, "only the smart protocol is spoken")
        if request.v2:
            return GitAnswer(200, kind, lsrefs.ADVERTISEMENT)
        stream = self._run(["upload-pack", "--stateless-rpc", "--advertise-refs", str(repo.path)], b"")
        head = b"001e# service=git-upload-pack\n" + FLUSH
        return GitAnswer(200, kind, stream=_after(head, stream))

    async def _upload(self, repo: Repo, request: GitRequest) -> GitAnswer:
        body = await _whole(request, MAX_REQUEST)
        kind = "application/x-git-upload-pack-result"
        if request.v2:
            try:
                asked = lsrefs.command(body)
                if asked == "ls-refs":
                    return GitAnswer(200, kind, await self._in_thread(lsrefs.answer, repo.path, body))
            except BadPacket as error:
                raise Refusal(400, str(error)) from error
        env = {"GIT_PROTOCOL": "version=2"} if request.v2 else {}
        return GitAnswer(200, kind, stream=self._run(["upload-pack", "--stateless-rpc", str(repo.path)], body, env))

    async def _run(self, argv: list[str], stdin: bytes, env: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        """Output of a git process as it comes; the process ends with the generator, whoever ends it."""
        async with self._slot(), asyncio.timeout(TIMEOUT):
            process = await asyncio.create_subprocess_exec(
                self._git, "-c", "safe.directory=*", *argv,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={**self._env, **(env or {})},
            )  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            feeding = asyncio.ensure_future(_feed(process.stdin, stdin))
            try:
                while piece := await process.stdout.read(65536):
                    yield piece
            finally:
                feeding.cancel()
                if process.returncode is None:
                    try:
                        process.kill()
                    except ProcessLookupError:
                        pass  # it ended by itself
                await process.wait()

    def _slot(self) -> asyncio.Semaphore:
        if self._slots is None:
            self._slots = asyncio.Semaphore(PROCESSES)
        return self._slots

    # ------------------------------------------------------------ push

    async def _receive(self, actor: Actor, repo: Repo, request: GitRequest) -> GitAnswer:
        kind = "application/x-git-receive-pack-result"
        body = _Body(request, MAX_PACK)
        try:
            push = await _commands(body)
        except BadPacket as error:
            raise Refusal(400, str(error)) from error
        if not push.changes:
            return GitAnswer(200, kind)
        why = await self._in_thread(receive.declined, self._store, actor, repo)
        if why is not None:
            async for _ in body.rest():
                pass
            return GitAnswer(200, kind, receive.decline(push, why))
        quarantine: Path | None = None
        unpacked = ""
        try:
            if push.needs_pack:
                quarantine = await self._in_thread(receive.open_quarantine, repo.path)
                unpacked = await self._unpack(quarantine, body)
            finished = await self._in_thread(receive.finish, self._store, actor, repo, push, quarantine, unpacked)
            self._tidy_sometimes(repo)
            return GitAnswer(200, kind, finished)
        finally:
            if quarantine is not None:
                await self._in_thread(receive.close_quarantine, quarantine)

    def _tidy_sometimes(self, repo: Repo) -> None:
        """Every so many pushes let git pack what lies about; it decides itself whether there is enough."""
        self._pushes[repo.id] = self._pushes.get(repo.id, 0) + 1
        if self._pushes[repo.id] % PUSHES_PER_TIDYING == 0 and self._tidying is None:
            self._tidying = asyncio.ensure_future(self._tidy(repo))

    async def _tidy(self, repo: Repo) -> None:
        # Unreachable objects stay for two weeks: nothing that a request is just writing can be lost.
        options = [
            "-c",
            "gc.auto=1000",
            "-c",
            "gc.autoDetach=false",
            f"--git-dir={repo.path}",
            "gc",
            "--auto",
            "--quiet",
        ]
        try:
            async for _ in self._run(options, b""):
                pass
        finally:
            self._tidying = None

    async def _unpack(self, quarantine: Path, body: _Body) -> str:
        """Put the pack's objects into the quarantine, all checked; '' or what git said against them."""
        head = await body.exactly(12)
        if head[:4] != b"PACK":
            return "the pack is missing"
        count = int.from_bytes(head[8:12], "big")
        if count == 0:
            async for _ in body.rest():
                pass
            return ""
        if count < receive.LOOSE_LIMIT:
            argv = ["unpack-objects", "-q", "--strict"]
        else:
            argv = ["index-pack", "--stdin", "--fix-thin", "--strict", f"--max-input-size={MAX_PACK}"]
        async with self._slot(), asyncio.timeout(TIMEOUT):
            process = await asyncio.create_subprocess_exec(
                self._git, "-c", "safe.directory=*", f"--git-dir={quarantine}", *argv,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                env=self._env,
            )  # fmt: skip
            assert process.stdin is not None
            assert process.stderr is not None
            said = asyncio.ensure_future(process.stderr.read(16384))
            try:
                try:
                    process.stdin.write(head)
                    async for piece in body.rest():
                        process.stdin.write(piece)
                        await process.stdin.drain()
                    process.stdin.close()
                except (BrokenPipeError, ConnectionResetError):
                    async for _ in body.rest():
                        pass  # git refused early: read on, so that the client reads the reason
                text = (await said).decode("utf-8", "replace")
                code = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        if code == 0:
            return ""
        lines = [one.strip() for one in text.splitlines() if one.strip()]
        return (lines[-1] if lines else f"{argv[0]} exited with {code}")[:300]


async def _feed(stdin: asyncio.StreamWriter, data: bytes) -> None:
    try:
        stdin.write(data)
        await stdin.drain()
        stdin.close()
    except (BrokenPipeError, ConnectionResetError):
        pass  # git has heard enough


async def _after(head: bytes, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield head
    async for piece in stream:
        yield piece


class _Body:
    """A request's body, inflated when it is gzipped, read in exact pieces or to its end, at most ``limit`` bytes."""

    def __init__(self, request: GitRequest, limit: int) -> None:
        self._source = request.chunks
        self._inflate = zlib.decompressobj(31) if request.headers.get("content-encoding") == "gzip" else None
        self._held = bytearray()
        self._room = limit
        self._ended = False

    async def _more(self) -> bool:
        if self._ended:
            return False
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            self._ended = True
            return False
        if self._inflate is not None:
            try:
                piece = self._inflate.decompress(piece, self._room + 1)
                if self._inflate.unconsumed_tail:
                    raise Refusal(413, "the request is too large")
            except zlib.error as error:
                raise Refusal(400, f"the body is not gzip: {error}") from error
        self._room -= len(piece)
        if self._room < 0:
            raise Refusal(413, "the request is too large")
        self._held += piece
        return True

    async def exactly(self, count: int) -> bytes:
        """That many bytes, fewer at the end."""
        while len(self._held) < count and await self._more():
            pass
        piece = bytes(self._held[:count])
        del self._held[:count]
        return piece

    async def rest(self) -> AsyncIterator[bytes]:
        while self._held or await self._more():
            if self._held:
                piece = bytes(self._held)
                self._held.clear()
                yield piece


async def _whole(request: GitRequest, limit: int) -> bytes:
    return b"".join([piece async for piece in _Body(request, limit).rest()])


async def _commands(body: _Body) -> Push:
    """The commands up to their flush packet, then the push options, which nothing here uses."""
    packets: list[bytes] = []
    size = 0
    while True:
        head = await body.exactly(4)
        if len(head) < 4:
            break
        wanted = length(head)
        if wanted < 4:
            break
        size += wanted
        if size > MAX_COMMAND_BYTES:
            raise BadPacket("too many push commands")
        packets.append(await body.exactly(wanted - 4))
    push = receive.parse_commands(packets)
    if "push-options" in push.capabilities:
        while (head := await body.exactly(4)) and (wanted := length(head)) >= 4:
            await body.exactly(wanted - 4)
    return push
