"""The view: a bare repo per project that holds just the branches sessions need, and the clones that borrow from it.

A session reads every object of the repo it borrows from, reachable or not. So it borrows from a view, fetched with
the base branch and the asked work branches only: a full mirror would show deleted branches, old secrets and the
token in its config (security-rules.md). The view has no remote in its config; address and login travel with each
call.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from factory.errors import GitFailed, UsageError
from factory.git import objects
from factory.git.plumbing import git
from factory.git.refs import branch_ref, need_oid, need_ref
from factory.git.transport import Remote, fetch, ls_remote
from factory.git.values import Signature
from factory.process.lock import Held, hold, try_hold

_CHECKOUT_TIMEOUT_S = 300.0

_VIEW_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = true
[gc]
\tauto = 0
\tpruneExpire = never
"""

_CLONE_CONFIG = """[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
\ttrustctime = false
\tcheckStat = minimal
[gc]
\tauto = 0
[maintenance]
\tauto = false
[commit]
\tgpgsign = false
"""


@dataclass(frozen=True)
class View:
    """A view repo: its git directory and the object folder that sandboxes bind read-only."""

    path: Path

    @property
    def objects(self) -> Path:
        """The only part of a view that a session may see."""
        return self.path / "objects"


def open_view(path: Path) -> View:
    """The view at ``path``, made if it is not there (whole or not at all; ``cache/`` may vanish at any time)."""
    if not objects.is_repo(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with hold(path.with_name(path.name + ".making")):
            if not objects.is_repo(path):
                fresh = Path(tempfile.mkdtemp(prefix=".view-", dir=path.parent))
                try:
                    objects.init_bare(fresh)
                    shutil.rmtree(fresh / "hooks", ignore_errors=True)
                    (fresh / "config").write_text(_VIEW_CONFIG, encoding="ascii")
                    shutil.rmtree(path, ignore_errors=True)  # what a deletion left
                    fresh.rename(path)
                finally:
                    shutil.rmtree(fresh, ignore_errors=True)
    return View(path)


def refresh(view: View, remote: Remote, *, base: str, branches: Sequence[str] = ()) -> Mapping[str, str]:
    """Bring the base branch and ``branches`` (names or full refs) up to the remote; returns those that exist there.

    Nothing is fetched when the view already has them. Raises GitFailed when the base branch does not exist, and what
    ``transport.fetch`` raises.
    """
    wanted = tuple(dict.fromkeys(name if name.startswith("refs/") else branch_ref(name) for name in (base, *branches)))
    with hold(view.path / "refresh.lock"):
        there = ls_remote(remote, wanted)
        found = {ref: there[ref] for ref in wanted if ref in there}
        if wanted[0] not in found:
            raise GitFailed(f"refreshing the view {view.path.name}: the remote has no branch {base}")
        stale = [ref for ref, oid in found.items() if objects.read_ref(view.path, ref) != oid]
        if stale:
            fetch(view.path, remote, [f"+{need_ref(ref)}:{ref}" for ref in stale])
        for ref in wanted:
            if ref not in found and objects.read_ref(view.path, ref) is not None:
                objects.delete_ref(view.path, ref)
        return {ref: oid for ref in found if (oid := objects.read_ref(view.path, ref)) is not None}


def borrow(view: View) -> Held:
    """Hold the view's objects in place for a session; pass the descriptor on so that the session's process keeps it."""
    return hold(view.path / "borrowed.lock", shared=True)


def compact(view: View, *, keep: Sequence[str]) -> bool:
    """Drop all refs but ``keep``, repack, and prune what nothing reaches; False when a session still borrows."""
    held = try_hold(view.path / "borrowed.lock")
    if held is None:
        return False
    with held, hold(view.path / "refresh.lock"):
        for ref in objects.list_refs(view.path):
            if ref not in keep:
                objects.delete_ref(view.path, ref)
        git(view.path, "repack", "-a", "-d", "-q", "--no-write-bitmap-index", timeout_s=_CHECKOUT_TIMEOUT_S)
        git(view.path, "prune", "--expire=now", timeout_s=_CHECKOUT_TIMEOUT_S)
    return True


def session_clone(
    view: View,
    dest: Path,
    *,
    branch: str,
    base: str,
    role_identity: Signature,
    alternates_as: str,
    start: str | None = None,
    owner: tuple[int, int] | None = None,
) -> str:
    """Make a working clone at ``dest`` (absent or empty) on ``branch`` and return the commit it stands on.

    ``start`` is that commit (a wip head, say); by default the branch's head in the view, else the base branch's.
    ``alternates_as`` is the absolute path under which the session sees ``view.objects``. The clone's ``.git`` is
    written here file by file and has no remote, hook, credential or filter; the work tree is written by a git that
    runs on the *view* and knows no filters either, so nothing the tree says (attributes, submodules, symlinks)
    makes the host run or write anything outside ``dest``. From then on the host never runs git in it. ``owner``
    (uid, gid) receives it.

    Raises GitFailed (an unknown start, a tree git refuses to write), UsageError (a name that is none).
    """
    ref, base_ref = branch_ref(branch), branch_ref(base)
    base_head = objects.read_ref(view.path, base_ref)
    if base_head is None:
        raise GitFailed(f"cloning for {branch}: the view {view.path.name} has no branch {base}")
    head = need_oid(start) if start is not None else objects.read_ref(view.path, ref) or base_head
    if not alternates_as.startswith("/") or "\n" in alternates_as or '"' in alternates_as:
        raise UsageError(f"{alternates_as!r} is not an absolute path of objects")
    dest.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(dest.iterdir()):
        raise UsageError(f"cloning into {dest}: it is not empty")
    _write_git_dir(dest / ".git", {base_ref: base_head, ref: head}, ref, role_identity, alternates_as)
    git(
        view.path,
        f"--work-tree={dest.absolute()}",
        "read-tree",
        "-u",
        "--reset",
        f"{head}^{{tree}}",
        env={"GIT_INDEX_FILE": str(dest.absolute() / ".git" / "index")},
        timeout_s=_CHECKOUT_TIMEOUT_S,
    )
    if owner is not None:
        _give(dest, *owner)
    return head


def _write_git_dir(where: Path, refs: Mapping[str, str], ref: str, identity: Signature, alternates_as: str) -> None:
    for folder in ("objects/info", "objects/pack", "refs/heads", "info"):
        (where / folder).mkdir(parents=True)
    user = f"[user]\n\tname = {_quoted(identity.name)}\n\temail = {_quoted(identity.email)}\n"
    (where / "config").write_text(_CLONE_CONFIG + user, encoding="utf-8")
    (where / "HEAD").write_text(f"ref: {ref}\n", encoding="utf-8")
    rows = "".join(f"{oid} {name}\n" for name, oid in sorted(refs.items()))
    (where / "packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + rows, encoding="utf-8")
    (where / "objects/info/alternates").write_text(f"{alternates_as}\n", encoding="utf-8")


def _quoted(value: str) -> str:
    if not value.isprintable():
        raise UsageError(f"{value!r} cannot be a name or an address")
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _give(dest: Path, uid: int, gid: int) -> None:
    """Hand the clone over; symlinks themselves are given, never what they point to."""
    for root, folders, files, at in os.fwalk(dest, follow_symlinks=False):
        del root
        os.fchown(at, uid, gid)
        for name in (*folders, *files):
            os.chown(name, uid, gid, dir_fd=at, follow_symlinks=False)
