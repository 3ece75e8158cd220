"""The one door through which the ops repo is written: commits built in memory on the remote's tip, pushed by
compare-and-swap.

On a moved tip the *edit* is applied again, not its text, so writers that meet lose nothing of each other. Nothing is
checked out and nothing is forced. Direct routes land on ``main``; what is a person's becomes a branch ``edit/*`` and
the words of a pull request (DESIGN section 7).
"""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import Conflict, GitFailed, NotFound, PolicyDenied, Problem, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, fetch, ls_remote, push
from factory.git.values import MODE_EXECUTABLE, MODE_FILE, Signature
from factory.ops.edit import Applied, CannotEdit, Edit, Guard, apply_edits
from factory.ops.routes import Route, route
from factory.process.lock import hold

ATTEMPTS = 40
"""Pushes of one change before it gives up. Writers of one host queue on a lock, so only other hosts are met here."""

_LOCK_WAIT_S = 120.0


@dataclass(frozen=True)
class Written:
    """What a write came to. ``commit`` is None when nothing had to change (or nothing could)."""

    commit: str | None
    changed: tuple[str, ...]
    problems: tuple[Problem, ...]
    """Files left as they are, and why. The rest of the change is written."""
    attempts: int


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


Wait = Callable[[int], None]


def short_wait(attempt: int) -> None:
    """Full jitter, up to a quarter second for the first tries and two seconds for late ones."""
    time.sleep(random.uniform(0, min(2.0, 0.05 * 2 ** min(attempt, 6))))  # noqa: S311


def split(edits: Sequence[Edit]) -> tuple[tuple[Edit, ...], tuple[Edit, ...]]:
    """(direct, person's) edits. Raises PolicyDenied for a path that is not plain, before anything is written."""
    direct = tuple(edit for edit in edits if route(edit.path) is Route.DIRECT)
    return direct, tuple(edit for edit in edits if route(edit.path) is Route.PERSON)


def write(
    remote: Remote,
    mirror: Path,
    edits: Sequence[Edit],
    *,
    message: str,
    author: Signature,
    branch: str = "main",
    guard: Guard | None = None,
    attempts: int = ATTEMPTS,
    wait: Wait = short_wait,
) -> Written:
    """Apply edits of direct routes to the remote's branch, one single-parent commit; no commit when nothing changes.

    ``mirror`` is a bare repo of this host that holds (some of) the remote's objects; its ``refs/heads/<branch>`` is
    brought up to date. Raises PolicyDenied (an edit of a person's path), Conflict (the tip kept moving), ForgeError."""
    for edit in edits:
        if route(edit.path) is not Route.DIRECT:
            raise PolicyDenied(
                f"writing {edit.path} to the ops repo directly: it is a person's to approve",
                hint=f"propose it: `factory edit {edit.path}`",
            )
    ref = f"refs/heads/{branch}"
    # Two hosts that make the same edit in the same second would make the same commit, and both would believe theirs
    # landed: the second line of two equal ones would be lost.
    text = _with_trailer(message, "Factory-Write", secrets.token_hex(6))
    with hold(mirror / "factory-writer.lock", timeout_s=_LOCK_WAIT_S):
        tip, fresh = objects.read_ref(mirror, ref), False
        for attempt in range(1, attempts + 1):
            if tip is None and not fresh:
                tip, fresh = _refresh(remote, mirror, ref), True
            applied = _apply(mirror, tip, edits, guard)
            if not applied.changes:
                if fresh:
                    return Written(None, (), applied.problems, attempt)
                tip = None  # only a fresh look can say that nothing has to change
                continue
            commit = objects.build_commit(
                mirror, parent=tip, changes=applied.changes, message=text, author=author, committer=author
            )
            try:
                push(mirror, remote, [RefUpdate(ref, commit, tip)], atomic=True)
            except RefMoved:
                wait(attempt)
                tip, fresh = None, False
                continue
            _remember(mirror, ref, commit, tip)
            return Written(commit, tuple(sorted(applied.changes)), applied.problems, attempt)
    raise Conflict(
        f"writing {', '.join(sorted({edit.path for edit in edits}))[:200]} to {branch} of the ops repo: "
        f"the branch moved {attempts} times in a row",
        hint="nothing is lost; it is tried again with the next tick",
    )


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
    slug gets a number. None when the edits change nothing and raise no problem. Any path may be proposed."""
    for edit in edits:
        route(edit.path)  # refuses what is no plain path
    with hold(mirror / "factory-writer.lock", timeout_s=_LOCK_WAIT_S):
        tip = _refresh(remote, mirror, f"refs/heads/{base}")
        applied = _apply(mirror, tip, edits, guard, repair=True)
        if not applied.changes:
            if applied.problems:
                return Proposal("", "", tip or "", title, body, (), applied.problems)
            return None
        message = _with_trailer(title, "Requested-by", requested_by)
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
) -> Outcome:
    """One change across both routes, split: the direct part is written, the person's part is proposed."""
    direct, person = split(edits)
    written = write(remote, mirror, direct, message=message, author=author, guard=guard) if direct else None
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


def one_line(text: str, limit: int = 200) -> str:
    """The text without line ends and control characters, capped: nothing of it can become a trailer or a header."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(flat.split())[:limit]


def _apply(
    mirror: Path, tip: str | None, edits: Sequence[Edit], guard: Guard | None, *, repair: bool = False
) -> Applied:
    def read(path: str) -> bytes | None:
        entry = None if tip is None else objects.find_entry(mirror, tip, path)
        if entry is None:
            return None
        if entry.mode not in (MODE_FILE, MODE_EXECUTABLE):
            raise CannotEdit(Problem(path, None, "is not a regular file", "a person must replace the link or folder"))
        return objects.read_blob(mirror, entry.oid)

    return apply_edits(edits, read, guard, repair=repair)


def _refresh(remote: Remote, mirror: Path, ref: str) -> str | None:
    """The remote's tip of ``ref``, its objects in the mirror; None when there is no such branch."""
    for patience in (0.05, 0.2, 0.5, None):
        try:
            fetch(mirror, remote, [f"+{ref}:{ref}"])
        except NotFound:
            return None
        except GitFailed:  # another process was fetching into the same ref; its lock ends with it
            if patience is None:
                raise
            time.sleep(random.uniform(patience / 2, patience))  # noqa: S311
            continue
        return objects.read_ref(mirror, ref)
    return None


def _remember(mirror: Path, ref: str, commit: str, old: str | None) -> None:
    """Note the tip in the mirror. A mirror that somebody else moved on meanwhile is right already."""
    try:
        objects.update_ref(mirror, ref, commit, old)
    except RefMoved:
        return


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
        _refresh(remote, mirror, ref)
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


def _with_trailer(message: str, name: str, value: str) -> str:
    """The message with a trailer as its last paragraph; trailers that the text itself brings are indented away."""
    lines = [re.sub(r"^(factory-|requested-by)", r" \1", line, flags=re.IGNORECASE) for line in message.splitlines()]
    text = "\n".join(lines).strip() or "Change the ops repo"
    return f"{text}\n\n{name}: {one_line(value, 100)}\n"

