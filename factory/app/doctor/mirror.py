"""The ledger's mirror: is there one, is it off this machine, does it answer, has it what the ledger has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.vault_mirror import HOW, near
from factory.app.vault_mirroring import facts_of, looked
from factory.forge.values import RepoName

AREA = "vault"
NAME = "ledger mirror"


def look(deployment: Deployment, ops: RepoName, now: datetime) -> Iterator[Finding]:
    """What is to be said of one ops repo's. Copies nothing. Raises OSError."""
    mirror = deployment.host.ledger_mirror
    if mirror is None:
        words = "none is set: a forge restored from an older backup could have done again what was done since"
        if deployment.host.embedded:
            words = (
                "none is set: forge, ledger and what this host remembers of it are on one machine and lost together; "
                "restored from an older backup, nothing would know what was done since"
            )
        yield note(AREA, NAME, words, HOW)
        return
    weak = near(deployment, mirror.url)
    if weak:
        yield note(AREA, NAME, f"{weak}: it is lost together with what it is a copy of", HOW)
    facts = facts_of(ops, looked(deployment, ops, mirror, now, copy=False))
    if facts["alarm"]:
        yield problem(AREA, NAME, f"{mirror.url}: {facts['alarm']}", facts["hint"])
    elif facts["lacks"]:
        words = f"{mirror.url} lacks {facts['lacks']} entries of the ledger of {ops}"
        yield note(AREA, NAME, words, "the daemon copies them, or now: factory vault mirror check")
    else:
        yield ok(AREA, NAME, f"{mirror.url} has all of the ledger of {ops}, up to {facts['ledger'][:12]}")
