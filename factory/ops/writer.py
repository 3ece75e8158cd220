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
from factory.git.transport import RefUpdate, Remote, fetch, push
from factory.git.values import MODE_EXECUTABLE, MODE_FILE, Signature
from factory.ops.edit import Applied, CannotEdit, Edit, Guard, apply_edits
from factory.ops.routes import Route, refuse_evidence, route
from factory.process.lock import hold

ATTEMPTS = 40
"""Pushes of one change before it gives up. Writers of one host queue on a lock, so only other hosts are met here."""

TRAILER = "Factory-Write"
RECENT = 300
"""Commits of main that are searched for a key: more than many days of the ops repo."""
LOCK = "factory-writer.lock"
"""In the mirror: writers of one host queue here, because meeting at the remote costs a push each."""
LOCK_WAIT_S = 120.0


@dataclass(frozen=True)
class Written:
    """What a write came to. ``commit`` is None when nothing had to change (or nothing could)."""

    commit: str | None
    changed: tuple[str, ...]
    problems: tuple[Problem, ...]
    """Files left as they are, and why. The rest of the change is written."""
    attempts: int


Wait = Callable[[int], None]
Land = Callable[[RefUpdate, Sequence[str], str], None]
"""Pushes a commit that was made: the branch's update, the paths it changes, why. Raises as ``push`` does."""


def short_wait(attempt: int) -> None:
    """Full jitter, growing from a tenth of a second to two."""
    time.sleep(random.uniform(0, min(2.0, 0.05 * 2 ** min(attempt, 6))))  # noqa: S311


def write(
    remote: Remote,
    mirror: Path,
    edits: Sequence[Edit],
    *,
    message: str,
    author: Signature,
    branch: str = "main",
    guard: Guard | None = None,
    key: str = "",
    attempts: int = ATTEMPTS,
    wait: Wait = short_wait,
    land: Land | None = None,
) -> Written:
    """Apply edits of direct routes to the remote's branch, one single-parent commit; no commit when nothing changes.

    ``mirror`` is a bare repo of this host that holds (some of) the remote's objects; its ``refs/heads/<branch>`` is
    brought up to date. With ``key`` the write happens once: where one of the last commits carries that key already (a
    try whose answer was lost), that commit is returned and nothing is written. ``land`` pushes it.
    Raises PolicyDenied (an edit of a person's path), Conflict (the tip kept moving), ForgeError."""
    for edit in edits:
        refuse_evidence(edit.path, [other.path for other in edits])
        if route(edit.path) is not Route.DIRECT:
            raise PolicyDenied(
                f"writing {edit.path} to the ops repo directly: it is a person's to approve",
                hint=f"propose it: `factory edit {edit.path}`",
            )
    ref = f"refs/heads/{branch}"
    # Two hosts that make the same edit in the same second would make the same commit, and both would believe theirs
    # landed: the second line of two equal ones would be lost.
    text = with_trailer(message, TRAILER, key or secrets.token_hex(6))
    with hold(mirror / LOCK, timeout_s=LOCK_WAIT_S):
        tip, fresh = objects.read_ref(mirror, ref), False
        for attempt in range(1, attempts + 1):
            if tip is None and not fresh:
                tip, fresh = refresh(remote, mirror, ref), True
            earlier = _written_before(mirror, tip, key)
            if earlier is not None:
                return Written(earlier, (), (), attempt)
            applied = applied_at(mirror, tip, edits, guard)
            if not applied.changes:
                if fresh:
                    return Written(None, (), applied.problems, attempt)
                tip = None  # only a fresh look can say that nothing has to change
                continue
            commit = objects.build_commit(
                mirror, parent=tip, changes=applied.changes, message=text, author=author, committer=author
            )
            update = RefUpdate(ref, commit, tip)
            try:
                if land is None:
                    push(mirror, remote, [update], atomic=True)
                else:
                    land(update, sorted(applied.changes), one_line(message))
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


def one_line(text: str, limit: int = 200) -> str:
    """The text without line ends and control characters, capped: nothing of it can become a trailer or a header."""
    flat = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(flat.split())[:limit]


def applied_at(
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


def refresh(remote: Remote, mirror: Path, ref: str) -> str | None:
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


def _written_before(mirror: Path, tip: str | None, key: str) -> str | None:
    """The commit among the last ones that carries this key."""
    if not key or tip is None:
        return None
    line = f"{TRAILER}: {one_line(key, 100)}"
    recent = objects.log(mirror, tip, first_parent=True, limit=RECENT)
    return next((info.oid for info in recent if line in info.message.splitlines()), None)


def _remember(mirror: Path, ref: str, commit: str, old: str | None) -> None:
    """Note the tip in the mirror. A mirror that somebody else moved on meanwhile is right already."""
    try:
        objects.update_ref(mirror, ref, commit, old)
    except RefMoved:
        return


def with_trailer(message: str, name: str, value: str) -> str:
    """The message with a trailer as its last paragraph; trailers that the text itself brings are indented away."""
    lines = [re.sub(r"^(factory-|requested-by)", r" \1", line, flags=re.IGNORECASE) for line in message.splitlines()]
    text = "\n".join(lines).strip() or "Change the ops repo"
    return f"{text}\n\n{name}: {one_line(value, 100)}\n"
