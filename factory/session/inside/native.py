"""The native tool loop: a model behind the gateway, six tools, and nothing else. Standard library only.

    native --api anthropic|openai --base URL --model M --prompt FILE [--system FILE] [--root DIR] [--read-only] ...

Prints one JSON event per line (``event``: text, tool_call, tool_result, usage, retry, quota, refusal, done). The last is
always ``done``; the exit code says the same: 0 done, 2 usage, else ``EXIT``. The token comes from the environment
(FACTORY_GATEWAY_TOKEN) and is not passed on to commands.
"""

from __future__ import annotations

import argparse
import fnmatch
import http.client
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

Json = dict[str, Any]
EXIT = {"max-turns": 10, "quota": 11, "refused": 12, "backend": 13, "inactivity": 14, "budget": 15}
FACT_CAUSES = {"budget": "budget", "turns": "max-turns", "quota": "quota", "refused": "refused"}
PATIENCE_S = 45.0  # of consecutive trouble: the gateway may be restarted in mid-session
READ_S = 300.0  # longest silence of an answer
OUTPUT = 30_000  # characters of one tool result
FILE_BYTES = 10_000_000
SYSTEM = (
    "You work in the folder {root} on one task, with tools that really act there. Paths are relative to it. "
    "Look before you change; keep changes small; run the project's own tests with `run` where you have it. "
    "There is no network. When the task is done, answer in plain text without calling a tool."
)


class ToolError(Exception):
    """What went wrong, as the model is told."""


class Stop(Exception):
    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


def say(event: str, **fields: Any) -> None:
    sys.stdout.write(json.dumps({"event": event, **fields}, ensure_ascii=True) + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- tools


class Tools:
    def __init__(self, root: str, read_only: bool, token: str) -> None:
        self.root = os.path.realpath(root)
        self.read_only = read_only
        self.env = {k: v for k, v in os.environ.items() if v != token}
        every: dict[str, tuple[Callable[..., str], str, Json, list[str]]] = {
            "read": (self.read, "Read a text file, optionally from a line on.", {"path": S, "offset": I, "limit": I}, ["path"]),
            "search": (self.search, "Find a regular expression in files below a path.", {"pattern": S, "path": S, "glob": S}, ["pattern"]),
            "write": (self.write, "Create or replace a file.", {"path": S, "content": S}, ["path", "content"]),
            "edit": (self.edit, "Replace one exact occurrence of `old` by `new` (every one with `all`).", {"path": S, "old": S, "new": S, "all": {"type": "boolean"}}, ["path", "old", "new"]),
            "run": (self.run, "Run a shell command in the working folder.", {"command": S, "timeout_s": I}, ["command"]),
            "emit": (self.emit, "Ask the factory to do something: its kind and its fields.", {"kind": S, "fields": {"type": "object"}}, ["kind"]),
        }  # fmt: skip
        self.known = {name: tool for name, tool in every.items() if not read_only or name in ("read", "search")}

    def described(self) -> Iterator[tuple[str, str, Json]]:
        for name, (_, about, properties, required) in self.known.items():
            yield name, about, {"type": "object", "properties": properties, "required": required}

    def call(self, name: str, given: Any) -> str:
        if name not in self.known:
            raise ToolError(f"there is no tool {name!r}; tools: {', '.join(self.known)}")
        act, _, properties, required = self.known[name]
        if not isinstance(given, dict):
            raise ToolError("the input is not a JSON object")
        if wrong := [k for k in required if k not in given] + [k for k in given if k not in properties]:
            raise ToolError(f"missing or unknown input: {', '.join(wrong)}; {name} takes {', '.join(properties)}")
        kinds = {"string": str, "integer": int, "boolean": bool, "object": dict}
        if bad := [k for k, v in given.items() if not isinstance(v, kinds[properties[k]["type"]])]:
            raise ToolError(f"input of a wrong type: {', '.join(bad)}")
        try:
            return clip(act(**given))
        except (OSError, ValueError) as error:
            raise ToolError(str(error)) from error

    def at(self, path: str) -> str:
        """The real place of ``path``. A reviewer stays in the working copy; elsewhere the sandbox is the wall."""
        place = os.path.realpath(os.path.join(self.root, path))
        if self.read_only and place != self.root and not place.startswith(self.root + os.sep):
            raise ToolError(f"{path} is outside {self.root}")
        return place

    def read(self, path: str, offset: int = 1, limit: int = 2_000) -> str:
        text = load(self.at(path))
        lines = text.splitlines(keepends=True)
        part = lines[max(offset, 1) - 1 : max(offset, 1) - 1 + max(limit, 1)]
        rest = len(lines) - (max(offset, 1) - 1 + len(part))
        return "".join(part) + (f"\n[{rest} more lines]" if rest > 0 else "")

    def search(self, pattern: str, path: str = ".", glob: str = "*") -> str:
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            raise ToolError(f"not a regular expression: {error}") from error
        found: list[str] = []
        start = self.at(path)
        for place in files_below(start):
            name = os.path.relpath(place, self.root)
            if not (fnmatch.fnmatch(os.path.basename(place), glob) or fnmatch.fnmatch(name, glob)):
                continue
            try:
                lines = load(self.at(place)).splitlines()
            except (ToolError, OSError):
                continue  # binary, too big, or a link leading out
            for number, line in enumerate(lines, 1):
                if wanted.search(line[:2_000]):
                    found.append(f"{name}:{number}: {line[:300]}")
                    if len(found) >= 200:
                        return "\n".join([*found, "[more: narrow the search]"])
        return "\n".join(found) or "nothing found"

    def write(self, path: str, content: str) -> str:
        place = self.at(path)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "w", encoding="utf-8", newline="") as file:
            file.write(content)
        return f"wrote {len(content.encode())} bytes to {path}"

    def edit(self, path: str, old: str, new: str, all: bool = False) -> str:
        text = load(self.at(path))
        times = text.count(old) if old else 0
        if times == 0:
            raise ToolError(f"`old` does not occur in {path}")
        if times > 1 and not all:
            raise ToolError(f"`old` occurs {times} times in {path}; give more of its surroundings, or all = true")
        self.write(path, text.replace(old, new))
        return f"replaced {times} in {path}"

    def run(self, command: str, timeout_s: int = 120) -> str:
        code, text = execute(["/bin/sh", "-c", command], self.root, self.env, min(max(timeout_s, 1), 900))
        if code != 0:
            raise ToolError(f"{text}\n[exit code {code}]" if code is not None else f"{text}\n[stopped after {timeout_s} s]")
        return text or "[no output]"

    def emit(self, kind: str, fields: Json | None = None) -> str:
        code, text = execute(["emit", kind, "--json", json.dumps(fields or {})], self.root, self.env, 30)
        if code != 0:
            raise ToolError(text or f"emit ended with code {code}")
        return text


S, I = {"type": "string"}, {"type": "integer"}  # noqa: E741


def load(place: str) -> str:
    if os.path.isdir(place):
        return "\n".join(sorted(name + "/" * os.path.isdir(os.path.join(place, name)) for name in os.listdir(place)))
    if not os.path.isfile(place):
        raise ToolError(f"{place} is not there, or not a regular file")
    with open(place, "rb") as file:
        raw = file.read(FILE_BYTES + 1)
    if len(raw) > FILE_BYTES or b"\0" in raw[:8_000]:
        raise ToolError(f"{place} is binary or larger than {FILE_BYTES} bytes")
    return raw.decode("utf-8", "surrogateescape")


def files_below(start: str) -> Iterator[str]:
    if os.path.isfile(start):
        yield start
    for folder, folders, names in os.walk(start):
        folders[:] = sorted(name for name in folders if name not in (".git", "node_modules", "__pycache__", ".venv"))
        yield from (os.path.join(folder, name) for name in sorted(names))


def clip(text: str) -> str:
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if len(text) <= OUTPUT:
        return text
    half = OUTPUT // 2
    return f"{text[:half]}\n[… {len(text) - OUTPUT} characters left out …]\n{text[-half:]}"


def execute(argv: list[str], cwd: str, env: dict[str, str], timeout_s: float) -> tuple[int | None, str]:
    """Exit code (None: timed out) and output; of long output the beginning and the end. Leaves no process group."""
    child = subprocess.Popen(argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)  # noqa: E501
    assert child.stdout is not None
    head, tail, code = b"", b"", None
    deadline = time.monotonic() + timeout_s
    fd = child.stdout.fileno()
    os.set_blocking(fd, False)
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(fd, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                # Woken now and then: a background process may hold the pipe after the command itself has ended.
                if ready.select(min(0.2, max(deadline - time.monotonic(), 0))):
                    data = os.read(fd, 65536)
                    if not data:
                        break
                    room = max(2 * OUTPUT - len(head), 0)
                    head, tail = head + data[:room], (tail + data[room:])[-2 * OUTPUT :]
                elif child.poll() is not None:
                    break
        try:
            code = child.wait(max(deadline - time.monotonic(), 0.05))
        except subprocess.TimeoutExpired:
            code = None
    finally:
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        child.stdout.close()
    return code, (head + tail).decode("utf-8", "replace").rstrip("\n")


# ---------------------------------------------------------------- the two APIs


class Anthropic:
    path = "/v1/messages"

    def body(self, model: str, system: str, talk: list[Json], tools: Tools, max_tokens: int) -> Json:
        messages: list[Json] = []
        for item in talk:
            if item["who"] == "user":
                content: list[Json] = [{"type": "text", "text": item["text"]}]
            elif item["who"] == "tools":
                content = [{"type": "tool_result", "tool_use_id": r["id"], "content": r["text"], "is_error": r["error"]} for r in item["results"]]  # noqa: E501
            else:
                content = [{"type": "text", "text": item["text"]}] if item["text"] else []
                content += [{"type": "tool_use", "id": c["id"], "name": c["name"], "input": c["input"]} for c in item["calls"]]  # noqa: E501
            messages.append({"role": "assistant" if item["who"] == "model" else "user", "content": content})
        messages[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
        offered = [{"name": name, "description": about, "input_schema": schema} for name, about, schema in tools.described()]  # noqa: E501
        system_blocks = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        return {"model": model, "system": system_blocks, "messages": messages, "tools": offered, "max_tokens": max_tokens, "stream": True}  # noqa: E501

    def read(self, events: Iterator[Json]) -> Json:
        got: Json = {"who": "model", "text": "", "calls": [], "stop": None, "usage": {}}
        blocks: dict[int, Json] = {}
        whole = False
        for item in events:
            kind = item.get("type")
            if kind == "message_start":
                got["usage"] |= item["message"].get("usage") or {}
            elif kind == "content_block_start":
                blocks[item["index"]] = {**item["content_block"], "parts": []}
            elif kind == "content_block_delta":
                delta = item["delta"]
                blocks[item["index"]]["parts"].append(delta.get("text") or delta.get("partial_json") or "")
            elif kind == "message_delta":
                got["stop"] = item["delta"].get("stop_reason")
                got["usage"] |= item.get("usage") or {}
            elif kind == "message_stop":
                whole = True
            elif kind == "error":
                raise ConnectionError(item.get("error", {}).get("message", "error in the stream"))
        if not whole:
            raise ConnectionError("the answer broke off")
        for _, block in sorted(blocks.items()):
            text = "".join(block["parts"])
            if block["type"] == "text":
                got["text"] += text
            elif block["type"] == "tool_use":
                got["calls"].append({"id": block["id"], "name": block["name"], "input": arguments(text)})
        used = got["usage"]
        got["usage"] = {"input": (used.get("input_tokens") or 0) + (used.get("cache_creation_input_tokens") or 0), "output": used.get("output_tokens") or 0, "cached": used.get("cache_read_input_tokens") or 0}  # noqa: E501
        got["stop"] = {"max_tokens": "length", "refusal": "refusal"}.get(got["stop"], "end")
        return got


class OpenAI:
    path = "/v1/chat/completions"

    def body(self, model: str, system: str, talk: list[Json], tools: Tools, max_tokens: int) -> Json:
        messages: list[Json] = [{"role": "system", "content": system}]
        for item in talk:
            if item["who"] == "user":
                messages.append({"role": "user", "content": item["text"]})
            elif item["who"] == "tools":
                messages += [{"role": "tool", "tool_call_id": r["id"], "content": ("Error: " if r["error"] else "") + r["text"]} for r in item["results"]]  # noqa: E501
            else:
                calls = [{"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["raw"]}} for c in item["calls"]]  # noqa: E501
                messages.append({"role": "assistant", "content": item["text"] or None, **({"tool_calls": calls} if calls else {})})  # noqa: E501
        offered = [{"type": "function", "function": {"name": name, "description": about, "parameters": schema}} for name, about, schema in tools.described()]  # noqa: E501
        return {"model": model, "messages": messages, "tools": offered, "max_tokens": max_tokens, "stream": True, "stream_options": {"include_usage": True}}  # noqa: E501

    def read(self, events: Iterator[Json]) -> Json:
        got: Json = {"who": "model", "text": "", "calls": [], "stop": None, "usage": {}}
        calls: dict[int, Json] = {}
        for item in events:
            if "error" in item:
                raise ConnectionError(str(item["error"].get("message", "error in the stream")))
            got["usage"] = item.get("usage") or got["usage"]
            for choice in item.get("choices") or ():
                delta = choice.get("delta") or {}
                got["text"] += delta.get("content") or ""
                for piece in delta.get("tool_calls") or ():
                    call = calls.setdefault(piece.get("index", 0), {"id": "", "name": "", "raw": ""})
                    function = piece.get("function") or {}
                    call["id"] = piece.get("id") or call["id"]
                    call["name"] += function.get("name") or ""
                    call["raw"] += function.get("arguments") or ""
                got["stop"] = choice.get("finish_reason") or got["stop"]
        if got["stop"] is None:
            raise ConnectionError("the answer broke off")
        got["calls"] = [{**call, "input": arguments(call["raw"])} for _, call in sorted(calls.items())]
        used = got["usage"]
        cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        got["usage"] = {"input": (used.get("prompt_tokens") or 0) - cached, "output": used.get("completion_tokens") or 0, "cached": cached}  # noqa: E501
        got["stop"] = {"length": "length", "content_filter": "refusal"}.get(got["stop"], "end")
        return got


def arguments(text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except ValueError:
        return None


def sse(response: http.client.HTTPResponse) -> Iterator[Json]:
    for line in response:
        if line.startswith(b"data:") and (data := line[5:].strip()) != b"[DONE]":
            yield json.loads(data)


def ask(base: str, api: Anthropic | OpenAI, body: Json, token: str) -> Json:
    """One answer. What may pass is tried again for PATIENCE_S; a 400 never. Raises ``Stop``."""
    address = urllib.parse.urlsplit(base)
    headers = {"content-type": "application/json", "authorization": f"Bearer {token}"}
    content = json.dumps(body).encode()
    since, pause = time.monotonic(), 0.2
    while True:
        trouble, wait = "", pause
        connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=READ_S)
        try:
            connection.request("POST", api.path, content, headers)
            response = connection.getresponse()
            if response.status == 200:
                return api.read(sse(response))
            raw = response.read(100_000)
            trouble, wait = refused(response, raw, pause)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            trouble = f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        if time.monotonic() + wait - since > PATIENCE_S:
            raise Stop("backend", f"the gateway gave no answer for {PATIENCE_S:.0f} s: {trouble}")
        say("retry", text=trouble, wait_s=round(wait, 2))
        time.sleep(wait)
        pause = min(pause * 2, 8.0)


def refused(response: http.client.HTTPResponse, raw: bytes, pause: float) -> tuple[str, float]:
    """What an answer other than 200 means: trouble that may pass and how long to wait, or ``Stop``."""
    error = arguments(raw.decode("utf-8", "replace"))
    error = error.get("error") if isinstance(error, dict) else None
    error = error if isinstance(error, dict) else {}
    text = str(error.get("message") or raw[:500].decode("utf-8", "replace"))
    try:
        after = float(response.headers.get("retry-after", ""))
    except ValueError:
        after = None
    if response.status in (429, 529):
        say("quota", text=text, retry_after=after)
        raise Stop("quota", text)
    if response.status >= 500 or response.status == 408:
        return f"{response.status}: {text}", pause if after is None else after
    say("refusal", text=text)
    raise Stop(FACT_CAUSES.get(str(error.get("fact")), "backend"), f"{response.status}: {text}")


# ---------------------------------------------------------------- the loop


def work(options: argparse.Namespace, token: str) -> Json:
    """Talks until the model ends. Returns the closing event's fields."""
    api: Anthropic | OpenAI = Anthropic() if options.api == "anthropic" else OpenAI()
    tools = Tools(options.root, options.read_only, token)
    system = SYSTEM.format(root=options.root)
    if options.system:
        system += "\n\n" + load(options.system)
    talk: list[Json] = [{"who": "user", "text": load(options.prompt)}]
    failed, times, cuts = "", 0, 0
    for turn in range(1, options.max_turns + 1):
        got = ask(options.base, api, api.body(options.model, system, talk, tools, options.max_tokens), token)
        say("usage", **got["usage"])
        final = not got["calls"] and got["stop"] != "length"
        if got["text"]:
            say("text", text=got["text"], final=final)
        talk.append(got)
        if got["stop"] == "refusal":
            raise Stop("refused", "the model refused to go on")
        if final:
            return {"ok": True, "reason": "end", "turns": turn}
        if not got["calls"]:
            cuts += 1
            if cuts > 2:
                raise Stop("backend", "the answer was cut by its length limit three times")
            talk.append({"who": "user", "text": "Your answer was cut by its length limit. Go on where it stopped."})
            continue
        results: list[Json] = []
        for call in got["calls"]:
            say("tool_call", name=call["name"], input=call["input"] if isinstance(call["input"], dict) else {})
            try:
                text, error = tools.call(call["name"], call["input"]), False
            except ToolError as problem:
                text, error = clip(str(problem)), True
            say("tool_result", name=call["name"], error=error, text=text[-1_000:])
            results.append({"id": call["id"], "text": text, "error": error})
            same = json.dumps([call["name"], call["input"], text]) if error else ""
            times = times + 1 if error and same == failed else int(error)
            failed = same
            if times >= 3:
                raise Stop("inactivity", f"no progress: {call['name']} failed in the same way three times: {text[-300:]}")
        talk.append({"who": "tools", "results": results})
    raise Stop("max-turns", f"not done after {options.max_turns} turns")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="native")
    parser.add_argument("--api", choices=("anthropic", "openai"), required=True)
    parser.add_argument("--base", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--system")
    parser.add_argument("--root", default="/work")
    parser.add_argument("--read-only", action="store_true")
    parser.add_argument("--max-turns", type=int, default=60)
    parser.add_argument("--max-tokens", type=int, default=16_000)
    options = parser.parse_args(argv)
    try:
        closing = work(options, os.environ.pop("FACTORY_GATEWAY_TOKEN", ""))
    except Stop as stop:
        say("done", ok=False, reason=stop.cause, cause=stop.cause, detail=stop.detail, turns=0)
        return EXIT[stop.cause]
    except (ToolError, OSError) as error:
        say("done", ok=False, reason="backend", cause="backend", detail=f"reading the task: {error}", turns=0)
        return EXIT["backend"]
    say("done", **closing)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
