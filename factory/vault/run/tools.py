"""What the runner is handed, and what an effect of the host is."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from factory.forge.releases import Asset, Release, Tag
from factory.forge.values import RepoName
from factory.sandbox.protocol import Sandbox
from factory.vault.ports import Order
from factory.vault.run import broker
from factory.vault.run.control import Artifact
from factory.vault.run.gate import Fence, Gate
from factory.vault.run.redact import Redactor


class ReleaseForge(Protocol):
    """The project's forge, as the account of releases sees it: ``factory.forge.client.ForgejoClient``."""

    def tag(self, repo: RepoName, name: str) -> Tag | None: ...
    def create_tag(self, repo: RepoName, name: str, *, commit: str, message: str) -> Tag: ...
    def release_of(self, repo: RepoName, tag: str) -> Release | None: ...
    def create_release(self, repo: RepoName, tag: str, *, title: str, notes: str, target: str) -> Release: ...
    def add_asset(self, repo: RepoName, release: Release, name: str, data: bytes) -> Asset: ...
    def asset_sha256(self, repo: RepoName, asset: Asset) -> str: ...


class Project(Protocol):
    """The project whose trees are released and published."""

    @property
    def name(self) -> RepoName: ...

    def tree(self, commit: str, into: Path, *, folder: str, branches: Collection[str], links: bool) -> int:
        """Write the commit's files (of ``folder``, empty: all) into the new folder ``into``; returns the commit's time,
        seconds since the epoch. The commit must be on one of ``branches`` (none: the default branch); with ``links``
        off a symbolic link is refused. Raises FactoryError."""


@dataclass(frozen=True)
class Tools:
    """``host``: this host's name on the ledger; ``instance``: ours there, ``<host>/<instance>``."""

    state: Path
    """``state/vault/...`` of this ops repo: ``locks/``, ``logs/`` and ``runs/`` are made there."""
    host: str
    instance: str
    sandbox: Callable[[], Sandbox]
    """Raises SandboxUnavailable."""
    fence: Fence
    secret: Callable[[str, Order], bytes]
    project: Project
    forge: Callable[[], tuple[ReleaseForge, str]]
    """The forge and our login there. Asked anew for each run that needs it; raises FactoryError."""
    never: Collection[str] = ()
    """Hosts that stay closed: the forge's."""
    wake: Callable[[], None] = lambda: None
    """Called when a run has ended."""
    connect: broker.Connect = broker.connect
    minute_s: float = 60.0
    """Seconds of one of a formula's minutes."""
    ends_s: float = 15.0
    """The end of a run that held a secret is told at multiples of so many seconds since its start (attack 29)."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic


class EffectFailed(Exception):
    """An effect did not come to be, or must not; in words."""


@dataclass(frozen=True)
class Work:
    """What an effect has at hand. Before it changes anything it asks ``gate.change``."""

    order: Order
    gate: Gate
    redactor: Redactor
    say: Callable[[str], None]
    tools: Tools
    tree: Path | None = None
    committed: int = 0
    artifacts: Mapping[str, Artifact] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """A parameter that is a text; empty where it was left out."""
        value = self.order.action.params.get(name, "")
        return value if isinstance(value, str) else ""

    def place(self, name: str) -> Mapping[str, object]:
        """The place that the policy names so. Raises EffectFailed."""
        places = self.order.rule.settings.get("places")
        place = places.get(name) if isinstance(places, Mapping) else None
        if not isinstance(place, Mapping):
            raise EffectFailed(f"the policy names no place {name} for {self.order.formula.key}")
        return place

    def clear(self, what: str, *texts: str | bytes) -> None:
        """Raises EffectFailed where something that the run was given would go out with these texts."""
        data = b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts)
        hits = self.redactor.find(data)
        if hits:
            self.say(f"{what}: it holds {', '.join(map(str, hits))}")
            raise EffectFailed(f"{what}: something secret stands in it")


class Effect(Protocol):
    """One effect of the host, in code; found by its name in ``effects.EFFECTS``."""

    def do(self, work: Work) -> Mapping[str, object]:
        """Bring it about, or find it done already; fields of the result. Raises EffectFailed, Shut, FactoryError."""

    def done(self, work: Work) -> bool:
        """Whether it is done. Changes nothing. Raises EffectFailed where that cannot be told, FactoryError."""
