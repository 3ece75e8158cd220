"""The allowlist of OpenAI Chat Completions requests; same rules as for Anthropic Messages."""

from __future__ import annotations

from typing import Any

from factory.gateway.dialogue import Asked, Json, Refused
from factory.gateway.shape import DATA_URL, array, flag, number, obj, only, text, whole

TOP_FIELDS = frozenset(
    {
        "model",
        "messages",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "n",
        "seed",
        "presence_penalty",
        "frequency_penalty",
        "response_format",
        "reasoning_effort",
        "user",
        "verbosity",
        "prompt_cache_key",
        "store",
    }
)
_PASSED = ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty")


def vet(body: Json, *, model: str, max_output_tokens: int, tools: tuple[str, ...] | None, size: int) -> Asked:
    """The request as it may be forwarded. Raises ``Refused``."""
    only(body, TOP_FIELDS, "request")
    if body.get("model") != model:
        raise Refused(f"model {body.get('model')!r} is not this run's model ({model!r})")
    if body.get("store") not in (None, False):
        raise Refused("store: content kept at the provider is not allowed")
    if body.get("n") not in (None, 1):
        raise Refused("n: one answer at a time")
    messages = [_message(item, f"messages[{n}]") for n, item in enumerate(array(body.get("messages"), "messages"))]
    if not messages:
        raise Refused("messages is empty")
    # Which of the two names a server understands depends on its age, so the caller's choice is kept.
    name = "max_tokens" if body.get("max_tokens") is not None else "max_completion_tokens"
    asked = [
        whole(body[key], key, least=1) for key in ("max_tokens", "max_completion_tokens") if body.get(key) is not None
    ]
    max_tokens = min([*asked, max_output_tokens])
    out: Json = {"model": model, "messages": messages, name: max_tokens}
    names: list[str] = []
    if body.get("tools") is not None:
        out["tools"] = [_tool(item, f"tools[{n}]") for n, item in enumerate(array(body["tools"], "tools"))]
        names = [str(tool["function"]["name"]) for tool in out["tools"]]
        if tools is not None and (extra := sorted(set(names) - set(tools))):
            raise Refused(f"tools not allowed in this step: {', '.join(extra)}")
    if body.get("tool_choice") is not None:
        out["tool_choice"] = _tool_choice(body["tool_choice"])
    if body.get("parallel_tool_calls") is not None:
        out["parallel_tool_calls"] = flag(body["parallel_tool_calls"], "parallel_tool_calls")
    stream = flag(body.get("stream") or False, "stream")
    if stream:
        only(obj(body.get("stream_options") or {}, "stream_options"), frozenset({"include_usage"}), "stream_options")
        # Always asked for: the gateway meters from it.
        out |= {"stream": True, "stream_options": {"include_usage": True}}
    for key in _PASSED:
        if body.get(key) is not None:
            out[key] = number(body[key], key)
    if body.get("stop") is not None:
        stops = [body["stop"]] if isinstance(body["stop"], str) else array(body["stop"], "stop")
        out["stop"] = [text(item, "stop") for item in stops]
    for key in ("reasoning_effort", "verbosity"):
        if body.get(key) is not None:
            out[key] = text(body[key], key)
    if body.get("response_format") is not None:
        out["response_format"] = obj(body["response_format"], "response_format")
    turn, news = _since_last_answer(messages)
    return Asked("openai", out, stream, turn, _heard(news), tuple(news), frozenset(names), max_tokens, size)


def wants_usage(body: Json) -> bool:
    """Whether the caller itself asked for the closing usage chunk."""
    options = body.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


_MESSAGE_FIELDS = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "tool_calls", "refusal", "reasoning_content"}),
    "tool": frozenset({"role", "content", "tool_call_id", "name"}),
}


def _message(item: Any, where: str) -> Json:
    message = obj(item, where)
    role = message.get("role")
    if not isinstance(role, str) or role not in _MESSAGE_FIELDS:
        raise Refused(f"{where}.role {role!r} is not allowed")
    only(message, _MESSAGE_FIELDS[role], where)
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        for n, part in enumerate(array(content, f"{where}.content")):
            _part(part, f"{where}.content[{n}]")
    for n, call in enumerate(array(message.get("tool_calls") or [], f"{where}.tool_calls")):
        _call(call, f"{where}.tool_calls[{n}]")
    return message


def _part(item: Any, where: str) -> None:
    part = obj(item, where)
    kind = part.get("type")
    if kind == "text":
        only(part, frozenset({"type", "text", "cache_control"}), where)
    elif kind == "image_url":
        only(part, frozenset({"type", "image_url"}), where)
        image = obj(part.get("image_url"), f"{where}.image_url")
        only(image, frozenset({"url", "detail"}), f"{where}.image_url")
        if not DATA_URL.match(str(image.get("url", ""))):
            raise Refused(f"{where}: an image must be inline (a data: URL); the provider would fetch this one")
    else:
        raise Refused(f"{where}: content of type {kind!r} is not allowed")


def _call(item: Any, where: str) -> None:
    call = obj(item, where)
    only(call, frozenset({"id", "type", "function", "index"}), where)
    if call.get("type", "function") != "function":
        raise Refused(f"{where}: only function calls are allowed")
    only(obj(call.get("function"), f"{where}.function"), frozenset({"name", "arguments"}), f"{where}.function")


def _tool(item: Any, where: str) -> Json:
    tool = obj(item, where)
    if tool.get("type") != "function":
        raise Refused(f"{where}: tool type {tool.get('type')!r} would run at the provider; only functions are allowed")
    only(tool, frozenset({"type", "function"}), where)
    function = obj(tool.get("function"), f"{where}.function")
    only(function, frozenset({"name", "description", "parameters", "strict"}), f"{where}.function")
    text(function.get("name"), f"{where}.function.name")
    return tool


def _tool_choice(value: Any) -> str | Json:
    if isinstance(value, str):
        return value
    choice = obj(value, "tool_choice")
    only(choice, frozenset({"type", "function"}), "tool_choice")
    if choice.get("type") != "function":
        raise Refused("tool_choice: only functions are allowed")
    return choice


def _since_last_answer(messages: list[Json]) -> tuple[int, list[Json]]:
    turns, last, before = 0, -1, ""
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            turns += before != "assistant"
            last = n
        before = message["role"]
    return turns, messages[last + 1 :]


def _heard(news: list[Json]) -> str:
    results = [_plain(message.get("content")) for message in news if message["role"] == "tool"]
    texts = [_plain(message.get("content")) for message in news if message["role"] == "user"]
    return "\n".join(results or texts)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", "")) for part in content or () if part.get("type") == "text")
