"""What a person asks ``factory init`` for, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from factory.config.model import Ci, Environment, Mode
from factory.forge.values import RepoName


@dataclass(frozen=True)
class Request:
    """What a person asked ``init`` for."""

    source: str
    """A path, or a git URL."""
    home: Path
    name: str | None = None
    login: str | None = None
    """Default: ``founder`` on the embedded forge, else whose the admin's token is."""
    mode: Mode | None = None
    forge_url: str | None = None
    admin_token: str | None = None
    tokens_dir: Path | None = None
    """Prepared tokens, for a forge where we are no admin."""
    accounts: Mapping[str, str] = field(default_factory=dict)
    """Duty -> login, where it is not the usual one."""
    hook_url: str | None = None
    forge_port: int | None = None
    web_port: int | None = None
    ci_command: str | None = None
    sandbox: str = "bubblewrap"
    protect: bool = False
    private: bool = True
    dev_slots: int = 1
    poll_seconds: float = 30


@dataclass
class Done:
    """What ``init`` came to, for the person's screen."""

    project: RepoName
    ops: RepoName
    forge_url: str
    mode: Mode
    steps: tuple[str, ...]
    """What was done, or with ``dry_run`` would be. Empty: it was all there."""
    login: str
    password: str | None
    ci: Ci
    environment: Environment
    reasons: tuple[str, ...]
    proposals: tuple[str, ...] = ()
    seed: str = ""
    notes: tuple[str, ...] = ()
    """What a person should know: what did not come along, what does not work without them."""
    ci_reasons: tuple[str, ...] = ()
    environment_reasons: tuple[str, ...] = ()
    up: bool = False
    """The daemon of this home runs; it serves what it found when it started."""
    agents: bool = False
    """This host has hired agents already."""
    ledger: str = ""
    """Root of the vault's ledger; empty: it has not begun."""
