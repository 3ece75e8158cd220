"""Commits that were main, one after the other, and that its first parents no longer show: a merge with swapped parents
hid them.

Git alone cannot tell the line that main was from a branch that was merged into it. The ledger can: the dispatcher
writes down a merge when it first sees it on the line, and a FREEZE that names the commit which hid it. So what such a
commit hides was main as far as it was written down before that FREEZE, and only where nothing was written down of the
line that took its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from factory.git.hardened import Commit, Git
from factory.vault.ledger import Entry

NAMED_BY: Mapping[str, str] = {"VERIFIED": "merge", "TRUST": "commit", "GENESIS": "commit"}
"""Kind of entry -> where it names the commit of main that it is about."""


def hidden(git: Git, line: Sequence[Commit], entries: Sequence[Entry]) -> dict[str, Commit]:
    """What the ledger's ``entries`` name of main as it was, besides its first-parent history ``line``, oldest first."""
    frozen: dict[str, int] = {}
    for place, entry in enumerate(entries):
        commits = entry.evidence.get("commits") if entry.kind == "FREEZE" else None
        for oid in commits if isinstance(commits, list | tuple) else ():
            frozen.setdefault(str(oid), place)
    named: dict[str, int] = {}
    for place, entry in enumerate(entries):
        if entry.kind in NAMED_BY:
            named.setdefault(str(entry.evidence.get(NAMED_BY[entry.kind])), place)
    found: dict[str, Commit] = {}
    lines = [line] if frozen else []
    for one in lines:
        for commit in one:
            if commit.oid not in frozen or len(commit.parents) < 2:
                continue
            first, until = commit.parents[0], frozen[commit.oid]
            for other in commit.parents[1:]:
                instead, behind = git.history(first, other), git.history(other, first)
                if any(named.get(taken.oid, until) < until for taken in instead):
                    continue  # what is there was main already: the other one was merged into it
                found |= {was.oid: was for was in behind if named.get(was.oid, until) < until}
                lines.append(behind)
    return found
