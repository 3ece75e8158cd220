"""How much has to be trusted, and how long an approved action waits before it starts."""

from __future__ import annotations

from pathlib import Path

from tests.bench.table import Row
from tests.trusted_part import size


def measure(_root: Path) -> list[Row]:
    """Size of the trusted part."""
    trusted = size()
    return [
        (
            "vault, trusted part: lines / lines of code / modules (limit 1,500)",
            f"{trusted.lines:,} / {trusted.code:,} / {trusted.modules}",
        )
    ]
