"""Configuration as frozen, valid values: ``factory.toml`` is shared (ops repo), ``host.toml`` is one machine's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


class Mode(StrEnum):
    """How far the factory goes by itself: write nothing, open pull requests, merge."""

    OBSERVE = "observe"
    SUGGEST = "suggest"
    MERGE = "merge"


@dataclass(frozen=True)
class Environment:
    """How the project's own commands run: set-up has ``egress``; everything after it is offline."""

    setup: tuple[str, ...] = ()
    """Shell lines, run when a lock file changes; their result is cached read-only."""
    cache: tuple[str, ...] = ()
    """Paths (relative to the checkout) that set-up produces and later runs see read-only."""
    lock_files: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    directory: str = "."


@dataclass(frozen=True)
class Ci:
    """What makes a commit green."""

    command: str = ""
    """Shell line that decides whether a commit is green; empty: the factory runs no CI."""
    contexts: tuple[str, ...] = ("factory/ci",)
    """Contexts required before a review and a merge."""
    minutes: float = 20


@dataclass(frozen=True)
class Budgets:
    """Limits in USD at list price: per run, per role and day, per project and day, per project and month."""

    run_usd: float = 2.0
    role_day_usd: float = 20.0
    project_day_usd: float = 40.0
    project_month_usd: float = 400.0


@dataclass(frozen=True)
class Trust:
    """Whose words count."""

    people: frozenset[str] = frozenset()
    """Logins whose labels and text count, besides collaborators with write."""


@dataclass(frozen=True)
class AgentEntry:
    """``[[agents]]``: a hired name, bound to roles."""

    name: str
    backend: str
    """Backend kind: native, claude-code, ..."""
    model: str
    roles: frozenset[str]


@dataclass(frozen=True)
class RoleDefinition:
    """``agents/<role>.toml``."""

    name: str
    description: str
    account: str
    active: bool
    """False: known, shown by ``factory agents``, not yet acting."""
    formulas: tuple[str, ...]
    grants: frozenset[str]
    """Grant names a formula of this role may ask for."""
    schedule: str | None = None
    origin: str = "packaged"


@dataclass(frozen=True)
class FactoryConfig:
    """``factory.toml`` of one project."""

    project: str
    """``owner/name`` of the project repo."""
    mode: Mode
    agents: tuple[AgentEntry, ...] = ()
    accounts: Mapping[str, str] = field(default_factory=dict)
    """role or duty -> account login; defaults fill what is absent (dev -> dev-bot, ...)."""
    approvers: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()
    trust: Trust = Trust()
    environment: Environment = Environment()
    ci: Ci = Ci()
    budgets: Budgets = Budgets()
    poll_seconds: float = 30
    dev_slots: int = 1
    """Issues worked on at the same time in this project."""
    review_all: bool = False
    schedules: Mapping[str, str] = field(default_factory=dict)
    commit: str = ""
    """Ops commit it was read at."""

    def account(self, role: str) -> str:
        """Login of the account a role or duty (``factory``, ``ci``, ``vault``...) acts with. Raises KeyError.

        ``ci`` has none of its own unless ``[accounts]`` names one: its statuses are then the factory's.
        """
        if role == "ci" and role not in self.accounts:
            return self.account("factory")
        return self.accounts.get(role) or DEFAULT_ACCOUNTS[role]


APPROVER_DUTIES = frozenset({"reviewer"})
"""Roles whose account approves; every other role's and duty's account may author, so none of them may be the same."""
DEFAULT_ACCOUNTS: Mapping[str, str] = {
    "dev": "dev-bot",
    "reviewer": "review-bot",
    "gardener": "gardener-bot",
    "planner": "planner-bot",
    "predictor": "predictor-bot",
    "architect": "architect-bot",
    "supervisor": "supervisor-bot",
    "factory": "factory-bot",
    "vault": "vault-bot",
    "dispatcher": "dispatcher-bot",
    "release": "release-bot",
    "sentinel": "sentinel-bot",
}


@dataclass(frozen=True)
class BackendHost:
    """``[backends.<agent name>]`` in host.toml: where this host reaches it. Keys never leave the gateway."""

    kind: str
    model: str = ""
    roles: frozenset[str] = frozenset()
    """What ``hire`` bound it to; in force on this host until ``factory.toml`` names the same agent."""
    url: str | None = None
    key_file: Path | None = None
    auth: str = "gateway"
    slots: int = 1
    replay: Path | None = None
    price_input: float | None = None
    price_output: float | None = None
    """USD per million tokens."""
    path: str | None = None
    """Folders, as in PATH, where its program was found when it was hired; looked through before PATH."""


@dataclass(frozen=True)
class LedgerMirror:
    """``[vault]`` in host.toml: where the ledgers of this host's ops repos are copied to, on another machine."""

    url: str
    """Without a password: http(s), ssh, or an absolute path."""
    login: str = ""
    token_file: Path | None = None
    """Holds the token for http(s)."""


@dataclass(frozen=True)
class ChannelHost:
    """``[notify.<name>]`` in host.toml: one way to tell people outside the forge that something needs them."""

    kind: str
    """ntfy, slack, mattermost or telegram."""
    secret_file: Path
    """Holds what lets one write there: the address or the token. It is never shown."""
    chat: str = ""
    """Telegram: the chat that is written to."""
    api: str = ""
    """Telegram: a Bot API server of one's own; empty: Telegram's."""


@dataclass(frozen=True)
class HostConfig:
    """``$FACTORY_HOME/state/host.toml``."""

    home: Path
    host: str
    forge_url: str
    embedded: bool
    forge_port: int | None
    web_port: int
    ops_repos: tuple[str, ...]
    sandbox: str = "bubblewrap"
    backends: Mapping[str, BackendHost] = field(default_factory=dict)
    tool_mounts: tuple[str, ...] = ()
    slots: int = 2
    """Sessions this host runs at the same time."""
    ledger_mirror: LedgerMirror | None = None
    channels: Mapping[str, ChannelHost] = field(default_factory=dict)
    """Where people are told, by name."""
    runs: str = "all"
    """What of the factory runs from this home: all, daemon (all but the vault's processes), vault (only those), nothing
    (the vault was here and has moved out)."""

    @property
    def has_vault(self) -> bool:
        """Whether the vault's processes, keys and tokens are of this home."""
        return self.runs in ("all", "vault")

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def cache(self) -> Path:
        return self.home / "cache"
