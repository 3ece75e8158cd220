"""Formulas as values: what ``load`` returns and everything else reads. Pure data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class StepKind(StrEnum):
    """What does a step's work: code, a session, a command, another formula, a person, the vault."""

    CHECK = "check"
    AGENT = "agent"
    SHELL = "shell"
    CALL = "call"
    HUMAN = "human"
    VAULT = "vault"


class InputType(StrEnum):
    """Form of an input; text is of others and always quoted."""

    ISSUE = "issue"
    PULL = "pull"
    COMMIT = "commit"
    TEXT = "text"
    ENUM = "enum"
    PATH = "path"
    DATE = "date"
    INT = "int"


@dataclass(frozen=True)
class Input:
    """An input a formula declares."""

    name: str
    type: InputType
    choices: tuple[str, ...] = ()
    required: bool = True


@dataclass(frozen=True)
class Context:
    """What reaches the prompt as quoted text, from the project at the base commit and from the ops repo."""

    files: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    graph: bool = False
    max_bytes: int = 60_000


@dataclass(frozen=True)
class Limits:
    """Bounds of one run; money is USD at list price."""

    minutes: float = 20
    idle_seconds: float = 300
    turns: int = 60
    cost_usd: float = 1.50
    output_bytes: int = 8_000_000


@dataclass(frozen=True)
class Allowance:
    """How many of a kind, and with which labels."""

    max: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grants:
    """All that a run of this formula may cause. Absent means forbidden."""

    commits: bool = False
    pull_request: bool = False
    review: bool = False
    refuse: bool = False
    statuses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    issues: Allowance | None = None
    comments: Allowance | None = None
    vault: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One node of a formula; which fields it has depends on its kind."""

    id: str
    kind: StepKind
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    """check: names of functions in code."""
    prompt: str = ""
    """agent: Jinja2 source."""
    output: str | None = None
    """agent: schema name of the structured answer (``verdict``)."""
    argv: tuple[str, ...] = ()
    """shell: argv in the sandbox; may hold template variables, each argument rendered alone."""
    writes: bool = True
    """agent: whether the session may edit (a review reads only)."""
    question: str = ""
    formula: str = ""
    with_: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VaultParam:
    """A typed parameter of a vault action."""

    name: str
    type: str
    required: bool = True
    choices: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True)
class Vault:
    """``[vault]`` as people and pages show it; what decides is the trusted part's own reading of the file."""

    effect_class: str
    floor: str
    params: tuple[VaultParam, ...] = ()
    effects: tuple[str, ...] = ()
    undo: str = "irreversible"


@dataclass(frozen=True)
class Formula:
    """A workflow as it was loaded and found valid."""

    name: str
    version: int
    role: str
    description: str
    steps: tuple[Step, ...]
    inputs: tuple[Input, ...] = ()
    context: Context = Context()
    limits: Limits = Limits()
    grants: Grants = Grants()
    vault: Vault | None = None
    """A formula of the vault: requested as an action, never run as a session."""
    origin: str = "packaged"
    """``packaged``, ``ops`` or ``ops (shadows packaged)``."""
    digest: str = ""
    """SHA-256 of the file's bytes."""
