"""The pages: a run's log as inert text, the list of runs, health. No script, no cookie, nothing to click that acts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}"
    "body{color:#1b1f24;background:#fff}"
    "pre{background:#0f1419;color:#d6dde6;padding:1rem;overflow:auto;border-radius:6px;font-size:14px}"
    "table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #d8dee4}"
    "@media(prefers-color-scheme:dark){body{color:#d6dde6;background:#14181d}td,th{border-color:#30363d}a{color:#79b8ff}}"
)
MAX_LOG = 2_000_000
MAX_HOOK = 1_000_000

Hint = Callable[[Mapping[str, str], bytes], bool]
"""Takes a delivery's headers and body; True when its signature is ours."""


def build(
    *,
    log_of: Callable[[str], Path | None],
    runs: Callable[[], Sequence[Mapping[str, Any]]],
    health: Callable[[], Mapping[str, Any]],
    on_hook: Hint,
    hosts: Sequence[str],
) -> Starlette:
    """The application. ``log_of(run)`` is None for a run nobody knows."""

    def index(_: Request) -> Response:
        rows = "".join(
            f"<tr><td><a href='/runs/{escape(str(r['run']))}/log'>{escape(str(r['run']))}</a></td>"
            + "".join(f"<td>{escape(str(r[key]))}</td>" for key in ("formula", "subject", "state"))
            + "</tr>"
            for r in runs()
        )
        return _page(
            "Runs", f"<table><tr><th>Run</th><th>Formula</th><th>Subject</th><th>State</th></tr>{rows}</table>"
        )

    def log(request: Request) -> Response:
        run = request.path_params["run"]
        path = log_of(run)
        if path is None:
            return _page("No such run", "<p>There is no run of this name here.</p>", 404)
        try:
            with path.open("rb") as file:
                text = file.read(MAX_LOG).decode("utf-8", "replace")
        except FileNotFoundError:
            return _page(run, "<p>Its log is not on this machine any more: logs live in the cache.</p>", 404)
        if request.query_params.get("raw") is not None:
            return PlainTextResponse(text, headers=HEADERS)
        return _page(run, f"<pre>{escape(text)}</pre>")

    def healthz(_: Request) -> Response:
        return JSONResponse(dict(health()), headers=HEADERS)

    async def hook(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_HOOK:
                return PlainTextResponse("too large\n", 413)
        if not on_hook({k.lower(): v for k, v in request.headers.items()}, body):
            return PlainTextResponse("the signature is not ours\n", 403)
        return PlainTextResponse("noted\n", 202)

    return Starlette(
        routes=[
            Route("/", index),
            Route("/runs", index),
            Route("/runs/{run:str}/log", log),
            Route("/healthz", healthz),
            Route("/hooks/forge", hook, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )


def _page(title: str, body: str, status: int = 200) -> HTMLResponse:
    head = "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
    return HTMLResponse(
        f"{head}<title>{escape(title)} · factory</title><style>{STYLE}</style><h1>{escape(title)}</h1>{body}</html>",
        status,
        headers=HEADERS,
    )
