"""Git of the trusted part without processes, for tests that try thousands of schedules.

Same class, same answers (``test_quick.py`` holds them side by side): only what speaks to the git binary is replaced.
Every dispatcher of a test shares one object store and has branches of its own, as if it had a mirror.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pygit2

from factory.git.hardened import Change, Commit, Git, GitTrouble

WHO = pygit2.Signature("dispatcher", "dispatcher@factory.invalid", 1_700_000_000, 0)


class Store:
    """The remote: the objects of a bare repo on disk, and its branches as they were, to be moved in memory."""

    def __init__(self, path: Path, real: Git | None = None) -> None:
        self.repo = pygit2.Repository(str(path))
        self.real = real or Git(path, "")
        self.answers: dict[tuple[str, ...], bytes] = {}
        refs = self.repo.references
        self._refs = {name: str(refs[name].target) for name in refs}

    def branch(self, name: str) -> str:
        """Where it stands; empty: it is not there."""
        return self._refs.get(f"refs/heads/{name}", "")

    def set(self, name: str, oid: str) -> None:
        self._refs[f"refs/heads/{name}"] = oid

    def refs(self, *prefixes: str) -> dict[str, str]:
        return {name: oid for name, oid in self._refs.items() if name.startswith(prefixes)}


class QuickGit(Git):
    """A mirror of ``store``."""

    def __init__(self, store: Store) -> None:
        self.repo, self.url, self._token = Path(store.repo.path), "quick", ""
        self._known = {}
        self.store, self.own = store, dict[str, str]()

    # ---- what the git binary would be asked -------------------------------------------------------------------------

    def run(self, *args: str, data: bytes = b"", codes: Sequence[int] = (0,), net: bool = False,
            seconds: float = 60) -> bytes:  # fmt: skip
        if args[:2] == ("rev-parse", "--verify") and not args[2].startswith("-"):
            found = self.own.get(args[2].removeprefix("refs/heads/"), "")
            if not found:
                raise GitTrouble(f"git rev-parse: no {args[2]}")
            return found.encode()
        if args[0] == "rev-parse" and len(args) == 2:
            return str(self._commit(args[1].removesuffix("^{tree}")).tree_id).encode()
        if args[:3] == ("rev-list", "--count", "--max-count=1"):
            olds, new = args[3:-1], args[-1][1:]
            if any(oid not in self.store.repo for oid in (*olds, new)):
                return b""
            return b"0" if all(old == new or self._above(new, old) for old in olds) else b"1"
        if args[:2] == ("rev-list", "--first-parent"):
            since = args[3][1:] if len(args) > 3 else ""
            return "\n".join(str(commit.id) for commit in self._line(args[2], since)).encode()
        # What is left is of object ids alone, and never of the ledger: asked once for all that share the store.
        if args not in self.store.answers:
            self.store.answers[args] = self.store.real.run(*args, codes=codes)
        return self.store.answers[args]

    def _commit(self, oid: str) -> pygit2.Commit:
        try:
            return self.store.repo[oid].peel(pygit2.Commit)
        except (KeyError, ValueError) as error:
            raise GitTrouble(f"git: no commit {oid!r}") from error

    def _above(self, new: str, old: str) -> bool:
        return bool(self.store.repo.descendant_of(new, old))

    def _line(self, tip: str, since: str) -> list[pygit2.Commit]:
        found: list[pygit2.Commit] = []
        at: pygit2.Commit | None = self._commit(tip)
        while at is not None and str(at.id) != since:
            found.append(at)
            at = at.parents[0] if at.parents else None
        if at is None and since:  # it is not on that line
            return [commit for commit in found if not self._above(since, str(commit.id))]
        return found

    # ---- what a mirror does -----------------------------------------------------------------------------------------

    def fetch(self, *branches: str) -> None:
        for name in branches:
            found = self.store.branch(name)
            if not found:
                raise GitTrouble(f"git fetch: couldn't find remote ref {name}")
            self.own[name] = found

    def push(self, commit: str, branch: str) -> bool:
        now = self.store.branch(branch)
        if now == commit or (now and not self._above(commit, now)):
            return False
        self.store.set(branch, commit)
        return True

    def read(self, names: Iterable[str], limit: int) -> list[bytes | None]:
        found: list[bytes | None] = []
        for name in names:
            oid, _, path = name.partition(":")
            try:
                thing = self._commit(oid).tree[path] if path else self.store.repo[oid]
            except (KeyError, GitTrouble):
                thing = None
            good = isinstance(thing, pygit2.Blob) and thing.size <= limit
            found.append(thing.data if good and isinstance(thing, pygit2.Blob) else None)
        return found

    def history(self, tip: str, since: str = "", *paths: str) -> list[Commit]:
        found = []
        for commit in self._line(tip, since):
            diff = (
                commit.parents[0].tree.diff_to_tree(commit.tree)
                if commit.parents
                else commit.tree.diff_to_tree(swap=True)
            )
            changes = tuple(
                Change(d.status_char(), f"{d.new_file.mode:06o}", str(d.new_file.id), d.new_file.raw_path)
                for d in diff.deltas
            )
            kept = not paths or any(f"{c.path.decode()}/".startswith(f"{p}/") for c in changes for p in paths)
            if kept:
                found.append(Commit(str(commit.id), tuple(map(str, commit.parent_ids)), changes))
        return found[::-1]

    def append(self, parent: str, files: Sequence[tuple[str, bytes]], note: str) -> list[str]:
        made: list[str] = []
        repo, tree = self.store.repo, self._commit(parent).tree if parent else None
        who = pygit2.Signature(WHO.name, WHO.email, int(time.time()), 0)
        for path, data in files:
            tree = repo[self._put(tree, path.split("/"), repo.create_blob(data))].peel(pygit2.Tree)
            words = f"{path}\n\n{note}\n" if path == files[-1][0] and note else f"{path}\n"
            made.append(str(repo.create_commit(None, who, who, words, tree.id, [parent] if parent else [])))
            parent = made[-1]
        return made

    def _put(self, tree: pygit2.Tree | None, path: list[str], blob: pygit2.Oid) -> pygit2.Oid:
        repo = self.store.repo
        builder = repo.TreeBuilder(tree) if tree is not None else repo.TreeBuilder()
        if len(path) == 1:
            builder.insert(path[0], blob, pygit2.enums.FileMode.BLOB)
        else:
            below = tree[path[0]].peel(pygit2.Tree) if tree is not None and path[0] in tree else None
            builder.insert(path[0], self._put(below, path[1:], blob), pygit2.enums.FileMode.TREE)
        return builder.write()
