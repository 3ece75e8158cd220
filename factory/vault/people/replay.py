"""The ledger as a mirror holds it, folded by the trusted part's own rules, for people to look at."""

from __future__ import annotations

from factory.git.hardened import Git
from factory.vault.canonical import Refused
from factory.vault.ledger import Ledger, read

BRANCH = "refs/heads/ledger"
MAX_ENTRY = 64 * 1024


def read_ledger(git: Git, tip: str = "") -> Ledger:
    """All entries up to ``tip`` (default: the branch in this repo), as the dispatcher would read them.

    Raises GitTrouble (no such branch), Refused ``bad-entry`` (something stands there that may not)."""
    commit = git.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{tip or BRANCH}^{{commit}}")
    history, ledger = git.history(commit), Ledger()
    for at in history:
        if len(at.changes) != 1 or (at.changes[0].status, at.changes[0].mode) != ("A", "100644"):
            raise Refused("bad-entry", f"commit {at.oid[:12]} of the ledger does not add one file")
    blobs = git.read((at.changes[0].blob for at in history), MAX_ENTRY)
    for at, data in zip(history, blobs, strict=True):
        ledger.apply(read(at.changes[0].path.decode("ascii", "replace"), data or b""), at.oid)
    return ledger
