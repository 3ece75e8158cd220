"""What performing needs from outside, as Protocols; ``app`` binds them to git, forge, journal and executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from factory.config.model import Mode
from factory.forge.protocol import Forge
from factory.plan.model import LeaseFact
from factory.runs.model import RunRecord
from factory.runs.spec import SessionSpec


class Records(Protocol):
    """Journal and leases of the ops repo. All reads are fresh, from the remote."""

    def begin(self, record: RunRecord, lease: str, replaces: str | None) -> None:
        """Push the ``started`` entry and the lease ref (expected at ``replaces``; None: absent) atomically.
        Raises LeaseHeld, GitFailed, ForgeUnavailable."""
        ...

    def finish(self, record: RunRecord, lease: str) -> None:
        """Push the ``finished`` entry and, where this run still holds it, the release of the lease, atomically."""
        ...

    def is_finished(self, run: str) -> bool:
        """Whether the journal has a terminal entry of the run."""
        ...

    def holder(self, lease: str) -> LeaseFact | None:
        """Who holds the lease now; None when it is free."""
        ...


class Branches(Protocol):
    """Pushes of session commits from their quarantine repos."""

    def push(self, repo: str, account: str, run: str, ref: str, new: str, expected: str | None) -> None:
        """Push ``new`` from the run's quarantine to branch ``ref``, only if it is at ``expected`` (None: absent).
        Never forces. Raises RefMoved, GitFailed, ForgeUnavailable."""
        ...


class Launcher(Protocol):
    """Sessions of this host."""

    def start(self, spec: SessionSpec) -> None:
        """Start the session once: for a run that lives or has ended it does nothing."""
        ...

    def cancel(self, run: str) -> None:
        """Ask the session to stop; unknown or ended runs are fine."""
        ...


class OpsFiles(Protocol):
    """The ops repo's files, by the direct route."""

    def write(self, files: Mapping[str, str | None], message: str) -> str | None:
        """Write by the direct route; the commit, or None when nothing had to change."""
        ...


class Requests(Protocol):
    """Branches of the ops repo that propose a vault action."""

    def propose(self, account: str, branch: str, base: str, path: str, text: str, message: str) -> str:
        """Have ``branch`` at a commit that adds exactly this one file to ``base``'s tip; the commit. A branch that is
        there and does so stays as it is. Raises RefMoved (another file is on that branch), NotFound, ForgeError."""
        ...


class Gates(Protocol):
    """What may stop an effect at the moment it is tried."""

    def mode(self) -> Mode: ...

    def paused(self, scopes: frozenset[str]) -> str | None:
        """The first of these scopes that is paused now (local file or ops repo, the stricter), else None."""
        ...


@dataclass(frozen=True)
class Ports:
    """All that performing an effect may touch."""

    forge: Callable[[str], Forge]
    """Account login -> a client with that account's token."""
    records: Records
    branches: Branches
    launcher: Launcher
    ops: OpsFiles
    gates: Gates
    now: Callable[[], datetime]
    requests: Requests | None = None
    """None: this host proposes no vault actions."""
    may_write: Callable[[str, str], bool] | None = None
    """(repo, login) -> whether that person still has write there, read afresh (by the sentinel). Asked about people
    whose approval a merge leans on; None: what the plan knew counts."""
