"""The control socket's API: JSON over HTTP, for this host's own processes only (the socket is 0600)."""

from __future__ import annotations

import os
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from factory.errors import ConfigInvalid, FactoryError
from factory.gateway.backends import Backends
from factory.gateway.recording import render
from factory.gateway.runs import Runs
from factory.gateway.values import GatewayRefused, RunGrant

Sockets = Callable[[str], Awaitable[str]]


class ControlApi:
    """``open_socket`` makes the run's socket (if it is not there) and returns its path; ``close_socket`` ends it."""

    def __init__(
        self,
        runs: Runs,
        backends: Backends,
        reload: Callable[[], None],
        open_socket: Callable[[str], Awaitable[str]],
        close_socket: Callable[[str], Awaitable[None]],
    ) -> None:
        self._runs = runs
        self._backends = backends
        self._reload = reload
        self._open = open_socket
        self._close = close_socket

    def app(self) -> Starlette:
        """The ASGI application behind the control socket."""

        def route(path: str, handler: Callable[[Any], Awaitable[Any]]) -> Route:
            async def endpoint(request: Request) -> Response:
                try:
                    body = await request.json() if request.method == "POST" else {}
                    return JSONResponse(await handler(body))
                except (FactoryError, TypeError, KeyError, ValueError) as error:
                    problems = [str(item) for item in error.problems] if isinstance(error, ConfigInvalid) else []
                    return JSONResponse({"error": str(error), "problems": problems}, status_code=400)
                except Exception as error:
                    traceback.print_exc()
                    return JSONResponse({"error": f"an error of the gateway: {error}", "problems": []}, status_code=500)

            return Route(path, endpoint, methods=["POST"])

        return Starlette(
            routes=[
                route("/register", self._register),
                route("/usage", self._usage),
                route("/answer", self._answer),
                route("/correct", self._correct),
                route("/revoke", self._revoke),
                route("/recording", self._recording),
                route("/totals", self._totals),
                route("/health", self._health),
                route("/reload", self._reloaded),
            ]
        )

    async def _register(self, body: dict[str, Any]) -> dict[str, Any]:
        tools = body.pop("tools", None)
        grant = RunGrant(**body, tools=None if tools is None else tuple(tools))
        backend = self._backends.find(grant.backend)
        if backend is None:
            known = ", ".join(self._backends.names()) or "none"
            raise GatewayRefused(f"registering run {grant.run!r}: no backend {grant.backend!r} (configured: {known})")
        models = backend.config.models
        if models is not None and grant.model not in models:
            raise GatewayRefused(
                f"registering run {grant.run!r}: backend {grant.backend!r} does not serve model {grant.model!r} "
                f"(it serves: {', '.join(models)})"
            )
        account, token = self._runs.register(grant)
        return {"token": token, "socket": await self._open(account.grant.run)}

    async def _usage(self, body: dict[str, Any]) -> dict[str, Any]:
        return asdict(self._runs.usage(body["run"]))

    async def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"answer": self._runs.past(body["run"]).answer}

    async def _correct(self, body: dict[str, Any]) -> dict[str, Any]:
        self._runs.get(body["run"]).correct(int(body["n"]))
        return {}

    async def _revoke(self, body: dict[str, Any]) -> dict[str, Any]:
        await self._close(body["run"])
        self._runs.revoke(body["run"])
        return {}

    async def _recording(self, body: dict[str, Any]) -> dict[str, Any]:
        account = self._runs.past(body["run"])
        backend = self._backends.find(account.grant.backend)
        redact = None if backend is None else backend.upstream.redact
        return {"toml": render(account.folder / "recording.jsonl", redact)}

    async def _totals(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"model_calls": self._runs.calls, "live_runs": len(self._runs.live)}

    async def _health(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"pid": os.getpid(), "live_runs": len(self._runs.live), "backends": list(self._backends.names())}

    async def _reloaded(self, body: dict[str, Any]) -> dict[str, Any]:
        self._reload()
        return {"backends": list(self._backends.names())}
