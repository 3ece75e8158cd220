"""A branch of the ops repo that adds one file to its base's tip: how a vault action is proposed."""

from __future__ import annotations

from pathlib import Path

from factory.errors import NotFound, RefMoved
from factory.git import objects
from factory.git.transport import RefUpdate, Remote, ls_remote, push
from factory.git.values import MODE_FILE, Signature
from factory.ops.writer import LOCK, LOCK_WAIT_S, refresh
from factory.process.lock import hold


def add_file(
    remote: Remote, mirror: Path, *, branch: str, base: str, path: str, data: bytes, message: str, author: Signature
) -> str:
    """The commit at the remote's ``branch`` that adds exactly ``path`` to a commit of ``base``, pushed if the branch is
    not there yet. Nothing is forced: a branch that holds anything else raises RefMoved; NotFound where there is no
    ``base``; ForgeError."""
    ref = f"refs/heads/{branch}"
    with hold(mirror / LOCK, timeout_s=LOCK_WAIT_S):
        there = ls_remote(remote, (ref,)).get(ref)
        if there is None:
            tip = refresh(remote, mirror, f"refs/heads/{base}")
            if tip is None:
                words = f"proposing {path}: the ops repo has no branch {base}"
                raise NotFound(words, status=404, hint="factory doctor")
            commit = objects.build_commit(
                mirror, parent=tip, changes={path: data}, message=message, author=author, committer=author
            )
            try:
                push(mirror, remote, [RefUpdate(ref, commit, None)], atomic=True)
            except RefMoved:
                there = ls_remote(remote, (ref,)).get(ref)  # somebody was first, perhaps ourselves
            else:
                return commit
        if there is not None and _adds(remote, mirror, ref, there, path, data):
            return there
    raise RefMoved(f"proposing {path}: the branch {branch} is there and holds something else")


def _adds(remote: Remote, mirror: Path, ref: str, commit: str, path: str, data: bytes) -> bool:
    """Whether the commit does nothing but add this file."""
    if not objects.exists(mirror, commit):
        refresh(remote, mirror, ref)
    if not objects.exists(mirror, commit):
        return False
    parents = objects.commit_info(mirror, commit).parents
    if len(parents) != 1 or not objects.exists(mirror, parents[0]):
        return False
    changes = objects.diff_paths(mirror, parents[0], commit)
    entry = objects.find_entry(mirror, commit, path)
    return (
        [(change.path, change.status) for change in changes] == [(path, "added")]
        and entry is not None
        and entry.mode == MODE_FILE
        and objects.read_blob(mirror, entry.oid) == data
    )
