"""That the vault is frozen, as this host keeps it while the ledger cannot be told; it outlives a restart.

It counts until a FREEZE with these words stands on the ledger, or an admin says that the vault goes on.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from factory.config.home import write_private

NAME = "frozen.json"


def words(folder: Path) -> str:
    """Why, as it was found first; empty: it is not. What cannot be read counts."""
    path = folder / NAME
    try:
        return str(json.loads(path.read_bytes())["words"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{path} is there and cannot be read ({type(error).__name__})"


def told(folder: Path) -> str:
    """The same for people, who also see what stands on the ledger."""
    why = words(folder)
    return f"frozen on this host: {why}" if why else ""


def keep(folder: Path, why: str, at: datetime) -> None:
    """Raises OSError."""
    if not words(folder):
        write_private(folder / NAME, json.dumps({"words": why, "at": at.isoformat()}).encode())


def clear(folder: Path) -> None:
    """The ledger knows, or an admin has decided. Raises OSError."""
    (folder / NAME).unlink(missing_ok=True)
