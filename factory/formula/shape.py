"""The shape of a formula file: its keys, their types and bounds. What only several keys together say is in ``load``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from factory.config.role import Digest
from factory.config.shape import Shape
from factory.config.words import Name, Place
from factory.formula.vault import VaultShape

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
Text = Annotated[str, Field(min_length=1, max_length=100_000, pattern=r"^[^\x00]*$")]
LabelName = Annotated[str, Field(pattern=r"^[^\x00-\x1f,]{1,50}$")]


SECRETS = "vault/secrets"


def _quotable(path: str) -> str:
    plain = "/".join(part for part in path.casefold().split("/") if part not in ("", "."))
    if f"{plain}/".startswith(f"{SECRETS}/"):
        raise ValueError(f"{SECRETS} is never in a session's view, encrypted or not")
    return path


Quotable = Annotated[Place, AfterValidator(_quotable)]


class InputShape(Shape):
    """[inputs.<name>]: what the formula is given."""

    type: Literal["issue", "pull", "commit", "text", "enum", "path", "date", "int"]
    """what it is: text (of others, always quoted) or a form that is checked"""
    choices: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default_factory=list)
    """values an enum may have"""
    required: bool = True
    """false: it may be left out"""


class ContextShape(Shape):
    """[context]: files that every prompt of it may quote."""

    files: list[Place] = Field(default_factory=list)
    """files of the project, read at the base commit; absent ones are left out"""
    ops: list[Quotable] = Field(default_factory=list)
    """files of the ops repo, but none of its secrets"""
    graph: bool = False
    """whether a summary of the knowledge graph is added"""
    max_bytes: Annotated[int, Field(ge=0, le=1_000_000)] = 60_000
    """of all files together"""


class LimitsShape(Shape):
    """[limits]: bounds of one run; money is USD at list price."""

    minutes: Annotated[float, Field(gt=0, le=24 * 60, allow_inf_nan=False)] = 20
    """of the whole run"""
    idle_seconds: Annotated[float, Field(gt=0, le=24 * 3600, allow_inf_nan=False)] = 300
    """without a line of output"""
    turns: Annotated[int, Field(ge=1, le=1_000)] = 60
    """model answers"""
    cost_usd: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False)] = 1.50
    """money of the run, at list price"""
    output_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 8_000_000
    """printed by one step"""


class IssuesShape(Shape):
    """grants.issues: how many issues it may file, and with which labels."""

    max: Annotated[int, Field(ge=1, le=100)]
    """how many"""
    labels: list[LabelName] = Field(default_factory=list)
    """labels they may have"""


class CommentsShape(Shape):
    """grants.comments: how many comments it may write."""

    max: Annotated[int, Field(ge=1, le=100)]
    """how many"""


class GrantsShape(Shape):
    """All that a run of the formula may cause; what is absent is forbidden."""

    commits: bool = False
    """commits on its work branch"""
    pull_request: bool = False
    """one pull request"""
    review: bool = False
    """one review of the head it read"""
    refuse: bool = False
    """decline the issue, with a reason"""
    statuses: list[Annotated[str, Field(pattern=r"^[^\x00-\x1f]{1,100}$")]] = Field(default_factory=list)
    """contexts of commit statuses it may post"""
    labels: list[LabelName] = Field(default_factory=list)
    """labels it may set and take off"""
    issues: IssuesShape | None = None
    """issues it may file: { max = 3, labels = ["tech-debt"] }"""
    comments: CommentsShape | None = None
    """comments it may write: { max = 1 }"""
    vault: list[Name] = Field(default_factory=list)
    """vault formulas it may request"""


class StepShape(Shape):
    """[[steps]]: one node of the step graph; which keys it has depends on its kind."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]
    """the step's name: lower-case letters, digits, dashes"""
    kind: Literal["check", "agent", "shell", "call", "human", "vault"]
    """check (code), agent (session), shell (argv in the sandbox), call (formula), human (question), vault (request)"""
    needs: list[str] = Field(default_factory=list)
    """steps that must be done before"""
    uses: list[str] = Field(default_factory=list)
    """check: names of the checks"""
    prompt: Text | None = None
    """agent: Jinja2 template of the prompt"""
    output: str | None = None
    """agent: schema of the structured answer"""
    argv: list[Text] = Field(default_factory=list)
    """shell: program and arguments, each a template of its own"""
    writes: bool = True
    """agent: false lets it only read and search"""
    question: Text | None = None
    """human: what is asked"""
    formula: Name | None = None
    """call, vault: the formula to run or to request"""
    with_: Annotated[dict[str, Text], Field(alias="with")] = Field(default_factory=dict)
    """call, vault: its inputs"""


class FormulaShape(Shape):
    """formulas/<name>.toml: a workflow."""

    schema_: Annotated[Literal[1], Field(alias="schema")]
    """version of this file's form: schema = 1"""
    name: Name
    """the formula's name; the file is formulas/<name>.toml"""
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    """counts up with each change of meaning"""
    role: Name
    """role that runs it"""
    description: Annotated[str, Field(min_length=1, max_length=600)]
    """what it does, in a sentence"""
    overrides: Digest | None = None
    """in an ops repo: SHA-256 of the packaged file that this one replaces"""
    inputs: dict[Identifier, InputShape] = Field(default_factory=dict)
    context: ContextShape = ContextShape()
    limits: LimitsShape = LimitsShape()
    grants: GrantsShape = GrantsShape()
    vault: VaultShape | None = None
    steps: Annotated[list[StepShape], Field(max_length=100)] = Field(default_factory=list)
    """at least one [[steps]]; a formula of the vault may have only effects"""
