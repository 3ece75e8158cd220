"""Git objects and refs of a (bare) repo without a checkout; the only module of the project that uses pygit2.

Every function takes the repo's path, opens it, does one thing and closes it: nothing is cached, so the functions are
safe from several threads and always see what other processes wrote. A *rev* is anything ``git rev-parse`` takes; pass
full ref names or object ids where a tag could shadow a branch. Object ids are 40 hex digits. All errors are
``GitFailed`` (``RefMoved`` for a lost compare-and-swap).

The user's and the system's git configuration is never read (libgit2 looks in more places than HOME), so results do
not depend on the machine.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel, DeltaStatus, DiffOption, ObjectType, RepositoryInitFlag, SortMode

from factory.errors import GitFailed, RefMoved
from factory.git.values import (
    EMPTY_TREE,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SUBMODULE,
    MODE_SYMLINK,
    MODE_TREE,
    ZERO,
    CommitInfo,
    MergeResult,
    PathChange,
    RefRow,
    Signature,
    TreeEntry,
)

__all__ = [
    "EMPTY_TREE",
    "MODE_EXECUTABLE",
    "MODE_FILE",
    "MODE_SUBMODULE",
    "MODE_SYMLINK",
    "MODE_TREE",
    "ZERO",
    "CommitInfo",
    "MergeResult",
    "PathChange",
    "RefRow",
    "Signature",
    "TreeEntry",
]
"""The values are offered here too; functions need no listing."""

for _level in (ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL, ConfigLevel.PROGRAMDATA):
    pygit2.settings.search_path[_level] = ""

_LOCK_PATIENCE = 0.5
"""Seconds to wait for another process's ref lock; git's own core.filesRefLockTimeout is 0.1."""


_STATUS = {
    DeltaStatus.ADDED: "added",
    DeltaStatus.DELETED: "deleted",
    DeltaStatus.MODIFIED: "modified",
    DeltaStatus.RENAMED: "renamed",
    DeltaStatus.COPIED: "copied",
    DeltaStatus.TYPECHANGE: "typechange",
}


@contextmanager
def _opened(repo: Path, doing: str) -> Iterator[pygit2.Repository]:
    """Open ``repo``, turning whatever libgit2 raises inside into GitFailed with what was being done."""
    try:
        opened = pygit2.Repository(str(repo))
    except (pygit2.GitError, OSError, ValueError) as error:
        raise GitFailed(f"{doing}: {repo} is not a git repository that can be opened ({error})") from error
    try:
        yield opened
    except (pygit2.GitError, KeyError, ValueError, OSError, TypeError) as error:
        detail = error.args[0] if isinstance(error, KeyError) and error.args else error
        raise GitFailed(f"{doing} in {repo.name}: {detail}") from error
    finally:
        opened.free()


def _commit(repo: pygit2.Repository, rev: str) -> pygit2.Commit:
    try:
        found = repo.revparse_single(rev)
    except KeyError:
        raise GitFailed(f"no revision {rev!r} in {Path(repo.path).name}") from None
    commit = found.peel(pygit2.Commit)
    assert isinstance(commit, pygit2.Commit)
    return commit


def _tree(repo: pygit2.Repository, rev: str) -> pygit2.Tree:
    if rev == EMPTY_TREE:  # known to every git without being stored
        repo.write(ObjectType.TREE, b"")
    try:
        found = repo.revparse_single(rev)
    except KeyError:
        raise GitFailed(f"no revision {rev!r} in {Path(repo.path).name}") from None
    tree = found.peel(pygit2.Tree)
    assert isinstance(tree, pygit2.Tree)
    return tree


def init_bare(path: Path, default_branch: str = "main") -> None:
    """Create an empty bare repo (parents too). An existing repo is left as it is."""
    try:
        pygit2.init_repository(
            str(path),
            bare=True,
            flags=RepositoryInitFlag.MKPATH | RepositoryInitFlag.BARE,
            initial_head=default_branch,
        ).free()
    except (pygit2.GitError, OSError, ValueError) as error:
        raise GitFailed(f"creating the repository {path}: {error}") from error


# ---------------------------------------------------------------- refs


def read_ref(repo: Path, ref: str) -> str | None:
    """Object id a ref points to (symbolic refs resolved), None when there is no such ref."""
    with _opened(repo, f"reading {ref}") as git:
        try:
            return str(git.lookup_reference(ref).resolve().target)
        except (KeyError, pygit2.InvalidSpecError):  # what no ref can be called is not there
            return None


def list_refs(repo: Path, prefix: str = "refs/") -> dict[str, str]:
    """Ref name to object id for every ref below ``prefix``, sorted by name."""
    return {row.name: row.oid for row in ref_rows(repo, (prefix,))}


def ref_rows(
    repo: Path, prefixes: Sequence[str] = ("refs/",), *, peel: bool = False, head: bool = False
) -> list[RefRow]:
    """Refs that begin with any of ``prefixes``, sorted; with ``head`` HEAD first when it is born and asked for."""
    with _opened(repo, "listing refs") as git:
        rows: list[RefRow] = []
        if head and any("HEAD".startswith(p) for p in prefixes):
            symbolic = git.lookup_reference("HEAD")
            try:
                target = symbolic.target if isinstance(symbolic.target, str) else None
                rows.append(RefRow("HEAD", str(symbolic.resolve().target), target))
            except KeyError:
                pass  # unborn
        for name in sorted(git.listall_references()):
            if not any(name.startswith(p) for p in prefixes):
                continue
            try:
                resolved = git.lookup_reference(name).resolve()
            except KeyError:
                continue  # deleted since it was listed
            oid = str(resolved.target)
            peeled = None
            if peel and name.startswith("refs/tags/"):
                found = git.get(oid)
                if isinstance(found, pygit2.Tag):
                    peeled = str(resolved.peel().id)
            rows.append(RefRow(name, oid, None, peeled))
        return rows


def read_head(repo: Path) -> str:
    """Name of the ref that HEAD points to, born or not."""
    with _opened(repo, "reading HEAD") as git:
        return str(git.lookup_reference("HEAD").target)


def set_head(repo: Path, ref: str) -> None:
    """Point HEAD at a ref, which need not exist yet."""
    with _opened(repo, f"pointing HEAD at {ref}") as git:
        git.set_head(ref)


def create_ref(repo: Path, ref: str, new: str) -> None:
    """Create ``ref``; raises RefMoved when it already exists."""
    _swap(repo, ref, new, ZERO)


def update_ref(repo: Path, ref: str, new: str, old: str | None = None) -> None:
    """Set ``ref`` to ``new`` if it still is ``old`` (None: whatever it is; forty zeros: it must not exist).

    Atomic under git's own ref lock. Raises RefMoved when the value is another one.
    """
    _swap(repo, ref, new, old)


def delete_ref(repo: Path, ref: str, old: str | None = None) -> None:
    """Delete ``ref`` if it still is ``old``; a ref that is gone already is fine unless ``old`` was given."""
    _swap(repo, ref, None, old)


def _swap(repo: Path, ref: str, new: str | None, old: str | None) -> None:
    with _opened(repo, f"updating {ref}") as git:
        if new is not None and new not in git:
            raise GitFailed(f"updating {ref} in {repo.name}: no object {new}")
        deadline = time.monotonic() + _LOCK_PATIENCE
        while True:
            try:
                with git.transaction() as change:
                    change.lock_ref(ref)
                    try:
                        now = str(git.lookup_reference(ref).resolve().target)
                    except KeyError:
                        now = ZERO
                    if old is not None and now != old:
                        raise RefMoved(f"{ref} in {repo.name} is at {now[:12]}, not at {old[:12]}")
                    if new is not None:
                        change.set_target(ref, new)
                    elif now != ZERO:
                        change.remove(ref)
                return
            except (pygit2.GitError, OSError) as error:
                if "lock file" not in str(error):
                    raise
                if time.monotonic() > deadline:
                    raise GitFailed(
                        f"updating {ref} in {repo.name}: locked by another process ({error})",
                        hint=f"if no git process is running, remove {ref}.lock from the repository",
                    ) from error
                time.sleep(0.01)


# ---------------------------------------------------------------- reading


def exists(repo: Path, oid: str) -> bool:
    """Whether the repo holds an object with this (full) id."""
    with _opened(repo, f"looking for {oid}") as git:
        try:
            return pygit2.Oid(hex=oid) in git.odb
        except ValueError:
            return False


def object_kind(repo: Path, rev: str) -> tuple[str, str] | None:
    """(kind, full id) of what ``rev`` names, unpeeled; None when it names nothing."""
    with _opened(repo, f"resolving {rev}") as git:
        try:
            found = git.revparse_single(rev)
        except (KeyError, ValueError):
            return None
        return str(found.type_str), str(found.id)


def resolve_commit(repo: Path, rev: str) -> str | None:
    """Full id of the commit ``rev`` names (tags peeled), None when there is none."""
    with _opened(repo, f"resolving {rev}") as git:
        try:
            return str(git.revparse_single(rev).peel(pygit2.Commit).id)
        except (KeyError, ValueError, pygit2.GitError):
            return None


def read_blob(repo: Path, oid: str, max_bytes: int | None = None) -> bytes | None:
    """Content of a blob by id, its first ``max_bytes``; None when there is no such blob."""
    with _opened(repo, f"reading blob {oid}") as git:
        try:
            blob = git.get(oid)
        except ValueError:
            return None
        if not isinstance(blob, pygit2.Blob):
            return None
        return blob.data if max_bytes is None else bytes(memoryview(blob)[:max_bytes])


def read_file(repo: Path, rev: str, path: str, max_bytes: int | None = None) -> bytes | None:
    """Content of the file at ``path`` in ``rev``, its first ``max_bytes``; None when it is no file there."""
    entry = find_entry(repo, rev, path)
    return None if entry is None or entry.kind != "blob" else read_blob(repo, entry.oid, max_bytes)


def find_entry(repo: Path, rev: str, path: str) -> TreeEntry | None:
    """The entry at ``path`` in ``rev``, None when there is none."""
    with _opened(repo, f"reading {path} at {rev}") as git:
        tree = _tree(git, rev)
        try:
            found = tree[path]
        except KeyError:
            return None
        return _entry(git, path, found)


def _entry(git: pygit2.Repository, path: str, found: pygit2.Object) -> TreeEntry:
    size = git.odb.read_header(found.id)[1] if found.type_str == "blob" else 0
    return TreeEntry(path, int(found.filemode), str(found.type_str), str(found.id), size)


def list_tree(repo: Path, rev: str, path: str = "", recursive: bool = False) -> list[TreeEntry]:
    """Entries of the folder ``path`` in ``rev`` (with full paths), sorted as git sorts them.

    ``recursive`` lists every file below and no trees. A path that is no folder there raises GitFailed.
    """
    with _opened(repo, f"listing {path or '/'} at {rev}") as git:
        tree: pygit2.Object = _tree(git, rev)
        if path:
            try:
                tree = tree[path]  # type: ignore[index]
            except KeyError:
                raise GitFailed(f"no folder {path!r} at {rev} in {repo.name}") from None
        if not isinstance(tree, pygit2.Tree):
            raise GitFailed(f"{path!r} at {rev} in {repo.name} is a file, not a folder")
        return list(_walk_tree(git, tree, path + "/" if path else "", recursive))


def _walk_tree(git: pygit2.Repository, tree: pygit2.Tree, prefix: str, recursive: bool) -> Iterator[TreeEntry]:
    for found in tree:
        name = prefix + (found.raw_name or b"").decode("utf-8", "surrogateescape")
        if recursive and isinstance(found, pygit2.Tree):
            yield from _walk_tree(git, found, name + "/", True)
        else:
            yield _entry(git, name, found)


def _signature(raw: pygit2.Signature) -> Signature:
    name, email = raw.raw_name.decode("utf-8", "replace"), raw.raw_email.decode("utf-8", "replace")
    return Signature(name, email, int(raw.time), int(raw.offset))


def _info(commit: pygit2.Commit) -> CommitInfo:
    return CommitInfo(
        oid=str(commit.id),
        tree=str(commit.tree_id),
        parents=tuple(str(p) for p in commit.parent_ids),
        author=_signature(commit.author),
        committer=_signature(commit.committer),
        message=commit.raw_message.decode("utf-8", "replace"),
    )


def commit_info(repo: Path, rev: str) -> CommitInfo:
    """The commit that ``rev`` names; raises GitFailed when there is none."""
    with _opened(repo, f"reading commit {rev}") as git:
        return _info(_commit(git, rev))


def log(
    repo: Path,
    rev: str,
    *,
    exclude: Iterable[str] = (),
    first_parent: bool = False,
    limit: int | None = None,
    skip: int = 0,
) -> list[CommitInfo]:
    """Commits reachable from ``rev`` and not from any of ``exclude``, newest first, children before parents; at most
    ``limit`` of them after the first ``skip``."""
    with _opened(repo, f"reading the log of {rev}") as git:
        walker = git.walk(_commit(git, rev).id, SortMode.TOPOLOGICAL | SortMode.TIME)
        if first_parent:
            walker.simplify_first_parent()
        for hidden in exclude:
            walker.hide(_commit(git, hidden).id)
        return [_info(commit) for commit in islice(walker, skip, None if limit is None else skip + limit)]


def count_commits(repo: Path, rev: str) -> int:
    """How many commits are reachable from ``rev``."""
    with _opened(repo, f"counting the commits of {rev}") as git:
        return sum(1 for _ in git.walk(_commit(git, rev).id, SortMode.NONE))


def merge_base(repo: Path, a: str, b: str) -> str | None:
    """Best common ancestor of two revs, None when their histories are unrelated."""
    with _opened(repo, f"finding the merge base of {a} and {b}") as git:
        base = git.merge_base(_commit(git, a).id, _commit(git, b).id)
        return None if base is None else str(base)


def is_ancestor(repo: Path, a: str, b: str) -> bool:
    """Whether commit ``a`` is reachable from ``b``; a commit is its own ancestor."""
    with _opened(repo, f"asking whether {a} is in {b}") as git:
        first, second = _commit(git, a).id, _commit(git, b).id
        return bool(first == second or git.descendant_of(second, first))


def ahead_behind(repo: Path, a: str, b: str) -> tuple[int, int]:
    """(commits of ``a`` that are not in ``b``, commits of ``b`` that are not in ``a``)."""
    with _opened(repo, f"comparing {a} with {b}") as git:
        ahead, behind = git.ahead_behind(_commit(git, a).id, _commit(git, b).id)
        return int(ahead), int(behind)


# ---------------------------------------------------------------- differences


def _patches(git: pygit2.Repository, a: str, b: str, context: int = 3) -> Iterator[pygit2.Patch]:
    """The patches from ``a`` to ``b`` one by one, so that a large diff is never in memory at once."""
    diff = _tree(git, a).diff_to_tree(_tree(git, b), flags=DiffOption.INCLUDE_TYPECHANGE, context_lines=context)
    diff.find_similar()
    for patch in diff:
        if patch is not None:
            yield patch


def diff_paths(repo: Path, a: str, b: str) -> list[PathChange]:
    """What changed from ``a`` to ``b`` (commits or trees), one entry per file, renames found."""
    with _opened(repo, f"comparing {a} with {b}") as git:
        changes: list[PathChange] = []
        for patch in _patches(git, a, b, context=0):
            delta = patch.delta
            _, additions, deletions = patch.line_stats
            old, new = delta.old_file.path, delta.new_file.path
            changes.append(
                PathChange(
                    status=_STATUS.get(delta.status, "modified"),
                    path=new,
                    old_path=old if old != new else None,
                    additions=additions,
                    deletions=deletions,
                    binary=bool(delta.is_binary),
                )
            )
        return changes


def diff_text(repo: Path, a: str, b: str, max_bytes: int) -> str:
    """Unified diff from ``a`` to ``b``; what exceeds ``max_bytes`` is left out and the last line says so."""
    with _opened(repo, f"comparing {a} with {b}") as git:
        parts: list[str] = []
        room = max_bytes
        for patch in _patches(git, a, b):
            text = patch.data.decode("utf-8", "replace")
            size = len(text.encode())
            if size > room:
                kept = text.encode()[:room].decode("utf-8", "ignore")
                parts.append(kept[: kept.rfind("\n") + 1])
                parts.append(f"[diff cut at {max_bytes} bytes]\n")
                break
            parts.append(text)
            room -= size
        return "".join(parts)


def patch_digest(repo: Path, base: str, head: str) -> str:
    """SHA-256 of what ``head`` changes since its merge base with ``base``: stays the same over a pure rebase.

    Line numbers and blob ids are left out (Forgejo decides staleness so); for binary files the new blob id counts,
    because their text says nothing.
    """
    common = merge_base(repo, base, head)
    with _opened(repo, f"digesting {base}..{head}") as git:
        digest = hashlib.sha256()
        for patch in _patches(git, common or EMPTY_TREE, head):
            delta = patch.delta
            fact = (_STATUS.get(delta.status, "?"), delta.old_file.path, delta.new_file.path, int(delta.new_file.mode))
            digest.update(repr(fact).encode("utf-8", "surrogateescape"))
            if delta.is_binary or not patch.hunks:
                digest.update(str(delta.new_file.id).encode())
            for hunk in patch.hunks:
                digest.update(b"\n@@")
                for line in hunk.lines:
                    digest.update(line.origin.encode() + line.raw_content)
        return digest.hexdigest()


# ---------------------------------------------------------------- writing


def write_blob(repo: Path, data: bytes) -> str:
    """Store a blob; returns its id."""
    with _opened(repo, "writing a blob") as git:
        return str(git.create_blob(data))


def build_tree(
    repo: Path, base: str | None, changes: Mapping[str, bytes | None], modes: Mapping[str, int] | None = None
) -> str:
    """A tree like ``base`` (a rev; None: empty) with files written (bytes) or deleted (None); returns its id.

    A file keeps its mode unless ``modes`` names one; new files are 0644. Deleting what is not there changes nothing.
    Raises GitFailed for paths git forbids and where a file would have to be a folder too.
    """
    with _opened(repo, "building a tree") as git:
        for path in changes:
            parts = path.split("/")
            if any(part in ("", ".", "..") or part.lower() == ".git" for part in parts) or "\0" in path:
                raise GitFailed(f"building a tree in {repo.name}: {path!r} is not a path git can hold")
        start = None if base is None else _tree(git, base)
        written = _apply(git, start, "", dict(changes), modes or {})
        return str(git.TreeBuilder().write() if written is None else written)


def _apply(
    git: pygit2.Repository,
    tree: pygit2.Tree | None,
    prefix: str,
    changes: Mapping[str, bytes | None],
    modes: Mapping[str, int],
) -> pygit2.Oid | None:
    """Write ``changes`` (paths relative to ``prefix``) over ``tree``; None when nothing is left in it."""
    builder = git.TreeBuilder(tree) if tree is not None else git.TreeBuilder()
    below: dict[str, dict[str, bytes | None]] = {}
    files: dict[str, bytes] = {}
    for path, data in changes.items():
        name, slash, rest = path.partition("/")
        if slash:
            below.setdefault(name, {})[rest] = data
        elif data is not None:
            files[name] = data
        elif (old := builder.get(name)) is not None:
            if isinstance(old, pygit2.Tree):
                raise GitFailed(f"deleting {prefix}{name}: it is a folder, name its files")
            builder.remove(name)
    for name, inner in below.items():
        old = builder.get(name)
        if old is not None and not isinstance(old, pygit2.Tree):
            if all(data is None for data in inner.values()):
                continue
            raise GitFailed(f"writing below {prefix}{name}: it is a file, not a folder")
        written = _apply(git, old, f"{prefix}{name}/", inner, modes)
        if written is not None:
            builder.insert(name, written, MODE_TREE)
        elif old is not None:
            builder.remove(name)
    for name, content in files.items():
        old = builder.get(name)
        if isinstance(old, pygit2.Tree) or (name in below and builder.get(name)):
            raise GitFailed(f"writing {prefix}{name}: it is a folder, not a file")
        mode = modes.get(prefix + name) or (int(old.filemode) if old is not None else MODE_FILE)
        builder.insert(name, git.create_blob(content), mode)
    return builder.write() if len(builder) else None


def build_commit(
    repo: Path,
    *,
    parent: str | None,
    changes: Mapping[str, bytes | None],
    message: str,
    author: Signature,
    committer: Signature,
    modes: Mapping[str, int] | None = None,
) -> str:
    """A commit on ``parent`` (None: a root) with ``changes`` applied as in :func:`build_tree`. Moves no ref."""
    tree = build_tree(repo, parent, changes, modes)
    parents = () if parent is None else (commit_info(repo, parent).oid,)
    return commit_tree(repo, tree=tree, parents=parents, message=message, author=author, committer=committer)


def commit_tree(
    repo: Path, *, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
) -> str:
    """Write a commit object; returns its id. Moves no ref."""
    with _opened(repo, "writing a commit") as git:
        return _write_commit(git, tree, parents, message, author, committer)


def _write_commit(
    git: pygit2.Repository, tree: str, parents: Sequence[str], message: str, author: Signature, committer: Signature
) -> str:
    above = [pygit2.Oid(hex=parent) for parent in parents]
    return str(git.create_commit(None, _native(author), _native(committer), message, tree, above))


def _native(signature: Signature) -> pygit2.Signature:
    return pygit2.Signature(signature.name, signature.email, signature.when, signature.offset, "utf-8")


def merge_trees(repo: Path, base: str | None, ours: str, theirs: str) -> MergeResult:
    """Three-way merge of trees (or commits' trees); ``base`` None stands for the empty tree. Writes only objects."""
    with _opened(repo, f"merging {theirs} into {ours}") as git:
        index = git.merge_trees(_tree(git, base or EMPTY_TREE), _tree(git, ours), _tree(git, theirs))
        return _merged(git, index)


def merge_commits(repo: Path, ours: str, theirs: str) -> MergeResult:
    """Merge of two commits as ``git merge`` computes it, criss-cross histories included. Writes only objects."""
    with _opened(repo, f"merging {theirs} into {ours}") as git:
        return _merged(git, git.merge_commits(_commit(git, ours), _commit(git, theirs)))


def _merged(git: pygit2.Repository, index: pygit2.Index) -> MergeResult:
    if not index.conflicts:
        return MergeResult(str(index.write_tree(git)), ())
    paths = {side.path for conflict in index.conflicts for side in conflict if side is not None}
    return MergeResult(None, tuple(sorted(paths)))


def rewrite_commits(
    repo: Path,
    *,
    base: str,
    head: str,
    author: Signature,
    committer: Signature,
    rewrite_message: Callable[[str], str],
    known: Sequence[str] = (),
) -> str:
    """Write every commit of ``base..head`` anew with this identity and a rewritten message; returns the new head.

    What ``known`` commits reach is not rewritten either (the base branch's tip, which a conflict run merges).

    Trees and the shape of history stay (merges of ``base..head`` too; parents outside the range are kept). The times
    are those of the two signatures, so the same input gives the same ids. An empty range returns ``head`` itself.
    """
    new: dict[str, str] = {}
    old_head = commit_info(repo, head).oid
    with _opened(repo, f"rewriting {base}..{head}") as git:
        walker = git.walk(pygit2.Oid(hex=old_head), SortMode.TOPOLOGICAL | SortMode.REVERSE)
        for hidden in (base, *known):
            walker.hide(_commit(git, hidden).id)
        for commit in walker:
            info = _info(commit)
            parents = [new.get(parent, parent) for parent in info.parents]
            message = rewrite_message(info.message)
            new[info.oid] = _write_commit(git, info.tree, parents, message, author, committer)
    return new.get(old_head, old_head)


def copy_commits(source: Path, target: Path, head: str) -> None:
    """Copy what is reachable from commit ``head`` in ``source`` and missing in ``target``. Moves no ref.

    Written children first would leave holes after a kill, so trees and blobs go before the commit that names them,
    parents before children.
    """
    with _opened(source, f"copying {head}") as read, _opened(target, f"copying {head} from {source.name}") as write:
        pending: list[pygit2.Oid] = []
        seen: set[pygit2.Oid] = set()
        stack = [pygit2.Oid(hex=head)]
        while stack:
            oid = stack.pop()
            if oid in seen or oid in write.odb:
                continue
            seen.add(oid)
            pending.append(oid)
            stack.extend(_commit(read, str(oid)).parent_ids)
        order = {oid: n for n, oid in enumerate(pending)}
        walker = read.walk(pygit2.Oid(hex=head), SortMode.TOPOLOGICAL | SortMode.REVERSE) if order else ()
        for commit in walker:
            if commit.id in order:
                _copy_tree(read, write, commit.tree)
                write.odb.write(ObjectType.COMMIT, commit.read_raw())


def _copy_tree(read: pygit2.Repository, write: pygit2.Repository, tree: pygit2.Tree) -> None:
    if tree.id in write.odb:
        return
    for found in tree:
        if isinstance(found, pygit2.Tree):
            _copy_tree(read, write, found)
        elif isinstance(found, pygit2.Blob) and found.id not in write.odb:
            write.odb.write(ObjectType.BLOB, found.read_raw())
    write.odb.write(ObjectType.TREE, tree.read_raw())


def build_tag(repo: Path, *, name: str, target: str, message: str, tagger: Signature) -> str:
    """Write an annotated tag object on a commit; returns its id. Moves no ref."""
    text = (
        f"object {target}\ntype commit\ntag {name}\n"
        f"tagger {tagger.name} <{tagger.email}> {tagger.when} {_zone(tagger.offset)}\n\n{message.rstrip()}\n"
    )
    with _opened(repo, f"writing the tag {name}") as git:
        return str(git.write(ObjectType.TAG, text.encode()))


def _zone(offset: int) -> str:
    return f"{'-' if offset < 0 else '+'}{abs(offset) // 60:02d}{abs(offset) % 60:02d}"


def tag_message(repo: Path, oid: str) -> str | None:
    """Message of an annotated tag object, None when ``oid`` is none."""
    with _opened(repo, f"reading tag {oid}") as git:
        found = git.get(oid)
        return found.message if isinstance(found, pygit2.Tag) else None


def uncommitted(folder: Path) -> int | None:
    """How many files of a person's working copy differ from its last commit, new ones included; None for a bare repo
    or one that cannot be opened.

    By libgit2 and never by the git binary: ``git status`` runs what the copy's own configuration names.
    """
    try:
        opened = pygit2.Repository(str(folder))
        try:
            if opened.is_bare:
                return None
            seen = opened.status(untracked_files="normal", ignored=False)
        finally:
            opened.free()
    except (pygit2.GitError, KeyError, ValueError, OSError):
        return None
    return len(seen)
