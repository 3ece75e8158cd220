"""The working copy of a run: the project's view brought up to date, and a clone that borrows its objects."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.git import objects
from factory.git.transport import Remote, ls_remote
from factory.git.values import Signature
from factory.git.view import View, open_view, refresh, session_clone
from factory.runs.spec import SessionSpec

_GLOB = re.compile(r"[\\*?\[ ]")
OBJECTS_INSIDE = "/run/factory/objects"
"""Where the view's objects are bound in the sandbox; the clone's alternates file names this path."""
WIP = "refs/factory/wip/"


@dataclass(frozen=True)
class Checkout:
    """A clone ready for one sandbox, and the view whose objects it borrows."""

    view: View
    clone: Path
    ref: str
    """Full name of the branch that is checked out."""
    start: str
    """The commit the session starts on."""
    base: str
    """The commit its new commits are counted from: a resumed session starts past it."""


def view_path(home: Path, project: str) -> Path:
    """The per-project view: only the branches sessions need, never a full mirror."""
    return home / "cache" / "views" / f"{project.replace('/', '.')}.git"


def prepare_view(home: Path, spec: SessionSpec, remote: Remote) -> View:
    """Bring in the base branch, the work branch and the checkpoint to resume from, as far as they exist.

    Raises ForgeUnavailable, ForgeRefused, GitFailed.
    """
    view = open_view(view_path(home, spec.project))
    branches = [spec.head_ref] if spec.head_ref is not None and spec.head is not None else []
    if spec.resume is not None and not objects.exists(view.path, spec.resume):
        kept = ls_remote(remote, (WIP,))
        branches += [ref for ref, oid in kept.items() if oid == spec.resume][:1]
    refresh(view, remote, base=spec.base_ref, branches=branches)
    return view


def resumes_at(view: View, spec: SessionSpec) -> str | None:
    """The checkpoint the run goes on from; None when there is none, or it is gone, or it is no continuation of what
    the run starts from (whoever may push may have put it there)."""
    if spec.resume is None or objects.object_kind(view.path, spec.resume) != ("commit", spec.resume):
        return None
    return spec.resume if objects.is_ancestor(view.path, spec.head or spec.base, spec.resume) else None


def prepare_clone(view: View, dest: Path, spec: SessionSpec, identity: Signature) -> Checkout:
    """A fresh clone at the commit to work on or to judge. ``dest`` must not exist. Raises GitFailed."""
    branch = spec.head_ref or spec.base_ref
    base = spec.head or spec.base
    start = session_clone(
        view,
        dest,
        branch=branch,
        base=spec.base_ref,
        role_identity=identity,
        alternates_as=OBJECTS_INSIDE,
        start=resumes_at(view, spec) or base,
    )
    return Checkout(view, dest, f"refs/heads/{branch}", start, base)


def leave_out(checkout: Checkout, paths: Sequence[str]) -> None:
    """Have git in the clone pass over these paths: what the factory mounts there is not the session's to commit.

    Only before the clone is handed over: after that nothing in its ``.git`` is ours to touch.
    """
    rules = [f"/{_GLOB.sub(lambda found: chr(92) + found[0], path)}\n" for path in paths]
    with (checkout.clone / ".git" / "info" / "exclude").open("a", encoding="utf-8") as file:
        file.writelines(rules)
