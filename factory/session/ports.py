"""What a session process is handed: adapters for git, sandbox, gateway and backend, bound by ``app``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from factory.backends.protocol import Backend
from factory.git.transport import Remote
from factory.runs.model import Cause, Usage
from factory.sandbox.protocol import Bind, Sandbox


@dataclass(frozen=True)
class GatewayUse:
    """A registration: the token a run shows and the socket that is its identity."""

    token: str
    socket: Path


class ModelGateway(Protocol):
    """The gateway's control side as a session uses it."""

    def register(
        self, *, run: str, agent: str, model: str, formula: str, step: str, alias: str, round: int,
        max_cost_usd: float, max_turns: int,
    ) -> GatewayUse:  # fmt: skip
        """Open the step's access; again for the next step of the run, which keeps its usage."""
        ...

    def usage(self, run: str, *, at_once: bool = False) -> Usage:
        """What the run used. ``at_once``: a gateway that is away is not waited for. Raises FactoryError then."""
        ...

    def trouble(self, run: str) -> tuple[Cause, str] | None:
        """What the gateway itself saw go wrong: it outranks what a backend says about it."""
        ...

    def answer(self, run: str) -> str | None:
        """The last complete assistant text the gateway saw."""
        ...

    def correct(self, run: str, answer: int) -> None: ...

    def revoke(self, run: str, *, at_once: bool = False) -> None: ...


@dataclass(frozen=True)
class SessionPorts:
    """All that executing a session may touch."""

    home: Path
    sandbox: Sandbox
    project_remote: Remote
    """As the run's role account."""
    gateway: ModelGateway | None
    backend: Backend | None
    tool_paths: Mapping[str, str]
    """Of the backend, as probed on this host."""
    pyz: Path
    mirror: Path | None
    """The ops repo's mirror, for context files."""
    tool_mounts: tuple[Bind, ...]
    """Read-only trees of host.toml that every sandbox sees."""
    known_secrets: Callable[[], tuple[str, ...]]
    """Values that must never reach a log."""
    checkpoint_s: float = 60.0
    """Seconds between two checkpoints of a session's commits."""
