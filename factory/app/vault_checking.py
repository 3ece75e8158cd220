"""``factory vault check FILE`` on this host: the file judged by the rules that are in force."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from factory.app.deployment import Deployment
from factory.app.vault_opening import open_vault
from factory.errors import UsageError
from factory.vault.action import FOLDER
from factory.vault.canonical import MAX_BYTES
from factory.vault.people.checking import check_file


def checked(
    deployment: Deployment, file: Path, *, name: str | None = None, project: str | None = None
) -> dict[str, Any]:
    """Problems, tier and digest. ``file`` may be ``-`` for stdin. Raises UsageError for one that cannot be read."""
    data = _read(file)
    vault = open_vault(deployment, project=project)
    called = name or file.name
    path = called if "/" in called else f"{FOLDER}{called}"
    found = check_file(path, data, vault.rules, vault.known().repeated)
    shown = name or ("<stdin>" if str(file) == "-" else str(file))
    return {
        "path": shown,
        "id": found.action.id if found.action is not None else None,
        "problems": [
            {
                "line": p.line,
                "code": code,
                "message": p.message,
                "hint": p.hint,
                "text": str(p).replace(p.path, shown, 1),
            }
            for p, code in zip(found.problems, found.codes, strict=True)
        ],
        "tier": found.tier or None,
        "reasons": list(found.reasons),
        "digest": found.digest,
    }


def _read(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with file.open("rb") as source:
            return source.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"reading the action from {file}: {error.strerror}") from error
