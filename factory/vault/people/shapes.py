"""Action and policy files as shapes: for editors (JSON Schema), and for problems that name their line.

One table per file. What counts is what the trusted part reads; a test holds that whatever it takes these take too, and
that what these refuse it refuses.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from factory.config.shape import Shape
from factory.vault import action as a
from factory.vault import policy as p
from factory.vault.canonical import MAX_INT
from factory.vault.formulas import METHODS

TierWord = Literal["low", "medium", "high"]


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


Secret = Annotated[str, Field(pattern=_whole(a.SECRET.pattern))]
FormulaKey = Annotated[str, Field(pattern=_whole(a.FORMULA.pattern))]
Account = Annotated[int, Field(ge=1, le=MAX_INT)]
Number = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)]
Text = Annotated[str, Field(max_length=a.MAX_TEXT)]
PerDay = Annotated[int, Field(ge=0, le=10_000)]
Asked = Annotated[str, Field(pattern=f"^(?:{'|'.join(METHODS)})(?:,(?:{'|'.join(METHODS)}))* [^ ]+$")]
ParamKey = Annotated[str, Field(pattern=_whole(a.KEY.pattern))]


class ActionShape(Shape):
    """vault/actions/<id>.toml: a request for one effect. Write it with `factory vault request`: only the exact bytes
    that the factory writes are read."""

    v: Annotated[int, Field(ge=1, le=1)]
    """version of the form"""
    id: Annotated[str, Field(pattern=_whole(a.ID.pattern))]
    """the file's name, without .toml"""
    formula: FormulaKey
    """name and version, like release@1"""
    blast_radius: TierWord
    """at least this tier; the computed one may be higher, never lower"""
    target: Annotated[str, Field(pattern=_whole(a.TARGET.pattern))]
    """what is acted on: the formula's name and its lane's parameters"""
    secrets: Annotated[list[Secret], Field(max_length=a.MAX_ITEMS)]
    """names that formula and policy allow"""
    not_before: datetime
    """UTC, whole seconds"""
    expires: datetime
    """UTC, whole seconds; within the policy's limit"""
    reason: Annotated[str, Field(max_length=a.MAX_REASON)]
    """the asker's words: shown as untrusted, never read"""
    requester: Annotated[str, Field(pattern=_whole(a.REQUESTER.pattern))]
    """role:<name>, run:<id> or person:<login>: whose budget it is"""
    unblocks: Annotated[list[Annotated[str, Field(pattern=_whole(a.REF.pattern))]], Field(max_length=a.MAX_ITEMS)]
    """owner/repo#number of what waits for it"""
    runs: Annotated[int, Field(ge=1, le=a.MAX_RUNS)] = 1
    """more than 1: one approval stands for so many runs"""
    every_hours: Annotated[int, Field(ge=0, le=24 * 366)] = 0
    """hours between those runs"""
    params: Annotated[dict[ParamKey, Text | Number | bool | list[Text | Number]], Field(max_length=a.MAX_ITEMS)]
    """what the formula takes"""


class InjectShape(Shape):
    """[formulas."<key>".inject."<host>"]: how a secret reaches a host without the run ever seeing it."""

    secret: Secret
    """one of this formula's secrets"""
    header: Annotated[str, Field(pattern=_whole(p.HEADER.pattern))]
    """the request header that is set"""
    prefix: Annotated[str, Field(max_length=100)] = ""
    """what stands before the value, like "Bearer " """


class RuleShape(Shape):
    """[formulas."<name>@<version>"]: what the policy says of one formula."""

    digest: Annotated[str, Field(pattern=_whole(p.DIGEST.pattern))]
    """SHA-256 of the formula's file; another file is refused"""
    tier: TierWord
    """at least this tier"""
    secrets: list[Secret] = Field(default_factory=list)
    """secrets its runs may use"""
    hosts: list[Asked] = Field(default_factory=list)
    """METHODS host/path, where the formula leaves the hosts to the policy"""
    inject: dict[str, InjectShape] = Field(default_factory=dict)
    """by host"""
    per_day: PerDay = 0
    """starts in a day; 0: no limit of its own"""
    max_runs: Annotated[int, Field(ge=1, le=a.MAX_RUNS)] = 1
    """of one action by one approval"""
    settings: dict[str, Any] = Field(default_factory=dict)
    """for its host effects: named places, an admin's own argument lists"""


class BudgetShape(Shape):
    """[per_day]: starts in 24 hours, by tier."""

    low: PerDay = 50
    """low actions"""
    medium: PerDay = 50
    """medium actions"""
    high: PerDay = 20
    """high actions"""


class PolicyShape(Shape):
    """vault/policy.toml: who approves, and what each formula may do. In force once an admin of the version before
    approved it; the version only grows."""

    v: Annotated[int, Field(ge=1, le=1)]
    """version of the form"""
    version: Annotated[int, Field(ge=1, le=MAX_INT)] = 1
    """raise it with every change"""
    admins: Annotated[list[Account], Field(min_length=1)]
    """account ids that may approve everything; `factory vault list` shows whose they are"""
    approvers: list[Account]
    """account ids that may approve medium actions"""
    pending: Annotated[int, Field(ge=1, le=1000)] = 5
    """requests of one asker that may wait at once"""
    per_requester_day: PerDay = 20
    """starts in 24 hours for one asker"""
    max_ttl_hours: Annotated[int, Field(ge=1, le=24 * 31)] = 72
    """how long a request may stay open"""
    remember_days: Annotated[int, Field(ge=0, le=3650)] = 30
    """the same content within so many days rises by a tier"""
    cooling_hours: Annotated[int, Field(ge=0, le=14 * 24)] = 0
    """a change of this file counts so many hours after an admin approved it; not in the vault's first day"""
    require_signature: list[TierWord] = Field(default_factory=list)
    """tiers that also need an admin's signature (`factory vault sign`)"""
    per_day: BudgetShape = Field(default_factory=BudgetShape)
    """starts in 24 hours, by tier"""
    logins: dict[str, Any] = Field(default_factory=dict)
    """whose the account ids are, for people's eyes: login = id"""
    formulas: dict[FormulaKey, RuleShape] = Field(default_factory=dict)
    """what may be done; a formula that is not named is refused"""
