"""The native tool loop: a model behind the gateway, six tools, and nothing else. Standard library only.

Prints one JSON event per line (``event``: text, tool_call, tool_result, usage, retry, quota, refusal, done). The last
is always ``done``; the exit code says the same: 0 done, 2 usage, else ``EXIT``. The token comes from the environment
(FACTORY_GATEWAY_TOKEN) and is not passed on to commands.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from typing import Any

from factory.session.inside import layout
from factory.session.inside.native_api import Anthropic, OpenAI, arguments
from factory.session.inside.native_tools import ToolError, Tools, clip, load

Json = dict[str, Any]
EXIT = {"max-turns": 10, "quota": 11, "refused": 12, "backend": 13, "inactivity": 14, "budget": 15}
FACT_CAUSES = {"budget": "budget", "turns": "max-turns", "quota": "quota", "refused": "refused"}
"""The gateway's reason for a 400 -> our cause."""
PATIENCE_S = 45.0
"""Of trouble in one request: the gateway may be restarted in mid-session."""
READ_S = 300.0
"""Longest silence of an answer; the gateway gives up on its provider before."""
SHORT_WAIT_S = 20.0
"""A rate limit that passes this soon is waited for; a longer one ends the run, so that nothing else starts on it."""
TIMES = 3
"""The same call failing the same way this often in a row is no progress."""
SYSTEM = (
    "You work in the folder {root} on one task, with tools that really act there. Paths are relative to it. "
    "Look before you change; keep changes small; run the project's own tests where you can run commands. "
    "There is no network. When the task is done, answer in plain text without calling a tool."
)


class Stop(Exception):
    """The loop ends without success. ``cause`` is one of ``EXIT``."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


def say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def ask(base: str, api: Anthropic | OpenAI, body: Json, token: str) -> Json:
    """One answer. What may pass is tried again for ``PATIENCE_S``, a 400 never. Raises ``Stop``."""
    address = urllib.parse.urlsplit(base)
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    content = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
    until = time.monotonic() + PATIENCE_S
    pause = 0.2
    while True:
        wait = pause
        connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=READ_S)
        try:
            connection.request("POST", api.path, content, headers)
            response = connection.getresponse()
            if response.status == 200:
                return api.read(_events(response))
            trouble, after = _judge(response, response.read(100_000))
            wait = max(pause, after or 0.0)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        if time.monotonic() + wait > until:
            raise Stop("backend", f"the gateway gave no answer for {PATIENCE_S:.0f} s; last: {trouble}")
        say("retry", text=trouble, wait_s=round(wait, 2))
        time.sleep(wait)
        pause = min(pause * 2, 8.0)


def _events(response: http.client.HTTPResponse) -> Iterator[Json]:
    for line in response:
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            yield json.loads(data)


def _judge(response: http.client.HTTPResponse, raw: bytes) -> tuple[str, float | None]:
    """What an answer other than 200 means: trouble that may pass, with the wait it asks for. Raises ``Stop``."""
    body = arguments(raw.decode("utf-8", "replace"))
    said = body.get("error") if isinstance(body, dict) else None
    error: Json = said if isinstance(said, dict) else {}
    text = str(error.get("message") or raw[:500].decode("utf-8", "replace"))
    try:
        after: float | None = float(response.headers.get("retry-after", ""))
    except ValueError:
        after = None
    if response.status in (429, 529):
        if after is not None and after <= SHORT_WAIT_S:
            return text, after
        say("quota", text=text, retry_after=after)
        raise Stop("quota", text)
    if response.status >= 500 or response.status == 408:
        return f"{response.status}: {text}", after
    say("refusal", text=text)
    raise Stop(FACT_CAUSES.get(str(error.get("fact")), "backend"), f"{response.status}: {text}")


class Loop:
    """One task, talked through to its end."""

    def __init__(self, options: argparse.Namespace, token: str) -> None:
        self._options = options
        self._token = token
        self._api: Anthropic | OpenAI = Anthropic() if options.api == "anthropic" else OpenAI()
        env = {name: value for name, value in os.environ.items() if value != token}
        self._tools = Tools(layout.place(options.root), read_only=options.read_only, env=env)
        self._system = SYSTEM.format(root=self._tools.root)
        if options.system:
            self._system += "\n\n" + load(layout.place(options.system))
        self._talk: list[Json] = [{"who": "user", "text": load(layout.place(options.prompt))}]
        self._failed = ""
        self._times = 0

    def run(self) -> int:
        """Turns it took. Raises ``Stop``."""
        cuts = 0
        for turn in range(1, self._options.max_turns + 1):
            got = self._turn()
            if got["stop"] == "refusal":
                raise Stop("refused", "the model refused to go on")
            if got["calls"]:
                self._talk.append({"who": "tools", "results": [self._act(call) for call in got["calls"]]})
            elif got["stop"] != "length":
                return turn
            else:
                cuts += 1
                if cuts == TIMES:
                    raise Stop("backend", f"the answer was cut by its length limit {TIMES} times")
                self._talk.append({"who": "user", "text": "Your answer was cut by its length limit: go on there."})
        raise Stop("max-turns", f"not done after {self._options.max_turns} turns")

    def _turn(self) -> Json:
        options = self._options
        body = self._api.body(options.model, self._system, self._talk, self._tools, options.max_tokens)
        got = ask(options.base, self._api, body, self._token)
        say("usage", **got["usage"])
        if got["text"]:
            say("text", text=got["text"], final=not got["calls"] and got["stop"] == "end")
        self._talk.append(got)
        return got

    def _act(self, call: Json) -> Json:
        name, given = call["name"], call["input"]
        say("tool_call", name=name, input=given if isinstance(given, dict) else {})
        try:
            text, error = self._tools.call(name, given), False
        except ToolError as problem:
            text, error = clip(str(problem)), True
        say("tool_result", name=name, error=error, text=text[-1_000:])
        same = json.dumps([name, given, text]) if error else ""
        self._times = self._times + 1 if error and same == self._failed else int(error)
        self._failed = same
        if self._times == TIMES:
            raise Stop("inactivity", f"no progress: {name} failed in the same way {TIMES} times: {text[-300:]}")
        return {"id": call["id"], "text": text, "error": error}


def main(argv: Sequence[str] | None = None) -> int:
    """``native --api ... --base URL --model M --prompt FILE``; returns the exit code."""
    parser = argparse.ArgumentParser(prog="native")
    parser.add_argument("--api", choices=("anthropic", "openai"), required=True)
    parser.add_argument("--base", required=True, help="the gateway, http://127.0.0.1:PORT")
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True, help="file with the task")
    parser.add_argument("--system", help="file with words added to the system prompt")
    parser.add_argument("--root", default=layout.WORK, help="the working copy")
    parser.add_argument("--read-only", action="store_true", help="a review: read and search only")
    parser.add_argument("--max-turns", type=int, default=60)
    parser.add_argument("--max-tokens", type=int, default=16_000, help="of one answer")
    options = parser.parse_args(argv)
    try:
        turns = Loop(options, os.environ.pop("FACTORY_GATEWAY_TOKEN", "")).run()
    except Stop as stop:
        say("done", ok=False, reason=stop.cause, cause=stop.cause, detail=stop.detail, turns=0)
        return EXIT[stop.cause]
    except (ToolError, OSError) as error:
        say("done", ok=False, reason="backend", cause="backend", detail=f"reading the task: {error}", turns=0)
        return EXIT["backend"]
    say("done", ok=True, reason="end", turns=turns)
    return 0


if __name__ == "__main__":
    sys.exit(main())
