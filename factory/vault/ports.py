"""What is handed to the trusted part: the forge's answers, the sentinel's, the runner's. Values and protocols only.

The trusted part knows these shapes and imports none of it. Nothing that is handed in decides: wrong answers can only
make the vault refuse, or be caught by what it recomputes from git objects; where that cannot be (a forge that lies
about reviews), signatures can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from factory.git.hardened import Git
from factory.vault.approval import Review
from factory.vault.canonical import Unclear
from factory.vault.verify import Order

__all__ = ["Forge", "Keys", "Order", "Outcome", "PullFact", "Repo", "Runner", "Sentinel", "Settings", "Unclear"]


@dataclass(frozen=True)
class Repo:
    """The ops repo as the forge names it now."""

    forge: str
    id: int
    owner: str
    name: str


@dataclass(frozen=True)
class PullFact:
    """A pull request of the ops repo. ``flow`` 0: from a branch; 1: AGit."""

    number: int
    poster: int
    base: str
    head_sha: str
    head_repo: int
    flow: int
    opened: datetime
    merged: bool
    contributors: frozenset[int]
    """Account ids that pushed, wrote or committed any of its commits, as far as the forge knows them."""
    pushed: datetime
    """Last push to its head."""
    moved: datetime | None
    """Last change of its target branch, reopening or forced push; None: there was none."""
    reviews: tuple[Review, ...]


@dataclass(frozen=True)
class Settings:
    """What the sentinel last saw of branch rules, collaborators, admins and repo settings."""

    digest: str
    generation: int
    """Grows with each change, so that a rule taken off and put back is seen too."""
    since: datetime
    """Since when it has been watched without a gap and without a change."""
    at: datetime
    """When it last looked."""
    wrong: str = ""
    """What is not as it must be, in words; empty: all is."""
    changed: str = ""
    """What changed last, in words."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended. ``done`` and ``clean`` are only said when known; a probe says ``applied`` or not."""

    state: str
    """``done``; ``clean`` (failed, surely nothing was changed); ``unclear``; of a probe ``applied`` or ``absent``."""
    words: str = ""
    result: Mapping[str, str] = field(default_factory=dict)
    """Typed fields, redacted and capped by the runner."""
    log_sha256: str = ""


class Forge(Protocol):
    """Reads with the dispatcher's token. All raise Unclear."""

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        """Full names that begin so -> object ids, as they are now; one request, no process."""

    def repo(self) -> Repo: ...

    def ahead(self, heads: Iterable[str]) -> None:
        """``pulls`` of each will be asked next: it may begin with all of them together, and not sooner than now. What
        was not asked for by the next ``refs`` is forgotten. Never raises."""

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        """Those whose recorded head is this commit, as they are now."""

    def now(self) -> datetime:
        """The forge's clock."""

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        """Those of the accounts that exist, are active, and may still write in the ops repo."""


class Sentinel(Protocol):
    """Watches how the ops repo is set, from a process of its own."""

    def settings(self) -> Settings:
        """What it sees now. Raises Unclear when it does not answer, or last looked too long ago."""


class Runner(Protocol):
    """Starts runs, each in a thread and a sandbox of its own; never decides."""

    def start(self, order: Order) -> None: ...

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        """Those that ended since the last call."""

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        """Whether the run, and who started it, are proved dead on this host; ``kill``: end them first."""


class Keys(Protocol):
    """Signatures: people's over what they approve, this host's over what it writes, and whose count."""

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        """Accounts whose good signature over this approval statement is posted on one of these pull requests."""

    def sign(self, data: bytes) -> str:
        """The host key's signature over a batch of entries; empty without a key."""

    def changes(self, git: Git, commit: str, keys: frozenset[str]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
        """KEY_ADD and KEY_REVOKE with their evidence: what the hosts' keys at this commit have more and less than those
        in force. Raises Refused where they cannot be read."""
