"""The ledger as people and the daemon read it: folded from the ops repo's mirror, only what is new each time.

The fold is the trusted part's own; the reading is not: it looks at the newest tree, and leaves proving that nothing was
ever changed to the dispatcher and to ``factory vault audit``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from factory.git import objects
from factory.vault.action import FOLDER, Action
from factory.vault.action import check as check_action
from factory.vault.canonical import Refused
from factory.vault.ledger import Entry, Ledger, State, read
from factory.vault.people.facts import Last
from factory.vault.people.request import Known

BRANCH = "refs/heads/ledger"


class LedgerReader:
    """Holds the fold up to a tip, and every entry that led there. Lost with the process and rebuilt from git."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.entries: list[tuple[Entry, str]] = []
        """With the commit each stands in, oldest first."""

    def read(self, mirror: Path, tip: str | None) -> Ledger:
        """The ledger at ``tip``; an empty one where there is none yet. Raises Refused ``bad-entry``, ``ledger-gone``;
        GitFailed."""
        if tip is None or tip == self.ledger.tip or (not self.ledger.tip and not _has_entries(mirror, tip)):
            return self.ledger
        old = self.ledger.tip
        if old and not objects.is_ancestor(mirror, old, tip):
            raise Refused("ledger-gone", f"what was seen at {old[:12]} is not on the ledger any more")
        commits = list(reversed(objects.log(mirror, tip, exclude=(old,) if old else ())))
        added = sorted(
            (read(change.path, objects.read_file(mirror, tip, change.path) or b"")
             for change in objects.diff_paths(mirror, old or objects.EMPTY_TREE, tip)),
            key=lambda entry: entry.seq,
        )  # fmt: skip
        if len(commits) != len(added):
            raise Refused("bad-entry", f"{len(commits)} commits of the ledger add {len(added)} entries")
        for entry, commit in zip(added, commits, strict=True):
            self.ledger.apply(entry, commit.oid)
            self.entries.append((entry, commit.oid))
        return self.ledger

    def of(self, id: str) -> tuple[Entry, ...]:
        """The entries of an action and of its later runs, in order."""
        return tuple(entry for entry, _ in self.entries if entry.id.partition("+")[0] == id)


def _has_entries(mirror: Path, tip: str) -> bool:
    """False for a branch that set-up made and nothing was written to."""
    return objects.find_entry(mirror, tip, "e") is not None


def in_force(ledger: Ledger, mirror: Path, before: str = "") -> str | None:
    """Commit of the controlled set that counts; with ``before``, the one that counted where that commit branched off.
    None: the ledger does not say. Raises GitFailed."""
    for entry in reversed(ledger.trust):
        commit = str(entry.evidence.get("commit", ""))
        there = commit and objects.exists(mirror, commit)
        if there and (not before or objects.is_ancestor(mirror, commit, before)):
            return commit
    return None


def known(ledger: Ledger, mirror: Path, remember_days: int, now: datetime, waiting: Mapping[str, int]) -> Known:
    """What a new request depends on: content done lately, requests that wait, how a target was last acted on."""
    since = now - timedelta(days=remember_days)
    repeated = {str(s.verified.get("content")) for s in ledger.states.values() if s.started and s.started > since}
    return Known(frozenset(repeated), dict(waiting), lambda target: last_on(ledger, mirror, target))


def last_on(ledger: Ledger, mirror: Path, target: str, but: str = "") -> Last | None:
    """The newest action that started on a target, ``but`` for one of that id."""
    started = [s for s in ledger.states.values() if s.started is not None and s.verified.get("target") == target]
    there = [s for s in started if s.id.partition("+")[0] != but]
    return last_of(max(there, key=lambda state: state.seq), mirror) if there else None


def last_of(state: State, mirror: Path) -> Last:
    v = state.verified
    version = v.get("policy_version")
    return Last(
        state.id, state.kind, state.at, str(v.get("tier", "")), str(v.get("formula_digest", "")),
        version if isinstance(version, int) else 0, action_at(mirror, str(v.get("merge", "")), state.id),
    )  # fmt: skip


def merged_action(mirror: Path, state: State) -> Action | None:
    """The file of an action that was merged, whether it was then verified or refused."""
    return action_at(mirror, str(state.verified.get("merge") or state.evidence.get("merge") or ""), state.id)


def action_at(mirror: Path, commit: str, id: str) -> Action | None:
    """The action file of a merge; None where it cannot be read."""
    name = f"{id.partition('+')[0]}.toml"
    if not commit or not objects.exists(mirror, commit):
        return None
    data = objects.read_file(mirror, commit, FOLDER + name)
    return check_action(data, name)[0] if data is not None else None
