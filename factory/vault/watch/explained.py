"""Whether all that is on ``main`` is explained: listed on the journal by the writer, or a merge that people approved.

The forge, asked where ``main`` is, is told on only after what is new there was looked at; what nothing explains freezes
the vault before anything of that turn can start. Not part of the trusted part: all it can do is freeze.

A merge that touches actions or the controlled set is left to the vault's own verdict, which is on the ledger as
VERIFIED, TRUST or REFUSED with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from factory.config.home import write_private
from factory.git.hardened import Change, Commit, Git
from factory.ops.routes import controlled
from factory.runs.journal import BRANCH as JOURNAL
from factory.runs.journal import OPS_COMMIT, entries_since
from factory.vault.action import FOLDER
from factory.vault.approval import Bench, judge
from factory.vault.authority import bots, in_force
from factory.vault.canonical import Refused, plain
from factory.vault.chain import BRANCH as LEDGER
from factory.vault.ledger import ALL
from factory.vault.ledger import read as read_entry
from factory.vault.watch.around import Around

MAIN = "refs/heads/main"
NAME = "explained.json"
MAX_ENTRY = 64 * 1024
MOST = 100
"""Commits that a FREEZE names."""


@dataclass
class Explained(Around):
    """``folder`` keeps up to where ``main`` was looked at."""

    git: Git
    _looked: str = ""
    _journal: str | None = None
    _listed: set[str] = field(default_factory=set)

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        """As asked. Raises Unclear also when what is new on ``main`` cannot be read."""
        found = self.forge.refs(*prefixes)
        main = found.get(MAIN, "")
        if main and main != self._looked and self.chain().ledger.trust:
            self._look(main)
        return found

    # ---- what is new on main -----------------------------------------------------------------------------------------

    def _look(self, main: str) -> None:
        chain = self.chain()
        self.git.fetch("main", JOURNAL)  # after main was told: what is listed for it is there by now
        first, last = (str(chain.ledger.trust[at].evidence["commit"]) for at in (0, -1))
        since = self._looked or self._kept() or last
        if not self.git.is_ancestor(first, since):
            since = first  # the ledger was begun anew
        if not self.git.is_ancestor(since, main):
            return  # rewritten: the trusted part itself freezes
        found = unexplained(self.git.history(main, since), since, self._listings, self._approved)
        new = [commit for commit in found if commit.oid not in self._named()] if found else []
        if new and chain.ledger.frozen:
            return  # for another reason; whoever unfreezes it is told of this one then
        if new:
            self._freeze(new)
        write_private(self.folder / NAME, json.dumps({"main": main}).encode())
        self._looked = main

    def _kept(self) -> str:
        try:
            kept = str(json.loads((self.folder / NAME).read_bytes())["main"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return kept if self.git.text("cat-file", "-t", kept, codes=(0, 128)) == "commit" else ""

    def _listings(self) -> set[str]:
        """Commits that the writer listed. What came onto the journal by a merge, or after its history was rewritten,
        does not count."""
        tip = self.git.text("rev-parse", f"refs/heads/{JOURNAL}")
        if tip != self._journal:
            day = None if self._journal else self.chain().ledger.trust[-1].at.date()
            reading = entries_since(self.git.repo, self._journal, tip, since=day)
            if not any(problem.path == JOURNAL for problem in reading.problems):
                self._listed |= {str(e.data.get("commit")) for e in reading.entries if e.kind == OPS_COMMIT}
            self._journal = tip
        return self._listed

    def _approved(self, commit: Commit) -> bool:
        """Whether it merges a pull request that people listed in the version in force approved at its head."""
        first, head = commit.parents
        if self.git.merged_tree(first, head) != self.git.pure("rev-parse", f"{commit.oid}^{{tree}}"):
            return False
        ledger = self.chain().ledger
        try:
            policy = in_force(ledger, self.git).policy
        except Refused:
            return False
        listed = policy.admins | policy.approvers
        repo = ledger.genesis.evidence["repo"] if ledger.genesis else 0
        for pull in self.forge.pulls(head):
            mine = pull.base == "main" and pull.head_sha == head and pull.head_repo == repo and not pull.flow
            moved = max(moment for moment in (pull.pushed, pull.moved) if moment is not None)
            bench = Bench(listed, frozenset({pull.poster}) | bots(ledger), listed)
            if mine and not judge(pull.reviews, head, moved, bench).code:
                return True
        return False

    def _freeze(self, found: Sequence[Commit]) -> None:
        first = found[0]
        paths = ", ".join(change.path.decode("utf-8", "replace")[:60] for change in first.changes[:3])
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        words = f"nobody explains commit {first.oid[:12]}{more} on main ({paths or 'it changes nothing'})"
        self.freeze({"words": plain(words), "commits": tuple(commit.oid for commit in found[:MOST])})

    def _named(self) -> set[str]:
        """Commits for which the vault was frozen before: an admin saw them and let it go on."""
        tip = f"refs/heads/{LEDGER}"
        names = self.git.run("ls-tree", "--name-only", tip, f"e/{ALL}/").decode("ascii").split()
        frozen = [name for name in names if name.endswith("-FREEZE.toml")]
        blobs = self.git.read([f"{tip}:{name}" for name in frozen], MAX_ENTRY)
        read = [read_entry(name, data or b"") for name, data in zip(frozen, blobs, strict=True)]
        return {str(oid) for entry in read for oid in entry.evidence.get("commits", ())}


def unexplained(
    commits: Iterable[Commit], since: str, listings: Callable[[], set[str]], approved: Callable[[Commit], bool]
) -> list[Commit]:
    """Those first-parent commits of ``main`` after ``since`` that nothing explains. ``listings`` and ``approved`` are
    asked only where they are needed."""
    found, before = [], since
    for commit in commits:
        before, straight = commit.oid, commit.parents[:1] == (before,)
        if not straight:
            good = False  # a merge with swapped parents: what was looked at is not on the first-parent history any more
        elif len(commit.parents) == 1:
            good = commit.oid in listings()
        else:
            good = len(commit.parents) == 2 and (any(map(_judged, commit.changes)) or approved(commit))
        if not good:
            found.append(commit)
    return found


def _judged(change: Change) -> bool:
    path = change.path.decode("utf-8", "replace")
    return path.startswith(FOLDER) or controlled(path)
