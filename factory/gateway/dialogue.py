"""One request and one answer, seen the same way whichever API they came through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from factory.gateway.values import Api, FactKind, Price

Json = dict[str, Any]


class Refused(Exception):
    """The gateway will not pass this request on. Becomes an HTTP error in the front's own shape and a fact."""

    def __init__(self, message: str, *, kind: FactKind = FactKind.REFUSED, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.status = status


@dataclass(frozen=True)
class Asked:
    """A request that passed the allowlist. ``body`` is what may be forwarded, rebuilt from allowed fields only."""

    api: Api
    body: Json
    stream: bool
    turn: int
    """Assistant turns already in the conversation."""
    heard: str
    """What the model is to react to: the last tool results, or the prompt."""
    news: tuple[Json, ...]
    """Messages since the last assistant turn, for the transcript."""
    tools: frozenset[str]
    max_tokens: int
    size: int
    """Bytes of the body as received."""
    betas: tuple[str, ...] = ()
    """Anthropic: beta flags to forward."""


@dataclass(frozen=True)
class Call:
    """A tool the model calls."""

    tool: str
    input: Mapping[str, Any]


@dataclass(frozen=True)
class Tokens:
    """``written`` is input stored into the provider's cache, which Anthropic bills at 1.25 times the input price."""

    input: int = 0
    cached: int = 0
    written: int = 0
    output: int = 0

    def cost(self, price: Price | None) -> float:
        """USD; 0 without a price."""
        if price is None:
            return 0.0
        cached = price.input_per_mtok if price.cached_input_per_mtok is None else price.cached_input_per_mtok
        return (
            self.input * price.input_per_mtok
            + self.written * price.input_per_mtok * 1.25
            + self.cached * cached
            + self.output * price.output_per_mtok
        ) / 1_000_000


Stop = Literal["end", "tools", "length", "refusal", "cut"]


@dataclass(frozen=True)
class Answer:
    """What the model answered, whatever front it goes back through."""

    text: str
    calls: tuple[Call, ...]
    tokens: Tokens | None
    """None: the provider never said."""
    stop: Stop
    delay_s: float = 0.0
    """Scripted turns only: how long the answer takes."""


@dataclass(frozen=True)
class ScriptedError:
    """A script may let the provider fail, to try what happens then."""

    status: int
    message: str
    retry_after_s: float | None = None


@dataclass
class Collected:
    """An answer while its pieces arrive."""

    text: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    tokens: Tokens | None = None
    stop: Stop = "cut"

    def answer(self) -> Answer:
        return Answer("".join(self.text), tuple(self.calls), self.tokens, self.stop)
