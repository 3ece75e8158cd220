"""Names derived from facts: subjects, branches, aliases, links."""

from __future__ import annotations

import re
import unicodedata

from factory.plan.model import PullFacts, World
from factory.runs.model import Subject

_ISSUE_BRANCH = re.compile(r"fix/issue-(\d+)(?:-\d+)?")
_BASE_BRANCH = re.compile(r"fix/base-[0-9a-f]{8}(?:-\d+)?")


def issue_subject(world: World, number: int) -> Subject:
    return Subject(str(world.project), "issue", str(number))


def pull_subject(world: World, number: int) -> Subject:
    return Subject(str(world.project), "pull", str(number))


def commit_subject(world: World, sha: str) -> Subject:
    return Subject(str(world.project), "commit", sha)


def base_subject(world: World) -> Subject:
    """The one subject under which the default branch is mended."""
    return Subject(str(world.project), "none", "fix-base")


def alias(title: str) -> str:
    """Slug of a title: the replay key of everything done for that issue. ``Add the median`` -> ``add-the-median``."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
    return slug[:60].rstrip("-") or "untitled"


def issue_of_branch(ref: str) -> int | None:
    """The originating issue of a branch the dev role made; None for any other branch."""
    match = _ISSUE_BRANCH.fullmatch(ref)
    return int(match[1]) if match else None


def is_base_fix(ref: str) -> bool:
    return _BASE_BRANCH.fullmatch(ref) is not None


def free_branch(world: World, wanted: str) -> str:
    """``wanted``, or ``wanted-2``, ``-3``... where that name is taken by an earlier attempt. Never reuses one: its
    pull request may have been closed by a person."""
    if wanted not in world.branches:
        return wanted
    number = 2
    while f"{wanted}-{number}" in world.branches:
        number += 1
    return f"{wanted}-{number}"


def is_ours(world: World, facts: PullFacts) -> bool:
    """Made by one of our accounts, from a branch of the project, on a name the factory uses."""
    pull = facts.pull
    return (
        pull.author.login in world.accounts
        and pull.head_repo == world.project
        and (issue_of_branch(pull.head_ref) is not None or is_base_fix(pull.head_ref))
    )


def log_url(world: World, run: str) -> str:
    return f"{world.web_url.rstrip('/')}/runs/{run}/log" if world.web_url else ""
