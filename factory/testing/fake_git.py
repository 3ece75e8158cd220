"""Just enough of git for ``FakeForge``: commits with whole trees, ancestry, three-way merges. No objects, no files."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from factory.forge.values import ChangedFile

Tree = Mapping[str, str]


@dataclass(frozen=True)
class FakeCommit:
    """A commit whose tree is a mapping."""

    sha: str
    parents: tuple[str, ...]
    tree: Tree
    message: str


@dataclass
class FakeGit:
    """The object store all fake repos share."""

    commits: dict[str, FakeCommit] = field(default_factory=dict)

    def commit(self, tree: Tree, parents: tuple[str, ...], message: str) -> str:
        """Store a commit and return its id (40 hex digits, the same for the same content and moment in the history)."""
        text = repr((sorted(tree.items()), parents, message, len(self.commits)))
        sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[sha] = FakeCommit(sha, parents, dict(tree), message)
        return sha

    def tree(self, sha: str) -> Tree:
        return self.commits[sha].tree

    def ancestors(self, sha: str) -> Iterator[str]:
        """``sha`` and all that it contains, nearest first."""
        queue, seen = [sha], {sha}
        while queue:
            at = queue.pop(0)
            yield at
            for parent in self.commits[at].parents:
                if parent not in seen:
                    seen.add(parent)
                    queue.append(parent)

    def merge_base(self, left: str, right: str) -> str:
        """The nearest common ancestor; empty when the histories are unrelated."""
        mine = set(self.ancestors(left))
        return next((sha for sha in self.ancestors(right) if sha in mine), "")

    def contains(self, tip: str, sha: str) -> bool:
        return sha in set(self.ancestors(tip))

    def merged_tree(self, ours: str, theirs: str) -> Tree | None:
        """Three-way merge by whole files; None on a conflict."""
        base_sha = self.merge_base(ours, theirs)
        base: Tree = self.tree(base_sha) if base_sha else {}
        left, right = self.tree(ours), self.tree(theirs)
        merged: dict[str, str] = {}
        for path in sorted({*base, *left, *right}):
            was, mine, other = base.get(path), left.get(path), right.get(path)
            if mine != was and other != was and mine != other:
                return None
            result = mine if other == was else other
            if result is not None:
                merged[path] = result
        return merged

    def changes(self, old: str, new: str) -> list[ChangedFile]:
        """What differs from ``old`` to ``new``; renames are shown as a deletion and an addition."""
        before: Tree = self.tree(old) if old else {}
        after = self.tree(new)
        found = []
        for path in sorted({*before, *after}):
            was, now = before.get(path), after.get(path)
            if was == now:
                continue
            delta = list(difflib.ndiff((was or "").splitlines(), (now or "").splitlines()))
            found.append(
                ChangedFile(
                    path,
                    "added" if was is None else "deleted" if now is None else "modified",
                    sum(line.startswith("+ ") for line in delta),
                    sum(line.startswith("- ") for line in delta),
                )
            )
        return found

    def diff(self, old: str, new: str) -> str:
        """A unified diff."""
        before: Tree = self.tree(old) if old else {}
        after = self.tree(new)
        out = []
        for file in self.changes(old, new):
            lines = difflib.unified_diff(
                before.get(file.path, "").splitlines(keepends=True),
                after.get(file.path, "").splitlines(keepends=True),
                f"a/{file.path}" if file.path in before else "/dev/null",
                f"b/{file.path}" if file.path in after else "/dev/null",
            )
            out.append(f"diff --git a/{file.path} b/{file.path}\n" + "".join(lines))
        return "".join(out)
