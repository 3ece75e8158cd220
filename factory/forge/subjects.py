"""Read one issue or pull request with all that is judged about it."""

from __future__ import annotations

from dataclasses import replace

from factory.errors import NotFound
from factory.forge.protocol import Forge
from factory.forge.values import Issue, ItemState, Pull, RepoName
from factory.forge.view import IssueView, PullView


def read_issue(forge: Forge, repo: RepoName, issue: Issue) -> IssueView:
    """Two or three requests for an open issue, none for a closed one."""
    if issue.state is ItemState.CLOSED:
        return IssueView(issue)
    timeline = tuple(forge.timeline(repo, issue.number))
    # Every dependency ever added left an event, on whichever side it was added.
    depends = any(event.kind == "add_dependency" for event in timeline)
    return IssueView(
        issue,
        timeline,
        tuple(forge.dependencies(repo, issue.number)) if depends else (),
        tuple(forge.comments(repo, issue.number)) if issue.comments else (),
    )


def read_pull(forge: Forge, repo: RepoName, pull: Pull, known: PullView | None = None) -> PullView:
    """Two to five requests for an open pull request, one for a closed one. Files are read when they can differ."""
    reviews = tuple(forge.reviews(repo, pull.number))
    if pull.state is ItemState.CLOSED:
        # The forge shows the live tip of the base; of a closed one nobody follows it.
        return PullView(replace(pull, base_sha=pull.merge_base), reviews)
    same = known is not None and known.files and diff_range(known.pull) == diff_range(pull)
    timeline = tuple(forge.timeline(repo, pull.number))
    talked = pull.comments or any(event.kind == "comment" for event in timeline)
    return PullView(
        pull,
        reviews,
        tuple(forge.statuses(repo, pull.head_sha)),
        known.files if known is not None and same else tuple(forge.pull_files(repo, pull.number)),
        timeline,
        tuple(forge.comments(repo, pull.number)) if talked else (),
    )


def read_any(forge: Forge, repo: RepoName, number: int, *, pull: bool | None) -> Issue | Pull:
    """The object itself; ``pull`` None: which of the two it is, is not known. Raises NotFound."""
    if pull is not True:
        try:
            return forge.issue(repo, number)
        except NotFound:
            if pull is False:
                raise
    return forge.pull(repo, number)


def diff_range(pull: Pull) -> tuple[str, str]:
    """What decides a pull request's files."""
    return pull.merge_base, pull.head_sha
