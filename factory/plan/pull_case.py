"""One pull request with what every row of its life asks about it, and whether it is the factory's business at all."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from factory.plan import history, names, trust
from factory.plan.model import IssueFacts, PullFacts, World
from factory.runs.model import RunRecord, Subject


@dataclass(frozen=True)
class Case:
    """One pull request with what every row asks about it."""

    world: World
    facts: PullFacts
    now: datetime
    subject: Subject
    ours: bool
    issue: int | None
    issue_facts: IssueFacts | None
    reset: datetime | None
    """Since when earlier failures do not count."""

    @property
    def head(self) -> str:
        return self.facts.pull.head_sha

    def runs(self, formula: str) -> tuple[RunRecord, ...]:
        return history.runs_of(self.world, formula, self.subject, after=self.reset)


def is_relevant(world: World, facts: PullFacts) -> bool:
    """Whether the factory deals with it at all: its own, or one whose review someone trusted wants from it."""
    if names.is_ours(world, facts):
        return True
    pull = facts.pull
    if world.config.review_all:
        return True
    reviewer = world.config.account("reviewer").lower()
    if reviewer not in {login.lower() for login in pull.requested_reviewers}:
        return False
    if trust.is_trusted(world, pull.author.login):
        return True
    asked = [e for e in facts.timeline if e.kind == "review_request"]
    return any(trust.is_trusted(world, e.author.login) for e in asked)


def case_of(world: World, facts: PullFacts, now: datetime) -> Case:
    """The case of one pull request in this World."""
    issue = names.issue_of_branch(facts.pull.head_ref) if names.is_ours(world, facts) else None
    issue_facts = next((i for i in world.issues if i.issue.number == issue), None)
    people = trust.people(world)
    resets = [history.reset_at(f, people) for f in (facts, issue_facts) if f is not None]
    return Case(
        world=world,
        facts=facts,
        now=now,
        subject=names.pull_subject(world, facts.pull.number),
        ours=names.is_ours(world, facts),
        issue=issue,
        issue_facts=issue_facts,
        reset=max((at for at in resets if at is not None), default=None),
    )
