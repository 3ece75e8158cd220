"""Runs as values: identity, states, causes, usage, and the journal's entries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class RunState(StrEnum):
    """Where a run is: planned -> leased -> running -> (waiting) -> one of the four ends."""

    PLANNED = "planned"
    LEASED = "leased"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_terminal(self) -> bool:
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED, RunState.LOST)


class Cause(StrEnum):
    """Why a run did not succeed. Closed list (DESIGN section 10)."""

    INACTIVITY = "inactivity"
    MAX_DURATION = "max-duration"
    MAX_TURNS = "max-turns"
    BUDGET = "budget"
    QUOTA = "quota"
    REFUSED = "refused"
    NO_CHANGES = "no-changes"
    INVALID_OUTPUT = "invalid-output"
    GATE = "gate"
    GIT = "git"
    FORGE = "forge"
    SANDBOX = "sandbox"
    BACKEND = "backend"
    CANCELLED = "cancelled"
    LOST = "lost"
    BUG = "bug"


@dataclass(frozen=True, order=True)
class Subject:
    """What a run is about: ``issue/12``, ``pull/5``, ``commit/<sha>`` in one repo, or ``none/<name>``."""

    repo: str
    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.repo}:{self.kind}/{self.id}"

    @property
    def key(self) -> str:
        """Safe as a ref component and file name."""
        return f"{self.repo.replace('/', '.')}.{self.kind}.{self.id}"


@dataclass(frozen=True)
class Usage:
    """Model calls, tokens and USD; adds up."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    scripted: bool = False
    known: bool = True
    """False: whoever counts could not be asked, and the figures are a lower bound. Zero requests are known too."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.cost_usd + other.cost_usd,
            self.scripted or other.scripted,
            self.known and other.known,
        )


UNKNOWN_USAGE = Usage(known=False)
"""Nobody could say what was used; a budget counts the reservation."""


@dataclass(frozen=True)
class RunRecord:
    """One run, as the journal tells it (the fold of its entries)."""

    run: str
    """Sorts by time: ``r<UTC yyyymmddThhmmssmmm>-<8 hex>``."""
    formula: str
    role: str
    agent: str
    account: str
    subject: Subject
    issue: int | None
    """The originating issue."""
    round: int
    """1 for the first run of this formula for this issue; lost and infrastructure retries keep it."""
    state: RunState
    host: str
    epoch: int
    started_at: datetime
    finished_at: datetime | None = None
    cause: Cause | None = None
    detail: str = ""
    head: str | None = None
    """The head judged (review, ci) or produced (dev)."""
    base: str | None = None
    usage: Usage = Usage()
    reserved_usd: float = 0.0
    facts: tuple[tuple[str, str], ...] = ()
    """Small typed results: verdict, findings digest, ci conclusion, refusal reason, pull number."""

    def fact(self, name: str) -> str | None:
        return dict(self.facts).get(name)
