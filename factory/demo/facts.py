"""What really happened, read back from the forge and from git, and whether it is what the demo promises.

Nothing here remembers anything of the run: the same reading can be made of any deployment, by anybody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.demo.example import ISSUES
from factory.forge.protocol import Forge
from factory.forge.values import CheckState, ItemState, RepoName, ReviewState
from factory.git import objects

CONTEXT = "factory/ci"


@dataclass(frozen=True)
class ReviewFact:
    """A review, as the forge tells it afterwards."""

    verdict: str
    head: str
    author: str


@dataclass(frozen=True)
class StatusFact:
    """A commit status, as the forge tells it afterwards."""

    context: str
    state: str
    sha: str


@dataclass(frozen=True)
class PullFact:
    """A pull request of the demo, as forge and git tell it afterwards."""

    number: int
    issue: int | None
    title: str
    author: str
    merged: bool
    head: str
    merge: str | None
    reviews: tuple[ReviewFact, ...]
    statuses: tuple[StatusFact, ...]
    """Of every head that a review, a status or the merge names, oldest head first."""


@dataclass(frozen=True)
class Facts:
    """The end state of a demo, read back from forge and git."""

    pulls: tuple[PullFact, ...]
    open_issues: tuple[int, ...]
    base_tip: str
    base_state: str
    """Of ``factory/ci`` at the tip of the default branch."""


def read(forge: Forge, project: RepoName, repo: Path, base_ref: str) -> Facts:
    """Read the forge and a bare copy of the project's git (``repo``, freshly fetched)."""
    pulls = []
    for pull in sorted(forge.pulls(project, state="all"), key=lambda p: p.number):
        reviews = tuple(
            ReviewFact(review.state.value, review.commit, review.author.login)
            for review in forge.reviews(project, pull.number)
            if review.state in (ReviewState.APPROVED, ReviewState.REQUEST_CHANGES, ReviewState.COMMENT)
        )
        heads = _heads(repo, pull.merge_base, pull.head_sha)
        statuses = tuple(
            StatusFact(status.context, status.state.value, sha)
            for sha in heads
            for status in forge.statuses(project, sha)
        )
        pulls.append(
            PullFact(
                pull.number,
                _issue(pull.body),
                pull.title,
                pull.author.login,
                pull.merged,
                pull.head_sha,
                pull.merge_commit,
                reviews,
                statuses,
            )
        )
    issues = forge.issues(project, state="all")
    tip = objects.read_ref(repo, f"refs/heads/{base_ref}") or ""
    state = next((s.state.value for s in forge.statuses(project, tip) if s.context == CONTEXT), "")
    still = tuple(sorted(i.number for i in issues if i.state is ItemState.OPEN))
    return Facts(tuple(pulls), still, tip, state)


def _heads(repo: Path, base: str, head: str) -> tuple[str, ...]:
    """The commits of a pull request, oldest first: each may have been a head."""
    return tuple(info.oid for info in reversed(objects.log(repo, head, exclude=(base,)))) if base else (head,)


def _issue(body: str) -> int | None:
    """The issue a pull request says it closes; its branch may be gone after the merge."""
    told = re.search(r"(?mi)^(?:closes|fixes|resolves) #(\d+)\b", body)
    return int(told[1]) if told else None


def doubts(facts: Facts, repo: Path, numbers: Sequence[int]) -> tuple[str, ...]:
    """Everything that is not as the demo promises. Empty: it all really happened.

    ``numbers`` are the issues that were filed, in the order of ``ISSUES``.
    """
    found: list[str] = []
    by_issue: Mapping[int | None, PullFact] = {p.issue: p for p in facts.pulls}
    merged_of = {p.issue: p for p in facts.pulls if p.merged}
    if len(facts.pulls) != len(numbers):
        found.append(f"{len(facts.pulls)} pull requests for {len(numbers)} issues")
    for number in numbers:
        pull = by_issue.get(number)
        if pull is None:
            found.append(f"issue #{number} has no pull request")
            continue
        found += _pull_doubts(pull, facts, repo)
    if facts.open_issues:
        found.append(f"still open: {', '.join(f'#{n}' for n in facts.open_issues)}")
    if facts.base_state != CheckState.SUCCESS.value:
        found.append(f"{CONTEXT} of the default branch's tip is {facts.base_state or 'missing'}, not success")
    if not any(s.state in ("failure", "error") for p in facts.pulls for s in p.statuses if s.context == CONTEXT):
        found.append("no head was ever red: the bug that the tests should catch was not there")
    if not any(r.verdict == "REQUEST_CHANGES" and r.head != p.head for p in facts.pulls for r in p.reviews):
        found.append("no review asked for changes and got them")
    for place, example in enumerate(ISSUES):
        if example.depends_on is None or found:
            continue
        first, second = merged_of[numbers[example.depends_on]], merged_of[numbers[place]]
        assert first.merge is not None
        if not objects.is_ancestor(repo, first.merge, second.head):
            found.append(f"pull request #{second.number} was started before #{first.number}, which it depends on")
    return tuple(found)


def _pull_doubts(pull: PullFact, facts: Facts, repo: Path) -> list[str]:
    name = f"pull request #{pull.number}"
    if not pull.merged or pull.merge is None:
        return [f"{name} is not merged"]
    if not objects.exists(repo, pull.merge) or not objects.is_ancestor(repo, pull.merge, facts.base_tip):
        return [f"{name}: its merge commit is not in the default branch"]
    found = []
    if pull.head not in objects.commit_info(repo, pull.merge).parents:
        found.append(f"{name}: the merge commit does not merge its head")
    approvals = [r for r in pull.reviews if r.verdict == "APPROVED" and r.head == pull.head]
    if not any(r.author != pull.author for r in approvals):
        found.append(f"{name}: nobody but its author approved its head")
    green = [s for s in pull.statuses if s.sha == pull.head and s.context == CONTEXT]
    if not green or green[0].state != "success":
        found.append(f"{name}: {CONTEXT} of its head is not success")
    return found
