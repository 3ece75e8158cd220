"""What a session sees: two model APIs on its own socket, nothing else."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from weakref import WeakKeyDictionary

from factory.gateway import anthropic_answer, anthropic_request, openai_answer, openai_request
from factory.gateway.account import BYTES_PER_TOKEN, Account, Reservation
from factory.gateway.backends import Backend, Backends
from factory.gateway.dialogue import Answer, Asked, Json, Refused, ScriptedError
from factory.gateway.http import ClientGone, Incoming, Receive, Reply, Scope, Send, header, read_body
from factory.gateway.recording import keep
from factory.gateway.redact import Redactor
from factory.gateway.runs import Runs
from factory.gateway.script import Key
from factory.gateway.shape import parse
from factory.gateway.transcript import Transcript
from factory.gateway.upstream import Exchange, UpstreamFailed
from factory.gateway.values import Api, FactKind

SLOT_S = 240.0
"""Longest wait for a free slot of the backend; CLIs give up at 300 s."""
AT_ONCE = 8
"""Requests of one run that are held in memory at the same time; others wait on their connection."""
ROUTES: dict[tuple[str, str], Api] = {
    ("POST", "/v1/messages"): "anthropic",
    ("POST", "/v1/messages/count_tokens"): "anthropic",
    ("POST", "/v1/chat/completions"): "openai",
}


class Front:
    """The ASGI application of every run's socket; ``scope["state"]["run"]`` says whose socket it is."""

    def __init__(self, runs: Runs, backends: Backends, now: Callable[[], datetime]) -> None:
        self._runs = runs
        self._backends = backends
        self._now = now
        self._gates: WeakKeyDictionary[Account, asyncio.Semaphore] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply, incoming = Reply(send), Incoming(receive)
        api: Api = "openai" if scope["path"] == "/v1/chat/completions" else "anthropic"
        account = self._runs.live.get(scope["state"]["run"])
        # Cancelled: this socket is being closed, and nobody is left to be told.
        with suppress(ClientGone, asyncio.CancelledError):
            try:
                if account is None:
                    raise Refused("this run has ended", kind=FactKind.UNAUTHORIZED, status=401)
                await self._serve(scope, incoming, reply, account)
            except Refused as refusal:
                if account is not None:
                    account.note(refusal.kind, refusal.message)
                if refusal.status not in (408, 413):  # those are about the body itself
                    await incoming.drain()
                await self._fail(reply, api, refusal.kind, refusal.status, refusal.message)
            except UpstreamFailed as failure:
                if account is not None:
                    account.note(failure.kind, failure.message, failure.retry_after_s)
                await self._fail(reply, api, failure.kind, failure.status, failure.message, failure.retry_after_s)
            except ClientGone:
                raise
            except Exception:
                # A bug: for a person to read on stderr, never for the session.
                traceback.print_exc()
                await self._fail(reply, api, FactKind.UPSTREAM, 500, "an error of its own")

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply, account: Account) -> None:
        if scope["method"] == "HEAD" and scope["path"] == "/":
            await reply.json(200, {})  # Claude Code asks whether anybody is there before it speaks
            return
        if not account.accepts(_token(scope)):
            raise Refused("the token is not this run's", kind=FactKind.UNAUTHORIZED, status=401)
        api = ROUTES.get((scope["method"], scope["path"]))
        if api is None or scope["query_string"] not in (b"", b"beta=true"):
            raise Refused(f"{scope['method']} {scope['path'][:200]} is not on the gateway's allowlist")
        if header(scope, b"content-encoding"):
            raise Refused("a content-encoding is not accepted")
        async with self._turnstile(account):
            await self._take(scope, receive, reply, account, api)

    async def _take(self, scope: Scope, receive: Receive, reply: Reply, account: Account, api: Api) -> None:
        raw = await read_body(scope, receive)
        if scope["path"].endswith("/count_tokens"):
            await reply.json(200, {"input_tokens": len(raw) // BYTES_PER_TOKEN})
            return
        body = parse(raw)
        asked = self._vet(api, scope, body, account, len(raw))
        backend = self._backends.get(account.grant.backend)
        if backend.script is None and backend.config.api != api:
            raise Refused(f"backend {backend.config.name!r} speaks the {backend.config.api} API, not {api}")
        work = asyncio.create_task(self._answer(reply, account, backend, asked, openai_request.wants_usage(body)))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone):
                if not task.done():
                    task.cancel()
            with suppress(asyncio.CancelledError):
                await work

    @asynccontextmanager
    async def _turnstile(self, account: Account) -> AsyncIterator[None]:
        gate = self._gates.setdefault(account, asyncio.Semaphore(AT_ONCE))
        try:
            async with asyncio.timeout(SLOT_S):
                await gate.acquire()
        except TimeoutError as error:
            raise Refused(f"this run has {AT_ONCE} requests under way", status=503) from error
        try:
            yield
        finally:
            gate.release()

    def _vet(self, api: Api, scope: Scope, body: Json, account: Account, size: int) -> Asked:
        grant = account.grant
        if api == "openai":
            return openai_request.vet(
                body, model=grant.model, max_output_tokens=grant.max_output_tokens, tools=grant.tools, size=size
            )
        betas = [flag.strip() for flag in header(scope, b"anthropic-beta").split(",") if flag.strip()]
        return anthropic_request.vet(
            body, betas, model=grant.model, max_output_tokens=grant.max_output_tokens, tools=grant.tools, size=size
        )

    async def _answer(self, reply: Reply, account: Account, backend: Backend, asked: Asked, usage: bool) -> None:
        price = backend.config.price
        held = account.admit(asked.size, asked.max_tokens, price)
        account.reserve(held, durable=backend.script is None)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(SLOT_S):
                    await backend.slots.acquire()
            except TimeoutError as error:
                account.release(held)
                raise UpstreamFailed(
                    FactKind.UPSTREAM,
                    f"backend {backend.config.name!r} had no free slot for {SLOT_S:.0f} s",
                    status=503,
                ) from error
            except asyncio.CancelledError:
                account.release(held)
                raise
            stack.callback(backend.slots.release)
            if backend.script is not None:
                await self._scripted(reply, account, backend, asked, held, usage)
            else:
                await self._real(reply, account, backend, asked, held, usage)

    async def _scripted(
        self, reply: Reply, account: Account, backend: Backend, asked: Asked, held: Reservation, usage: bool
    ) -> None:
        key = _key(account, asked)
        assert backend.script is not None
        try:
            turn = backend.script.find(key, asked)
            if isinstance(turn.answer, ScriptedError):
                error = turn.answer
                kind = FactKind.QUOTA if error.status in (429, 529) else FactKind.UPSTREAM
                raise UpstreamFailed(kind, error.message, status=error.status, retry_after_s=error.retry_after_s)
            answer = turn.answer
            await asyncio.sleep(answer.delay_s)
        except BaseException:
            account.release(held)
            raise
        account.settle(held, answer, backend.config.price, scripted=True)
        self._runs.count_call()
        self._transcribe(account, asked, answer, Redactor())
        seed = f"{account.grant.run}/{key}"
        model = account.grant.model
        if not asked.stream:
            module = anthropic_answer if asked.api == "anthropic" else openai_answer
            await reply.json(200, module.render(answer, model=model, seed=seed))
            return
        await reply.start(200, "text/event-stream; charset=utf-8")
        pieces = (
            anthropic_answer.stream(answer, model=model, seed=seed)
            if asked.api == "anthropic"
            else openai_answer.stream(answer, model=model, seed=seed, usage=usage)
        )
        for piece in pieces:
            await reply.piece(piece)
        await reply.piece(b"", more=False)

    async def _real(
        self, reply: Reply, account: Account, backend: Backend, asked: Asked, held: Reservation, usage: bool
    ) -> None:
        self._runs.count_call()
        exchange: Exchange | None = None
        settled = False
        try:
            async with backend.upstream.call(asked, held.max_tokens) as exchange:
                last = b""
                async for piece in exchange.pieces():
                    if exchange.reader.only_usage and not usage:
                        continue
                    if not asked.stream or exchange.reader.ended:
                        last = piece
                        continue
                    if not reply.started:
                        await reply.start(200, "text/event-stream; charset=utf-8")
                    await reply.piece(piece)
                answer = exchange.reader.got.answer()
                # Settled before the session can know the answer is complete: what it acts on is on the record.
                account.settle(held, answer, backend.config.price, scripted=False)
                settled = True
                self._transcribe(account, asked, answer, backend.upstream.redact)
                if asked.stream:
                    if not reply.started:
                        await reply.start(200, "text/event-stream; charset=utf-8")
                    await reply.piece(last, more=False)
                else:
                    await reply.start(200, "application/json", (("content-length", str(len(last))),))
                    await reply.piece(last, more=False)
        except UpstreamFailed as failure:
            if not failure.billed:
                account.release(held)
                settled = True
            raise
        finally:
            if not settled:
                # Cut half-way, by either side. What the provider counted is unknown: the reservation stands.
                partial = exchange.reader.got.answer() if exchange is not None else Answer("", (), None, "cut")
                account.settle(
                    held, Answer(partial.text, partial.calls, None, "cut"), backend.config.price, scripted=False
                )

    def _transcribe(self, account: Account, asked: Asked, answer: Answer, redact: Redactor) -> None:
        stamp = self._now().astimezone(UTC).isoformat(timespec="milliseconds")
        if account.grant.record and answer.stop != "cut":
            keep(account.folder / "recording.jsonl", _key(account, asked), answer)
        Transcript(self._runs.transcript(account.grant.run)).add(
            stamp, asked, answer, _key(account, asked)._asdict(), redact
        )

    async def _fail(
        self, reply: Reply, api: Api, kind: FactKind, status: int, message: str, retry_after_s: float | None = None
    ) -> None:
        body = (anthropic_answer if api == "anthropic" else openai_answer).error_body(
            status, f"factory gateway: {message}"
        )
        body["error"]["fact"] = kind.value
        if reply.started:
            # The status is out; a stream can still say that it is not whole.
            line = json.dumps(body, ensure_ascii=False)
            await reply.piece(
                f"event: error\ndata: {line}\n\n".encode() if api == "anthropic" else f"data: {line}\n\n".encode()
            )
            await reply.piece(b"", more=False)
            return
        extra = () if retry_after_s is None else (("retry-after", str(int(retry_after_s + 0.999))),)
        if status in (401, 408, 413):
            extra = (*extra, ("connection", "close"))  # the rest of its body is not wanted
        # A request that can never succeed must not be retried: Anthropic's own clients obey this header.
        await reply.json(
            status, body, (*extra, ("x-should-retry", "true" if status >= 500 or status == 429 else "false"))
        )


def _key(account: Account, asked: Asked) -> Key:
    grant = account.grant
    return Key(grant.formula, grant.step, grant.alias, grant.round, account.correction, asked.turn)


def _token(scope: Scope) -> str:
    return header(scope, b"x-api-key") or header(scope, b"authorization").removeprefix("Bearer ").strip()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
