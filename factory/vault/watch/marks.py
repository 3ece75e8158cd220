"""A second copy of the ledger's high-water mark, kept apart from the first.

A state directory restored from yesterday brings yesterday's mark along, and with it, where the forge was restored too,
yesterday's ledger: nothing in there knows what has started since. The copy in the cache, which no backup holds, does.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from factory.config.home import write_private

MARK = "ledger.json"
"""A dispatcher's high-water mark, in the vault's folder of an ops repo."""
FAR = "mirror.mark.json"
"""Beside a mark: what the ledger's mirror was found to have."""


def heal(mark: Path, copy: Path) -> bool:
    """Put the copy in the mark's place where it knows more of the same ledger; whether it did. Raises OSError."""
    first, second = _read(mark), _read(copy)
    if first is None and mark.exists():
        return False  # broken: of which ledger it was, nobody can tell; the chain refuses it in words
    if second is None or (first is not None and first["root"] != second["root"]):
        return False
    if first is not None and first["count"] >= second["count"]:
        return False
    write_private(mark, copy.read_bytes())
    return True


def keep(mark: Path, copy: Path) -> None:
    """Bring the copy up to date, if it is not. Raises OSError."""
    data = mark.read_bytes() if mark.exists() else b""
    if data and (not copy.exists() or copy.read_bytes() != data):
        write_private(copy, data)


def counts_now(mark: Path, copy: Path) -> None:
    """A person said that the ledger as ``mark`` has it counts: whatever else here remembers another one is put right,
    else it would be found missing again, by a dispatcher that starts or by a run. Raises OSError."""
    keep(mark, copy)
    for other in (*mark.parent.glob("fence*.json"), mark.with_name(FAR)):
        other.unlink(missing_ok=True)


def tip(mark: Path) -> str:
    """The commit that a mark names; empty where there is none, or it says nothing."""
    try:
        return str(json.loads(mark.read_bytes())["tip"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _read(path: Path) -> dict[str, Any] | None:
    """What a mark says; None for one that is absent or says nothing (the chain refuses a broken one by itself)."""
    try:
        told = json.loads(path.read_bytes())
        return {"root": str(told["root"]), "count": int(told["count"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
