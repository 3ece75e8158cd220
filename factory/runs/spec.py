"""What a run is told, and what it leaves, as files of its own folder: the session process reads one, writes the other.

``$FACTORY_HOME/state/runs/<run>/`` (0700): ``spec.json`` (written before the start), ``lock`` (held by the session
process and, by inheritance, its sandbox: taking it proves the run dead), ``pid``, ``result.json`` (written last,
fsynced, renamed), ``outbox.jsonl`` (copy, validated again by the host), ``quarantine.git``, ``log`` (what a person
reads), ``cancel`` (exists: somebody asked to stop).
``$FACTORY_HOME/cache/runs/<run>/``: the clone and the sandbox's ``in/`` and ``out/`` folders; disposable.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from factory.config.model import Ci, Environment
from factory.runs.model import Cause, RunState, Subject, Usage


@dataclass(frozen=True)
class SessionSpec:
    """All that ``factory session exec RUN`` needs besides host.toml, decided by the plan. No secrets."""

    run: str
    project: str
    ops: str
    formula: str
    formula_digest: str
    formula_text: str
    """The formula's bytes as they were when the run was planned, so a resumed run executes the same."""
    role: str
    agent: str
    account: str
    subject: Subject
    issue: int | None
    alias: str
    """Slug of the originating issue's title: the replay key."""
    round: int
    base_ref: str
    base: str
    head_ref: str | None
    """Branch to work on (dev: ``fix/issue-N``) or under judgement."""
    head: str | None
    """Commit to check out; None: base."""
    resume: str | None = None
    """wip commit of an earlier, lost attempt of the same run lineage."""
    inputs: dict[str, str] = field(default_factory=dict)
    """Rendered: issue title and body, pull title, findings, CI log tail... Text of others, quoted by the prompt."""
    trusted: bool = True
    """False: the subject's author is not trusted; its text is marked so."""
    backend: str = ""
    """Backend kind of the agent (``native``, ``claude-code``...); empty for runs without a model."""
    model: str = ""
    environment: Environment = field(default_factory=Environment)
    ci: Ci = field(default_factory=Ci)
    """The project's environment and CI as they were in force when the run was planned."""


@dataclass(frozen=True)
class StepResult:
    """How one step ended; kept, so that a resumed run does not repeat it."""

    step: str
    ok: bool
    detail: str = ""
    answer: dict[str, object] | None = None
    """The validated structured answer of an agent step with ``output``."""
    log: str | None = None


@dataclass(frozen=True)
class SessionResult:
    """``result.json``: what really happened, as far as the host can know it."""

    run: str
    state: RunState
    cause: Cause | None
    detail: str
    steps: tuple[StepResult, ...]
    usage: Usage
    head: str | None = None
    """Head after ingest, checks and rewrite, in ``quarantine.git``; None: no commits."""
    commits: int = 0
    leftovers: tuple[str, ...] = ()
    outbox: tuple[dict[str, object], ...] = ()
    """Validated lines (session/inside/outbox.py)."""
    seconds: float = 0.0
