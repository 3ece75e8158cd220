"""What the gateway and its clients say to each other, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Literal

from factory.errors import FactoryError

Api = Literal["anthropic", "openai"]


class GatewayUnavailable(FactoryError):
    """The gateway's control socket did not answer within its bounded retries."""

    exit_code = 6


class GatewayRefused(FactoryError):
    """The gateway answered no: an unknown run or backend, or a grant that does not fit."""

    exit_code = 4


class FactKind(StrEnum):
    """What a run met at the gateway besides answers."""

    QUOTA = "quota"
    """The provider is out of quota or overloaded (429, 529, insufficient_quota)."""
    REFUSED = "refused"
    """The session asked for something outside the allowlist."""
    MISMATCH = "mismatch"
    """Replay found no turn for this request, or another conversation than expected."""
    BUDGET = "budget"
    """The run's money would not cover the call."""
    TURNS = "turns"
    """The run used all its turns."""
    UNAUTHORIZED = "unauthorized"
    """A wrong or missing token on the run's socket."""
    UPSTREAM = "upstream"
    """The provider failed, stalled, or refused the gateway's own key."""


@dataclass(frozen=True)
class Fact:
    """Something that happened to a run and may have ended it."""

    kind: FactKind
    detail: str
    at: str
    """UTC, ISO 8601."""
    retry_after_s: float | None = None
    """quota: seconds the provider asked to wait, when it said so."""
    passed: bool = False
    """quota, upstream: a later request of the run was answered, so this was not what ended it."""


@dataclass(frozen=True)
class Price:
    """USD per million tokens."""

    input_per_mtok: float
    output_per_mtok: float
    cached_input_per_mtok: float | None = None
    """None: cached input costs as much as input."""


@dataclass(frozen=True)
class RunGrant:
    """What one run's agent step may ask of the gateway. Registering the same run again replaces the grant (the next
    step of the run) and keeps its usage."""

    run: str
    backend: str
    """Name of a backend in the gateway's configuration."""
    model: str
    """The only model this run's requests may name."""
    formula: str
    step: str
    alias: str = ""
    """Slug of the originating issue's title: part of the replay key."""
    round: int = 1
    max_cost_usd: float | None = None
    """Over the whole run; None: not limited in money."""
    max_turns: int = 60
    """Answered requests over the whole run."""
    max_output_tokens: int = 32_000
    """Of one answer; a request that asks for more is lowered to it."""
    tools: tuple[str, ...] | None = None
    """Names of the client-side tools a request may offer; None: any."""
    record: bool = False
    """Keep the run's turns so that ``GatewayControl.recording`` can render them."""


@dataclass(frozen=True)
class Registration:
    """What a session needs to reach the model: its own token and socket."""

    token: str
    """Dies with the run or with the next registration of it. Sent as ``x-api-key`` or ``Authorization: Bearer``."""
    socket: Path
    """The run's own Unix socket; the same path again after the gateway restarts. Connect by path per connection."""


@dataclass(frozen=True)
class RunUsage:
    """What a run used so far."""

    requests: int = 0
    """Requests that were answered, or sent to a provider and not known to be free."""
    input_tokens: int = 0
    """Without those read from the provider's cache."""
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    """Settled answers plus what is still reserved; a call whose usage never came counts as its reservation."""
    scripted: bool = False
    """At least one answer came from a script or recording: the cost is not money."""
    first_request_at: str | None = None
    """UTC, ISO 8601."""
    facts: tuple[Fact, ...] = field(default=())
    """The first 200; later ones are only counted by the log."""
