"""Which version of the controlled set counts: factory.toml, the policy, secrets, formulas, agents, generators.

What stands on ``main`` is not enough, because whoever can push there would steer the factory. A change of a
controlled path counts when it came by a merged pull request that a person listed *in the version in force before it*
approved at exactly its head, and the merge, computed again, holds exactly that (DESIGN section 6, security-rules.md;
later the ledger's TRUST entries say it). The first version is the seed that ``init`` made and whose commit the host
keeps. Anything else is reported, and the last version that counts stays in force. So it does when an approved
factory.toml is not valid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from factory.errors import Problem
from factory.forge.values import Pull, Review, ReviewState
from factory.git import objects
from factory.ops.routes import controlled


@dataclass(frozen=True)
class Touch:
    """One controlled path in one commit: ``<mode>:<blob id>`` before and after it; None where there is no file."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class MainCommit:
    """One commit of main's first-parent chain."""

    oid: str
    parents: tuple[str, ...]
    touched: tuple[Touch, ...] = ()
    """Controlled paths that differ from the first parent."""


@dataclass(frozen=True)
class Approved:
    """A merged pull request of the ops repo, as far as its approval goes."""

    number: int
    merge_commit: str
    head: str
    author: str
    approvals: frozenset[str]
    """Logins whose last word is an official, undismissed approval of exactly ``head``."""
    merge_base: str
    """Of head and the main it was merged into: the reviewer saw the difference from there."""
    blobs: Mapping[str, str | None] = field(default_factory=dict)
    """Controlled path -> ``<mode>:<blob id>`` at ``head``."""
    remerged: Mapping[str, str | None] = field(default_factory=dict)
    """The same in the merge of head and main as we compute it ourselves: differs where main moved the file meanwhile.
    Empty where they conflict."""


@dataclass(frozen=True)
class People:
    """Account names in a factory.toml: who approves, and who decides who approves."""

    approvers: frozenset[str]
    admins: frozenset[str]


@dataclass(frozen=True)
class Authority:
    """The commit whose controlled set counts."""

    commit: str
    """Read the controlled set here. Moves only when the set changes."""
    checked: str
    """Everything on main up to here is explained; the next look may begin here."""
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class History:
    """The part of main's first-parent chain not yet explained."""

    commits: tuple[MainCommit, ...]
    """Oldest first, from after ``checked`` to the tip."""
    broken: str | None = None
    """Why the chain does not lead back to ``checked``; then ``commits`` is empty."""


PeopleAt = Callable[[str], People | None]
"""Approvers and admins in the factory.toml of a commit; None when there is none that is valid."""


def authority(
    before: Authority, history: History, pulls: Iterable[Approved], people_at: PeopleAt, bots: frozenset[str]
) -> Authority:
    """The version that counts now. ``before``: the last answer, or ``Authority(root, root)`` with the seed's commit.

    ``bots`` are our own logins (lower case): their approvals never count. A commit that no approval explains taints the
    paths it touches; a later version counts only once every tainted path is as it was in the version in force, or was
    approved in a pull request whose reviewer saw the difference from the version in force."""
    if history.broken is not None:
        hint = "the last version that counts stays in force; look at who pushed to the ops repo"
        problem = Problem("main", None, history.broken, hint)
        return Authority(before.commit, before.checked, (problem,))
    merges = {pull.merge_commit: pull for pull in pulls}
    trusted, checked = before.commit, before.checked
    # Heads that fork from anything up to here show their reviewer the difference from the version in force.
    clean = {before.checked, before.commit}
    tainted: dict[str, str | None] = {}
    problems: list[Problem] = []
    for commit in history.commits:
        if commit.touched:
            pull = merges.get(commit.oid)
            people, new_people = people_at(trusted) or People(frozenset(), frozenset()), people_at(commit.oid)
            reason = _unexplained(commit, pull, people, new_people, bots)
            if reason is not None:
                problems.append(_problem(commit, reason, trusted))
            for touch in commit.touched:
                if reason is None and pull is not None and (touch.path not in tainted or _shows(pull, touch, clean)):
                    tainted.pop(touch.path, None)
                else:
                    tainted.setdefault(touch.path, touch.old)
                if touch.path in tainted and tainted[touch.path] == touch.new:
                    del tainted[touch.path]
            if not tainted and new_people is None:
                problems = [_invalid(commit, trusted)]
            elif not tainted:
                # What was wrong and is undone needs nobody any more.
                trusted, problems = commit.oid, []
        if not tainted:
            clean.add(commit.oid)
            if not problems:
                checked = commit.oid
    return Authority(trusted, checked, tuple(problems))


def _unexplained(
    commit: MainCommit, pull: Approved | None, people: People, new_people: People | None, bots: frozenset[str]
) -> str | None:
    """Why this commit's change of controlled paths does not count; None when it does."""
    if pull is None:
        return "no merged pull request brought it"
    if len(commit.parents) > 1 and commit.parents[1] != pull.head:
        return f"it merges something else than the head of pull request #{pull.number}"
    wrong = [touch.path for touch in commit.touched if not _brings(pull, touch)]
    if wrong:
        return f"{wrong[0]} is not what pull request #{pull.number} holds at its head"
    listed = _lower(people.approvers | people.admins) - bots - {pull.author.lower()}
    given = _lower(pull.approvals)
    if not given & listed:
        return f"nobody listed in the version in force approved pull request #{pull.number} at its head"
    if _needs_admin(commit, people, new_people) and not given & (_lower(people.admins) - bots - {pull.author.lower()}):
        return f"pull request #{pull.number} changes who approves, or the policy: that takes an admin's approval"
    return None


def _brings(pull: Approved, touch: Touch) -> bool:
    """Whether the merge left the path as the approved head has it, or as merging that head with main must leave it."""
    missing = object()
    return touch.new in (pull.blobs.get(touch.path, missing), pull.remerged.get(touch.path, missing))


def _shows(pull: Approved, touch: Touch, clean: set[str]) -> bool:
    """Whether the reviewer saw all that this path differs in from the version in force."""
    return pull.merge_base in clean and touch.path in pull.blobs and pull.blobs[touch.path] == touch.new


def _needs_admin(commit: MainCommit, people: People, new_people: People | None) -> bool:
    paths = {touch.path.casefold() for touch in commit.touched}
    return "vault/policy.toml" in paths or ("factory.toml" in paths and new_people not in (people, None))


def _invalid(commit: MainCommit, trusted: str) -> Problem:
    return Problem(
        "factory.toml",
        None,
        f"commit {commit.oid[:12]} was approved, but is not valid; the version of {trusted[:12]} stays in force",
        "run `factory check`, then repair it with `factory edit factory.toml`",
    )


def _problem(commit: MainCommit, reason: str, trusted: str) -> Problem:
    first = commit.touched[0].path
    more = f" and {len(commit.touched) - 1} more" if len(commit.touched) > 1 else ""
    return Problem(
        first,
        None,
        f"commit {commit.oid[:12]} changes {first}{more}, but {reason}; the version of {trusted[:12]} stays in force",
        "put the file back as it was with `factory edit` and approve that; then propose the change again",
    )


def _lower(logins: Iterable[str]) -> frozenset[str]:
    return frozenset(login.lower() for login in logins)


def approvals(reviews: Iterable[Review], head: str) -> frozenset[str]:
    """Logins whose last decisive review is an official, undismissed approval of exactly this head."""
    last: dict[str, Review] = {}
    for review in sorted(reviews, key=lambda review: (review.submitted_at, review.id)):
        if review.state in (ReviewState.APPROVED, ReviewState.REQUEST_CHANGES):
            last[review.author.login] = review
    return frozenset(
        login
        for login, review in last.items()
        if review.state is ReviewState.APPROVED and review.official and not review.dismissed and review.commit == head
    )


def history(mirror: Path, checked: str, tip: str) -> History:
    """Main's first-parent chain after ``checked``, with what each commit did to controlled paths. Raises GitFailed.

    A tip whose first-parent chain does not pass through ``checked`` is refused whole: a merge with swapped parents
    would bring back an older controlled set without any commit that touches it."""
    if checked == tip:
        return History(())
    if not objects.exists(mirror, checked):
        return History((), f"the commit {checked[:12]} it was read up to is not in the ops repo any more")
    commits = list(reversed(objects.log(mirror, tip, exclude=(checked,), first_parent=True)))
    if not commits or not commits[0].parents or commits[0].parents[0] != checked:
        return History((), f"its history does not lead step by step from {checked[:12]} to {tip[:12]}")
    return History(tuple(MainCommit(c.oid, c.parents, _touched(mirror, c.parents[0], c.oid)) for c in commits))


def _touched(mirror: Path, old: str, new: str) -> tuple[Touch, ...]:
    paths: set[str] = set()
    for change in objects.diff_paths(mirror, old, new):
        paths.update(path for path in (change.path, change.old_path) if path is not None and controlled(path))
    touches = (Touch(path, _blob(mirror, old, path), _blob(mirror, new, path)) for path in sorted(paths))
    return tuple(touch for touch in touches if touch.old != touch.new)


def approved(mirror: Path, pull: Pull, reviews: Iterable[Review], commit: MainCommit) -> Approved | None:
    """A merged pull request as :func:`authority` looks at it; None when it did not make this commit, or its head is
    not in the mirror. Raises GitFailed."""
    if not pull.merged or pull.merge_commit != commit.oid or not objects.exists(mirror, pull.head_sha):
        return None
    if not commit.parents:
        return None
    base = objects.merge_base(mirror, pull.head_sha, commit.parents[0])
    tree = objects.merge_commits(mirror, commit.parents[0], pull.head_sha).tree
    return Approved(
        number=pull.number,
        merge_commit=commit.oid,
        head=pull.head_sha,
        author=pull.author.login,
        approvals=approvals(reviews, pull.head_sha),
        merge_base=base or "",
        blobs={touch.path: _blob(mirror, pull.head_sha, touch.path) for touch in commit.touched},
        remerged={touch.path: _blob(mirror, tree, touch.path) for touch in commit.touched} if tree else {},
    )


def _blob(mirror: Path, commit: str, path: str) -> str | None:
    """Object id with its mode: a file that becomes a link is another file."""
    entry = objects.find_entry(mirror, commit, path)
    return None if entry is None else f"{entry.mode:o}:{entry.oid}"


def unexplained(commits: Sequence[MainCommit]) -> tuple[str, ...]:
    """Commits that touch controlled paths: those whose pull requests must be read before asking ``authority``."""
    return tuple(commit.oid for commit in commits if commit.touched)
