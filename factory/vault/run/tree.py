"""A commit's files as files: written by us from git's objects, with no checkout, no filter and no word of the tree.

``.gitattributes``, submodules, hooks and configuration do nothing here: bytes of blobs become bytes of files.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from factory.errors import GitFailed
from factory.forge.values import RepoName
from factory.git import objects
from factory.git.refs import branch_ref
from factory.git.transport import Remote
from factory.git.values import MODE_EXECUTABLE, MODE_SYMLINK, TreeEntry
from factory.git.view import View, open_view, refresh

MOST_FILES = 200_000
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class ProjectView:
    """The project, read through a bare repo of our own below ``cache``. ``remote`` is asked anew for each fetch."""

    name: RepoName
    remote: Callable[[], Remote]
    base: Callable[[], str]
    """The default branch."""
    cache: Path

    def tree(self, commit: str, into: Path, *, folder: str, branches: Collection[str], links: bool) -> int:
        """See ``tools.Project``."""
        view = open_view(self.cache)
        named = sorted(set(branches) or {self.base()})
        there = refresh(view, self.remote(), base=named[0], branches=named[1:])
        tips = [there[ref] for name in named if (ref := branch_ref(name)) in there]
        if not any(_holds(view, commit, tip) for tip in tips):
            raise GitFailed(
                f"reading {commit[:12]} of {self.name}: it is on none of {', '.join(named)}",
                hint="only what was merged there is released; the policy's setting `branches` names other branches",
            )
        write(view.path, commit, into, folder=folder, links=links)
        return objects.commit_info(view.path, commit).committer.when


def _holds(view: View, commit: str, tip: str) -> bool:
    return objects.exists(view.path, commit) and (commit == tip or objects.is_ancestor(view.path, commit, tip))


def write(repo: Path, commit: str, into: Path, *, folder: str = "", links: bool = True) -> int:
    """Write the files of ``commit`` (below ``folder``) into the new folder ``into``; returns how many.

    Symbolic links are made last and only where they stay inside; with ``links`` off they are refused. Raises GitFailed.
    """
    doing = f"writing the files of {commit[:12]}"
    entries = objects.list_tree(repo, commit, folder.strip("/"), recursive=True)
    size = sum(entry.size for entry in entries)
    if len(entries) > MOST_FILES or size > MOST_BYTES:
        raise GitFailed(f"{doing}: {len(entries)} files of {size} bytes, more than {MOST_FILES} or {MOST_BYTES}")
    into.mkdir(mode=0o755)
    into.chmod(0o755)
    skip = len(folder.strip("/")) + 1 if folder.strip("/") else 0
    rest: list[tuple[Path, str]] = []
    for entry in entries:
        path = _place(into, entry, entry.path[skip:], doing)
        if entry.kind != "blob":
            path.mkdir(exist_ok=True)  # a submodule: an empty folder, as `git archive` makes it
        elif entry.mode == MODE_SYMLINK:
            rest.append((path, _target(repo, entry, entry.path[skip:], doing, links=links)))
        else:
            _file(path, objects.read_blob(repo, entry.oid) or b"", 0o755 if entry.mode == MODE_EXECUTABLE else 0o644)
    for path, target in rest:
        path.symlink_to(target)
    return len(entries)


def _place(into: Path, entry: TreeEntry, name: str, doing: str) -> Path:
    """Where it goes, its folder made. A tree may hold any names; on a disk some of them mean something else."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.lower() == ".git" or "\0" in part or len(os.fsencode(part)) > 255
           for part in parts):  # fmt: skip
        raise GitFailed(f"{doing}: {entry.path[:200]!r} is no name for a file")
    path = into.joinpath(*parts)
    folder = into
    for part in parts[:-1]:
        folder = folder / part
        try:
            folder.mkdir(mode=0o755)
            folder.chmod(0o755)
        except FileExistsError:
            if not folder.is_dir():
                raise GitFailed(f"{doing}: {entry.path[:200]!r} is below a file") from None
    return path


def _file(path: Path, data: bytes, mode: int) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as sink:
        sink.write(data)
        os.fchmod(sink.fileno(), mode)


def _target(repo: Path, entry: TreeEntry, name: str, doing: str, *, links: bool) -> str:
    target = (objects.read_blob(repo, entry.oid, 4096) or b"").decode("utf-8", "surrogateescape")
    there = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if not links or not target or "\0" in target or target.startswith("/") or there.split("/")[0] == "..":
        why = "points out of the tree" if links else "is a symbolic link; here only files are taken"
        raise GitFailed(f"{doing}: {entry.path[:200]!r} {why}")
    return target
