"""What is a person's to change in the ops repo: a pushed branch ``edit/*`` and the words of its pull request.

Approving is a person's only act; factory-bot opens the pull request and merges it one tick after the approval, so a
solo founder can approve what they asked for themselves (DESIGN section 6).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import Conflict, Problem, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, ls_remote, push
from factory.git.values import Signature
from factory.ops.edit import Edit, Guard
from factory.ops.routes import Route, refuse_evidence, route
from factory.ops.writer import LOCK, LOCK_WAIT_S, Land, Written, applied_at, one_line, refresh, with_trailer, write
from factory.process.lock import hold


@dataclass(frozen=True)
class Proposal:
    """A pushed branch and the words of its pull request, to be opened by factory-bot."""

    branch: str
    commit: str
    base: str
    title: str
    body: str
    changed: tuple[str, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Outcome:
    """Both routes of one change."""

    written: Written | None
    proposal: Proposal | None


def split(edits: Sequence[Edit]) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    """(direct, person's) edits. Raises PolicyDenied for a path that is not plain, before anything is written."""
    direct = tuple(edit for edit in edits if route(edit.path) is Route.DIRECT)
    return direct, tuple(edit for edit in edits if route(edit.path) is Route.PERSON)


def propose(
    remote: Remote,
    mirror: Path,
    edits: Sequence[Edit],
    *,
    slug: str,
    title: str,
    author: Signature,
    requested_by: str,
    body: str = "",
    base: str = "main",
    guard: Guard | None = None,
) -> Proposal | None:
    """Push the edits as one commit on a branch ``edit/<slug>`` and say how its pull request should read.

    Asking again for the same change on the same base finds the branch that is there; another change under the same
    slug gets a number. None when the edits change nothing and raise no problem. Any path may be proposed but those
    that only checks write (PolicyDenied)."""
    for edit in edits:
        route(edit.path)  # refuses what is no plain path
        refuse_evidence(edit.path)
    with hold(mirror / LOCK, timeout_s=LOCK_WAIT_S):
        tip = refresh(remote, mirror, f"refs/heads/{base}")
        applied = applied_at(mirror, tip, edits, guard, repair=True)
        if not applied.changes:
            if applied.problems:
                return Proposal("", "", tip or "", title, body, (), applied.problems)
            return None
        message = with_trailer(title, "Requested-by", requested_by)
        commit = objects.build_commit(
            mirror, parent=tip, changes=applied.changes, message=message, author=author, committer=author
        )
        branch, commit = _push_new_branch(remote, mirror, slug_of(slug), commit)
    changed = tuple(sorted(applied.changes))
    words = pull_body(body, changed, requested_by)
    return Proposal(branch, commit, tip or "", one_line(title), words, changed, applied.problems)


def change(
    remote: Remote,
    mirror: Path,
    edits: Sequence[Edit],
    *,
    message: str,
    author: Signature,
    slug: str,
    requested_by: str,
    guard: Guard | None = None,
    land: Land | None = None,
) -> Outcome:
    """One change across both routes, split: the direct part is written, the person's part is proposed."""
    direct, person = split(edits)
    written = write(remote, mirror, direct, message=message, author=author, guard=guard, land=land) if direct else None
    title = message.partition("\n")[0]
    proposal = (
        propose(remote, mirror, person, slug=slug, title=title, author=author, requested_by=requested_by, guard=guard)
        if person
        else None
    )
    return Outcome(written, proposal)


def pull_body(body: str, changed: Sequence[str], requested_by: str) -> str:
    """Words of a proposal's pull request: what changes, on whose request; the trailer is its last line."""
    files = "\n".join(f"- `{path}`" for path in changed)
    asked = one_line(requested_by)
    parts = [body.strip(), f"Changes, once a listed person approves:\n\n{files}", f"Requested-by: {asked}"]
    return "\n\n".join(part for part in parts if part) + "\n"


def requested_by(text: str) -> str | None:
    """The login in the last ``Requested-by`` trailer of a commit message or pull request body."""
    found = re.findall(r"(?m)^Requested-by: ([^\s]+)\s*$", text)
    return found[-1] if found else None


def slug_of(text: str) -> str:
    """Up to 40 lower-case letters, digits and dashes; ``change`` when nothing is left of the text."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].rstrip("-") or "change"


def _push_new_branch(remote: Remote, mirror: Path, slug: str, commit: str) -> tuple[str, str]:
    for number in range(1, 50):
        branch = f"edit/{slug}" if number == 1 else f"edit/{slug}-{number}"
        ref = f"refs/heads/{branch}"
        there = ls_remote(remote, (ref,)).get(ref)
        if there is not None:
            if _same_change(remote, mirror, ref, there, commit):
                return branch, there
            continue
        try:
            push(mirror, remote, [RefUpdate(ref, commit, None)], atomic=True)
        except RefMoved:
            continue
        return branch, commit
    raise Conflict(f"proposing a change: 49 branches edit/{slug}* exist already", hint="close old proposals")


def _same_change(remote: Remote, mirror: Path, ref: str, there: str, commit: str) -> bool:
    """Whether the branch that is there asks for what ``commit`` asks for, perhaps on an older base: the first try of
    this proposal, whose answer was lost."""
    if not objects.exists(mirror, there):
        refresh(remote, mirror, ref)
    if not objects.exists(mirror, there):
        return False
    return _asks(mirror, there) == _asks(mirror, commit)


def _asks(mirror: Path, commit: str) -> tuple[str | None, dict[str, str]]:
    info = objects.commit_info(mirror, commit)
    parent = info.parents[0] if info.parents else objects.EMPTY_TREE
    blobs: dict[str, str] = {}
    for change in objects.diff_paths(mirror, parent, commit):
        entry = objects.find_entry(mirror, commit, change.path)
        blobs[change.path] = "" if entry is None else entry.oid
        if change.old_path is not None and change.status == "renamed":
            blobs[change.old_path] = ""
    return requested_by(info.message), blobs
