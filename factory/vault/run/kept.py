"""``collect``: what one address said, as ``evidence/<kind>/<day>.json`` of the ops repo. Pure.

The run names neither the file nor where it comes from: the kind is that of the approved action, and who vouches for
what is added here. Of several on one day the newest stands there; the ledger has them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from factory.vault.action import Action
from factory.vault.run.tools import EffectFailed, Work

FOLDER = "evidence/"
TAINT = "outside"
"""The least trust among its inputs: an answer from outside of the factory."""


class FileEvidence:
    """``file_evidence``: nothing changes outside but a file that the daemon writes from the ledger."""

    def do(self, work: Work) -> Mapping[str, object]:
        kind = _kind(work.order.action)
        if not _writable(kind):
            raise EffectFailed(f"evidence of the kind {kind} has no file: the ops repo takes no folder of that name")
        return {"path": path(kind, work.tools.clock())}

    def done(self, work: Work) -> bool:
        del work
        return False


def path(kind: str, at: datetime) -> str:
    """The file of that day, UTC."""
    return f"{FOLDER}{kind}/{at.astimezone(UTC):%Y-%m-%d}.json"


def file(action: Action, run: str, at: datetime, results: Mapping[str, str]) -> tuple[str, str] | None:
    """Path and text of the file, from what a run that was done at ``at`` gave; None where it gave no document, or the
    ops repo takes no file of that name: how the action ended is written all the same."""
    try:
        said = json.loads(results.get("value", ""))
    except ValueError:
        return None
    kind = _kind(action)
    if not isinstance(said, dict) or not _writable(kind):
        return None
    days = (path(kind, at), path(kind, at - timedelta(days=1)))  # it may have begun before midnight
    told = results.get("path", "")
    known = {"kind": kind, "action": action.id, "run": run, "taint": TAINT}
    text = json.dumps({**said, **known}, indent=2, sort_keys=True, ensure_ascii=True)
    return told if told in days else days[0], f"{text}\n"


def _writable(kind: str) -> bool:
    """What the form of a name lets through, and the writer of the ops repo does not: a dot at the end."""
    return bool(kind) and not kind.endswith(".")


def _kind(action: Action) -> str:
    """The parameter of that name."""
    return str(action.params.get("kind", ""))
