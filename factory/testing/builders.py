"""Hand-written values for tests of decisions: a small world in which one fact at a time is changed.

``NOW`` is the tick's time. Defaults describe the ordinary case: a trusted founder, a project with green base, one free
agent, mode merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from factory.config.model import AgentEntry, Ci, FactoryConfig, Mode, RoleDefinition
from factory.forge.values import (
    ChangedFile,
    CheckState,
    Comment,
    Issue,
    ItemState,
    Pull,
    RepoName,
    Review,
    ReviewState,
    Status,
    TimelineEvent,
    User,
)
from factory.formula.model import Allowance, Formula, Grants, Input, InputType, Step, StepKind
from factory.plan.model import AgentFacts, BaseFacts, HostFacts, IssueFacts, PullFacts, World
from factory.runs.model import Cause, RunRecord, RunState, Subject, Usage
from factory.runs.spec import SessionResult, SessionSpec, StepResult

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
PROJECT = RepoName("acme", "tally")
OPS = RepoName("acme", "tally-ops")
BASE = "b" * 40
HEAD = "a" * 40

_IDS: dict[str, int] = {}


def ago(minutes: float) -> datetime:
    """A moment before NOW."""
    return NOW - timedelta(minutes=minutes)


def sha(text: str) -> str:
    """A made-up object id that starts with the hex form of ``text``."""
    return (text.encode().hex() + "0" * 40)[:40]


def user(login: str) -> User:
    """The same login always has the same id."""
    return User(_IDS.setdefault(login, len(_IDS) + 1), login)


def labelled(name: str, by: str = "founder", *, at: datetime | None = None, added: bool = True) -> TimelineEvent:
    return TimelineEvent(900 + len(name), "label", user(by), at or ago(50), name, added)


def issue(number: int = 1, title: str = "Add the median", **changes: Any) -> Issue:
    by = changes.pop("by", "founder")
    built = Issue(
        number, title, "Print it too.", user(by), ItemState.OPEN, frozenset(), ago(60), ago(50), None,
        f"http://forge.test/{PROJECT}/issues/{number}",
    )  # fmt: skip
    return replace(built, **changes)


def ready(number: int = 1, title: str = "Add the median", **changes: Any) -> IssueFacts:
    """An issue that the founder labelled ``backlog``: nothing is in its way."""
    facts = {k: changes.pop(k) for k in ("timeline", "dependencies", "comments", "digest_at_label", "updated_at_label")
             if k in changes}  # fmt: skip
    changes.setdefault("labels", frozenset({"backlog"}))
    timeline = facts.pop("timeline", (labelled("backlog"),))
    comments = tuple(facts.pop("comments", ()))
    changes.setdefault("comments", len(comments))
    return IssueFacts(
        issue(number, title, **changes), tuple(timeline), tuple(facts.pop("dependencies", ())), comments, **facts
    )


def comment(body: str, by: str = "founder", *, at: datetime | None = None, number: int = 1) -> Comment:
    moment = at or ago(10)
    return Comment(number, user(by), body, moment, moment)


def status(
    state: CheckState = CheckState.SUCCESS, by: str = "factory-bot", *, context: str = "factory/ci",
    at: datetime | None = None,
) -> Status:  # fmt: skip
    return Status(context, state, user(by), str(state), "", at or ago(5))


def review(
    state: ReviewState = ReviewState.APPROVED, by: str = "review-bot", *, commit: str = HEAD, number: int = 1,
    at: datetime | None = None, **changes: Any,
) -> Review:  # fmt: skip
    built = Review(number, user(by), state, commit, "words", True, False, False, at or ago(3))
    return replace(built, **changes)


def file(path: str = "tally/statistics.py", **changes: Any) -> ChangedFile:
    return replace(ChangedFile(path, "modified", 5, 1), **changes)


def pull(number: int = 5, **changes: Any) -> PullFacts:
    """Our own open pull request for issue 1, with green CI and nothing else."""
    by = changes.pop("by", "dev-bot")
    facts: dict[str, Any] = {
        "reviews": (), "statuses": (status(),), "files": (file(),), "timeline": (), "comments": (),
    }  # fmt: skip
    facts |= {name: tuple(changes.pop(name)) for name in list(facts) if name in changes}
    built = Pull(
        number, "fix: Add the median (#1)", "Fixes #1", user(by), ItemState.OPEN, False, None, False, True,
        "fix/issue-1", HEAD, PROJECT, "main", BASE, BASE, frozenset(), ago(20), ago(15),
        f"http://forge.test/{PROJECT}/pulls/{number}",
    )  # fmt: skip
    return PullFacts(replace(built, **changes), **facts)


def run(formula: str = "dev", subject: Subject | None = None, *, minutes_ago: float = 30, **changes: Any) -> RunRecord:
    """A run that succeeded ``minutes_ago`` minutes ago."""
    began = ago(minutes_ago)
    subject = subject or Subject(str(PROJECT), "issue", "1")
    facts: Mapping[str, str] = changes.pop("facts", {})
    built = RunRecord(
        run=f"r{began:%Y%m%dT%H%M%S}000-{len(formula):08x}", formula=formula, role="dev", agent="hand",
        account="dev-bot", subject=subject, issue=1, round=1, state=RunState.SUCCEEDED, host="here", epoch=1,
        started_at=began, finished_at=began + timedelta(minutes=1), usage=Usage(3, 100, 0, 50, 0.01, True),
        facts=tuple(sorted(facts.items())),
    )  # fmt: skip
    return replace(built, **changes)


def failed(cause: Cause, formula: str = "dev", subject: Subject | None = None, **changes: Any) -> RunRecord:
    state = RunState.LOST if cause is Cause.LOST else RunState.FAILED
    return run(formula, subject, state=state, cause=cause, **changes)


def unfinished(formula: str = "dev", subject: Subject | None = None, **changes: Any) -> RunRecord:
    return run(formula, subject, state=RunState.RUNNING, finished_at=None, usage=Usage(), **changes)


def _formula(name: str, role: str, kind: StepKind, step: str, grants: Grants, output: str | None = None) -> Formula:
    made = Step(step, kind, prompt="do it", output=output, writes=output is None)
    inputs = (Input("issue", InputType.ISSUE, required=False),)
    return Formula(name, 1, role, name, (made,), inputs, grants=grants, digest=f"digest-of-{name}")


FORMULAS: Mapping[str, Formula] = {
    made.name: made
    for made in (
        _formula("dev", "dev", StepKind.AGENT, "implement",
                 Grants(commits=True, pull_request=True, refuse=True, comments=Allowance(1))),
        _formula("fix-ci", "dev", StepKind.AGENT, "fix", Grants(commits=True, refuse=True, comments=Allowance(1))),
        _formula("fix-base", "dev", StepKind.AGENT, "fix", Grants(commits=True, pull_request=True, refuse=True)),
        _formula("address-review", "dev", StepKind.AGENT, "address",
                 Grants(commits=True, refuse=True, comments=Allowance(1))),
        _formula("resolve-conflict", "dev", StepKind.AGENT, "resolve", Grants(commits=True, refuse=True)),
        _formula("review-pr", "reviewer", StepKind.AGENT, "judge",
                 Grants(review=True, issues=Allowance(3, ("tech-debt",))), "verdict"),
        _formula("ci", "ci", StepKind.SHELL, "check", Grants(statuses=("factory/ci",))),
    )
}  # fmt: skip

ROLES: Mapping[str, RoleDefinition] = {
    "dev": RoleDefinition(
        "dev", "develops", "dev-bot", True,
        ("dev", "fix-ci", "fix-base", "address-review", "resolve-conflict"),
        frozenset({"commits", "pull_request", "refuse", "comments", "labels"}),
    ),
    "reviewer": RoleDefinition(
        "reviewer", "reviews", "review-bot", True, ("review-pr",), frozenset({"review", "issues", "comments"})
    ),
}  # fmt: skip

ACCOUNTS = frozenset({"dev-bot", "review-bot", "factory-bot", "vault-bot", "sentinel-bot", "gardener-bot"})


def config(**changes: Any) -> FactoryConfig:
    built = FactoryConfig(
        project=str(PROJECT), mode=Mode.MERGE,
        agents=(AgentEntry("hand", "native", "scripted-1", frozenset({"dev", "reviewer"})),),
        approvers=frozenset({"founder"}), admins=frozenset({"founder"}), ci=Ci(command="make test"),
    )  # fmt: skip
    return replace(built, **changes)


def agent(name: str = "hand", **changes: Any) -> AgentFacts:
    return replace(AgentFacts(name, "scripted-1", frozenset({"dev", "reviewer"}), 2), **changes)


def world(
    issues: Iterable[IssueFacts] = (), pulls: Iterable[PullFacts] = (), runs: Iterable[RunRecord] = (), **changes: Any
) -> World:
    """The ordinary world with these things in it. ``base_state``: what CI says of the default branch; None: nothing."""
    base_state = changes.pop("base_state", CheckState.SUCCESS)
    statuses = (status(base_state),) if base_state is not None else ()
    built = World(
        project=PROJECT,
        ops=OPS,
        config=config(),
        formulas=FORMULAS,
        roles=ROLES,
        accounts=ACCOUNTS,
        writers=frozenset({"founder", "colleague", "dev-bot", "factory-bot", "review-bot"}),
        issues=tuple(issues),
        pulls=tuple(pulls),
        ops_pulls=(),
        base=BaseFacts("main", BASE, statuses),
        runs=tuple(sorted(runs, key=lambda r: (r.started_at, r.run))),
        leases=(),
        wip={},
        pauses=(),
        host=HostFacts("here", 4, {"hand": agent()}),
        locked=frozenset(),
        formula_texts={name: f"# {name}" for name in FORMULAS},
        web_url="http://web.test",
    )
    return replace(built, **changes)


def spec(formula: str = "dev", subject: Subject | None = None, **changes: Any) -> SessionSpec:
    subject = subject or Subject(str(PROJECT), "issue", "1")
    built = SessionSpec(
        run="r20261121T115500000-0000abcd", project=str(PROJECT), ops=str(OPS), formula=formula,
        formula_digest=f"digest-of-{formula}", formula_text="", role=FORMULAS[formula].role, agent="hand",
        account="review-bot" if formula == "review-pr" else "dev-bot", subject=subject, issue=1,
        alias="add-the-median", round=1, base_ref="main", base=BASE,
        head_ref="fix/issue-1", head=None if formula == "dev" else HEAD, inputs={"issue_title": "Add the median"},
    )  # fmt: skip
    return replace(built, **changes)


def result(of: SessionSpec, **changes: Any) -> SessionResult:
    """A session that succeeded without doing anything; steps, head and outbox are the test's."""
    built = SessionResult(of.run, RunState.SUCCEEDED, None, "", (), Usage(1, 10, 0, 5, 0.02, True), seconds=3)
    return replace(built, **changes)


def verdict(word: str = "approve", *findings: Mapping[str, object], step: str = "judge") -> StepResult:
    found = [dict(f) for f in findings]
    answer: dict[str, object] = {"verdict": word, "summary": "I read it.", "findings": found, "not_read": []}
    return StepResult(step, True, answer=answer)


def finding(name: str = "edge", **changes: object) -> dict[str, object]:
    return {"id": name, "path": "tally/x.py", "line": 3, "severity": "major", "text": f"{name} is wrong", **changes}
