"""Backends: what turns a prompt into edits. Each builds a launch and reads its output; none starts anything."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from factory.backends.protocol import Backend, Probe
from factory.errors import UsageError

BACKENDS: dict[str, str] = {
    "native": "factory.backends.native:Native",
    "native-openai": "factory.backends.native:NativeOpenAI",
    "claude-code": "factory.backends.claude_code:ClaudeCode",
}
"""Kind -> ``module:class``, loaded when asked for."""


def backend(kind: str) -> Backend:
    """The backend of that kind. Raises ``UsageError`` naming those that exist."""
    if (place := BACKENDS.get(kind)) is None:
        raise UsageError(f"backend {kind!r} does not exist", hint=f"backends here: {', '.join(sorted(BACKENDS))}")
    module, _, name = place.partition(":")
    make: Callable[[], Backend] = getattr(import_module(module), name)
    return make()


def found_on_host(kind: str, path: str | None) -> Probe:
    """Where its program is on this host: in the folders ``path`` that ``hire`` remembered, else on PATH."""
    known = backend(kind).probe(path) if path else None
    return known if known is not None and known.installed else backend(kind).probe()
