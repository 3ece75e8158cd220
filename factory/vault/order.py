"""What the runner is told when an action may start.

Part of the trusted part.
"""

from __future__ import annotations

from dataclasses import dataclass

from factory.vault.action import Action, Tier
from factory.vault.formulas import VaultFormula
from factory.vault.policy import FormulaRule, Policy


@dataclass(frozen=True)
class Order:
    """A start: what the runner is told, after STARTED is on the ledger."""

    id: str
    """The ledger's name of it: the action's id, with ``+2`` and so on for a repeated one."""
    epoch: int
    run: str
    idem_key: str
    tier: Tier
    action: Action
    formula: VaultFormula
    rule: FormulaRule
    policy: Policy
    trust: str
    """Commit of the ops repo whose controlled set counts: secrets are read there."""
    probe: bool = False
    """Only ask whether it was done already; have no effect."""
    deadline: float = float("inf")
    """On this host's monotonic clock: whoever has not begun the first effect by then may not begin it any more."""
