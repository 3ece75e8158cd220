"""The ledger in git: read from the first commit on, extended by compare-and-swap and in no other way.

Part of the trusted part. A push that is cut off says nothing; what decides is what stands on the branch afterwards
(vault-security.md, 3.4). What was once seen there must stay there: the high-water mark on this host remembers it.
"""

import json
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from factory.git.hardened import Git, GitTrouble
from factory.vault.canonical import Refused, Unclear, json_bytes, must, sha256
from factory.vault.ledger import Entry, Ledger, read

BRANCH = "ledger"
TRIES = 8
Also = Callable[[Ledger, Entry], str]


class Chain:
    """The ledger of one ops repo, as this host knows it."""

    def __init__(self, git: Git, mark: Path, sign: Callable[[bytes], str]) -> None:
        self.git, self._mark, self._sign = git, mark, sign
        self.ledger = Ledger()

    def sync(self, *, accept: bool = False) -> Ledger:
        """Read what is new. Raises Unclear (not to be had now), Refused ``ledger-gone`` or ``bad-entry``: the branch
        lost what this host saw on it, or holds what may not be there. ``accept``: a person said that it counts now."""
        known = {} if accept else self._known()  # first: another process of this host may see more while we fetch
        try:
            self.git.fetch(BRANCH)
            tip = self.git.text("rev-parse", "--verify", f"refs/heads/{BRANCH}")
        except GitTrouble as error:
            raise Unclear(f"reading the ledger: {error}") from None
        if tip != self.ledger.tip:
            for old in {self.ledger.tip, str(known.get("tip", ""))} - {""}:
                words = f"what was seen at {old[:12]} is not on the ledger any more"
                must(self.git.is_ancestor(old, tip), "ledger-gone", words)
            self._take(tip)
        root = known.get("root", self.ledger.root)
        same = root == self.ledger.root and self.ledger.count >= int(known.get("count", 0))
        must(same, "ledger-gone", f"the ledger begins with {self.ledger.root[:12]}, not with {str(root)[:12]}")
        self._remember({} if accept else self._known())
        return self.ledger

    def _take(self, tip: str) -> None:
        commits = self.git.history(tip, self.ledger.tip)
        for commit in commits:
            straight = len(commit.parents) == (1 if self.ledger.tip or commit is not commits[0] else 0)
            straight &= [(c.status, c.mode) for c in commit.changes] == [("A", "100644")]
            must(straight, "bad-entry", f"commit {commit.oid[:12]} of the ledger does not add one file")
        blobs = self.git.read((c.changes[0].blob for c in commits), 64 * 1024)
        for commit, data in zip(commits, blobs, strict=True):
            self.ledger.apply(read(commit.changes[0].path.decode("ascii", "replace"), data or b""), commit.oid)

    def _known(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self._mark.read_bytes()))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Refused("ledger-gone", f"the high-water mark {self._mark} cannot be read: {error}") from None

    def _remember(self, known: Mapping[str, Any]) -> None:
        """Never back to less than is known: another process of this host may have seen more."""
        if int(known.get("count", 0)) >= self.ledger.count:
            return
        data = json_bytes({"root": self.ledger.root, "tip": self.ledger.tip, "count": self.ledger.count})
        draft = self._mark.with_suffix(f".{os.getpid()}")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._mark)

    def append(self, entries: Iterable[Entry], also: Also = lambda *_: "") -> tuple[Entry, ...]:
        """Those of the entries that are on the ledger now because of this call, all in one push. Left out is what may
        not follow on the tip it would stand on, by the ledger's own rules or for the reason that ``also`` gives. Raises
        as ``sync``; Unclear also when the server never says yes."""
        wanted = list(entries)
        tries: list[tuple[str, list[Entry]]] = []
        for turn in range(TRIES):
            drafts = self._drafts(wanted, also)
            if not drafts:
                return ()
            self._remember(self._known())  # a mark that cannot be written must not fall behind by more than one push
            commits, yes = [], False
            try:
                files = [(entry.path, entry.write()) for entry in drafts]
                batch = json_bytes([self.ledger.root, self.ledger.tip, [sha256(data) for _, data in files]])
                commits = self.git.append(self.ledger.tip, files, self._sign(batch))
                yes = self.git.push(commits[-1], BRANCH)
            except (GitTrouble, OSError):
                pass  # nothing is known: what stands on the branch decides
            if yes:
                for entry, commit in zip(drafts, commits, strict=True):
                    self.ledger.apply(entry, commit)
                self._remember(self._known())
                return tuple(drafts)
            tries += [(commits[-1], drafts)] if commits else []
            self.sync()
            for commit, landed in tries:
                if self.git.is_ancestor(commit, self.ledger.tip):
                    return tuple(landed)
            time.sleep(random.uniform(0, 0.05 * 2 ** min(turn, 5)))  # noqa: S311 - full jitter between writers
        raise Unclear(f"writing {wanted[0].kind} {wanted[0].id}: the ledger did not take it in {TRIES} tries")

    def _drafts(self, entries: Sequence[Entry], also: Also) -> list[Entry]:
        """What may be written on this tip, one after the other, by folding it on a copy."""
        trial, drafts, now = Ledger(), [], self.ledger
        trial.__dict__.update({**now.__dict__, "states": dict(now.states), "trust": list(now.trust)})
        for entry in entries:
            draft = replace(entry, seq=trial.count, prev=self.ledger.tip)
            if not trial.why_not(draft) and not also(trial, draft):
                drafts.append(draft)
                trial.apply(draft, self.ledger.tip)
        return drafts
