"""What every backend promises: a command line for the sandbox, and a reading of what it prints.

A backend starts nothing and reads no clock. How each CLI is driven, limited and judged was measured; see the
references named in each file. Exit codes alone are never believed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Api = Literal["anthropic", "openai"]


@dataclass(frozen=True)
class LaunchRequest:
    """What a session knows when it starts a backend. All paths but ``tool_paths`` are paths inside the sandbox."""

    run: str
    model: str
    token: str
    """The run's token for the gateway; the only secret in the sandbox."""
    gateway_port: int
    """On 127.0.0.1 inside the sandbox."""
    prompt_path: str
    """File holding the prompt."""
    system: str
    """Appended to the backend's own system prompt; may be empty."""
    may_edit: bool
    """False: a review. Only reading and searching tools, nothing is executed."""
    max_turns: int
    max_cost_usd: float | None
    home: str
    python: str
    inside_pyz: str
    tool_paths: Mapping[str, str]
    """Host paths of installed tools, from ``probe`` or host.toml (``claude``, ``node``...)."""
    is_root_inside: bool
    root: str = "/work"
    """The working copy."""
    max_output_tokens: int = 32_000
    """Of one answer."""


@dataclass(frozen=True)
class Launch:
    """How the backend's program is started in the sandbox."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    home_files: Mapping[str, str]
    """Path below the home -> content, written before the start."""
    extra_binds: tuple[tuple[str, str], ...] = ()
    """(host path, sandbox path): read-only tool trees."""


@dataclass(frozen=True)
class ToolCall:
    """The agent calls a tool."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class ToolResult:
    """What a tool answered, capped."""

    name: str
    is_error: bool
    text: str


@dataclass(frozen=True)
class Text:
    """The model said something. ``final``: it is the answer the backend ended with."""

    text: str
    final: bool = False


@dataclass(frozen=True)
class Usage:
    """As the backend reports it; the gateway's own count is the one that is billed."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True)
class Refusal:
    """The gateway or the provider refused a request in a way that repeating it would not change."""

    text: str


@dataclass(frozen=True)
class Quota:
    """Out of quota, rate-limited or overloaded."""

    text: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Done:
    """The backend's own closing word. ``reason``: its word for how it ended; ``cause``: ours, when it failed."""

    ok: bool
    reason: str
    turns: int = 0
    cause: str | None = None
    detail: str = ""


@dataclass(frozen=True)
class Noise:
    """A line that means nothing to us, capped."""

    text: str


Event = ToolCall | ToolResult | Text | Usage | Refusal | Quota | Done | Noise


@dataclass(frozen=True)
class BackendOutcome:
    """How the backend ended, judged from its events and exit code together."""

    ok: bool
    cause: str | None
    """One of the closed list of failure causes (DESIGN section 10); None when ok."""
    detail: str


@dataclass(frozen=True)
class Probe:
    """Whether the backend can be started on this host."""

    installed: bool
    version: str | None = None
    tool_paths: Mapping[str, str] = field(default_factory=dict)
    """For ``LaunchRequest.tool_paths``."""
    detail: str = ""
    """What is missing and how to get it."""
    path: str | None = None
    """The folders it was found in, as in PATH: what ``hire`` remembers. None: nothing had to be found."""


class Parser(Protocol):
    """Turns the lines of one backend process into events; holds the state of that one process."""

    def feed(self, line: bytes) -> tuple[Event, ...]:
        """The events of one line of the backend's stdout. Never raises: what cannot be read is ``Noise``."""
        ...


class Backend(Protocol):
    """What turns a prompt into edits. It builds and parses; it starts nothing."""

    @property
    def kind(self) -> str: ...

    @property
    def api(self) -> Api:
        """The gateway front it speaks."""
        ...

    def launch(self, request: LaunchRequest) -> Launch: ...

    def parser(self) -> Parser: ...

    def outcome(self, returncode: int | None, events: Sequence[Event]) -> BackendOutcome:
        """What happened, judged from the events; ``returncode`` None: it was killed from outside."""
        ...

    def probe(self, path: str | None = None) -> Probe:
        """Whether it is installed on this host. ``path``: where to look, as in PATH."""
        ...


MAX_TEXT = 20_000


def capped(text: str, limit: int = MAX_TEXT) -> str:
    return text if len(text) <= limit else text[:limit] + f"… ({len(text) - limit} more)"
