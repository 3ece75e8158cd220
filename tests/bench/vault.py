"""How much has to be trusted, and how long an approved action waits before it starts."""

from __future__ import annotations

import time
from pathlib import Path

from factory.vault.people.audit import audit
from tests.bench.table import Row
from tests.integration.vault.house import formula_bytes
from tests.integration.vault.long_ledger import build
from tests.trusted_part import size

ACTIONS, RETRIES = 1000, 19
"""A hundred entries to an action: the ledger's length is what is measured, not the width of one git tree."""


def measure(root: Path) -> list[Row]:
    """Size of the trusted part; how long an audit of a long ledger takes."""
    trusted = size()
    return [
        (
            "vault, trusted part: lines / lines of code / modules (limit 1,500)",
            f"{trusted.lines:,} / {trusted.code:,} / {trusted.modules}",
        ),
        *_audited(root),
    ]


def _audited(root: Path) -> list[Row]:
    git = build(root, ACTIONS, RETRIES)
    began = time.monotonic()
    found = audit(git, formula_bytes)
    seconds = time.monotonic() - began
    assert not found.faults, found.faults[:3]
    return [
        (
            f"vault audit of {found.entries:,} entries, {found.reproduced:,} verdicts: seconds / entries a second",
            f"{seconds:.0f} / {found.entries / seconds:,.0f}",
        )
    ]
