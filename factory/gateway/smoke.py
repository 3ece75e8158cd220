"""One tiny question through a run's own socket, as a session would ask it: does this backend answer at all?"""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from factory.gateway.control import GatewayControl, SocketConnection
from factory.gateway.values import Api, GatewayRefused, RunGrant

ANSWER_S = 90.0
"""A cold local model may load for a minute before its first word."""
MOST_TOKENS = 64
_PATHS: dict[Api, str] = {"anthropic": "/v1/messages", "openai": "/v1/chat/completions"}


@dataclass(frozen=True)
class Smoke:
    """An answer came. ``seconds``: how long it took."""

    seconds: float
    input_tokens: int
    output_tokens: int
    cost_usd: float


def ask(control: GatewayControl, backend: str, model: str, api: Api) -> Smoke:
    """Ask ``backend`` one question in a run of its own, which ends with it.

    Raises GatewayRefused, with what the provider or the gateway said, when no whole answer came; GatewayUnavailable.
    """
    run = f"smoke-{secrets.token_hex(6)}"
    grant = RunGrant(
        run, backend, model, formula="smoke", step="hire", max_turns=1, max_output_tokens=MOST_TOKENS, tools=()
    )
    made = control.register(grant)
    began = time.monotonic()
    try:
        said = _question(made.socket, made.token, model, api)
        used = control.usage(run)
        wrong = said or next((f"{fact.kind.value}: {fact.detail}" for fact in reversed(used.facts)), None)
        if wrong is None and not used.requests:
            wrong = "nothing was answered"
    finally:
        control.revoke(run)
    if wrong is not None:
        raise GatewayRefused(f"asking {backend} ({model}) a first question: {wrong}")
    return Smoke(time.monotonic() - began, used.input_tokens, used.output_tokens, used.cost_usd)


def _question(socket: Path, token: str, model: str, api: Api) -> str | None:
    """None when an answer came; else what was said instead."""
    body: dict[str, object] = {
        "model": model,
        "max_tokens": MOST_TOKENS,
        "messages": [{"role": "user", "content": "Answer with the one word: ready"}],
        "stream": True,
    }
    if api == "openai":
        body["stream_options"] = {"include_usage": True}
    headers = {"content-type": "application/json", "x-api-key": token, "anthropic-version": "2023-06-01"}
    try:
        with contextlib.closing(SocketConnection(socket, timeout=ANSWER_S)) as connection:
            connection.request("POST", _PATHS[api], json.dumps(body).encode(), headers)
            response = connection.getresponse()
            raw = response.read()
    except (OSError, http.client.HTTPException) as error:
        return f"no answer within {ANSWER_S:.0f} s ({error})"
    if response.status == 200:
        return None
    try:
        told = json.loads(raw)["error"]
        return f"{response.status}: {told['message'] if isinstance(told, dict) else told}"
    except (ValueError, KeyError, TypeError):
        return f"{response.status}"
