"""``factory vault simulate --policy FILE``: another policy judges what the ledger remembers."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

from factory.app.deployment import Deployment
from factory.app.vault_opening import bots, open_vault
from factory.errors import ConfigInvalid, UsageError
from factory.vault.canonical import Refused, stamp
from factory.vault.people.checking import check_policy
from factory.vault.people.rules import Rules
from factory.vault.people.simulate import cooling, simulate, text
from factory.vault.policy import MAX_POLICY
from factory.vault.policy import read as read_policy

_SINCE = re.compile(r"([1-9][0-9]{0,4})([dhw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def span(words: str) -> timedelta:
    """``90d``, ``36h``, ``2w``. Raises UsageError."""
    found = _SINCE.fullmatch(words)
    if found is None:
        raise UsageError(f"looking back {words[:20]!r}: that is no span of time", hint="like 90d, 36h or 2w")
    return int(found[1]) * _UNITS[found[2]]


def simulated(deployment: Deployment, file: Path, since: str, *, project: str | None = None) -> dict[str, Any]:
    """What the policy in ``file`` would have changed. Raises ConfigInvalid with every problem of it, UsageError."""
    back = span(since)
    try:
        data = file.read_bytes()[: MAX_POLICY + 1]
    except OSError as error:
        raise UsageError(f"reading the policy {file}: {error.strerror}") from error
    vault = open_vault(deployment, project=project)
    ours = bots(deployment, vault.project)
    try:
        policy = read_policy(data, ours)
    except Refused as refused:
        problems = check_policy(str(file), data, vault.rules, ours)
        raise ConfigInvalid(f"reading the policy {file}: {refused.words}", problems) from None
    rules = Rules(policy, vault.rules.formulas, vault.rules.logins, (), vault.rules.commit)
    found = simulate(vault.ledger, rules, vault.now - back, vault.merged)
    return {
        "project": str(vault.project),
        "policy": str(file),
        "version": policy.version,
        "since": stamp(found.since),
        "judged": found.judged,
        "changes": [{**asdict(change), "at": stamp(change.at)} for change in found.changes],
        "unread": list(found.unread),
        "problems": [str(problem) for problem in check_policy(str(file), data, vault.rules, ours)],
        "text": "\n".join(filter(None, (text(found), cooling(vault.rules.policy)))),
    }
