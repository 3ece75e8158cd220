"""One case that is verified as it stands: what a test changes in it is what is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from factory.git.hardened import Change, Commit
from factory.vault.action import Action, Tier
from factory.vault.approval import Review
from factory.vault.formulas import read as read_formula
from factory.vault.policy import read as read_policy
from factory.vault.ports import PullFact, Settings
from factory.vault.verify import Case
from tests.integration.vault.house import ADMIN, VAULT_BOT, formula_bytes, policy_bytes

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def sample_action(formula: str = "gamma", **more: object) -> Action:
    values: dict[str, object] = {
        "id": "2026-11-28-sample-0001", "formula": f"{formula}@1", "blast_radius": Tier.LOW,
        "target": f"{formula}:here", "not_before": NOW - HOUR, "expires": NOW + HOUR, "reason": "because",
        "requester": "run:1", "params": {"place": "here"},
    }  # fmt: skip
    return Action(**{**values, **more})  # type: ignore[arg-type]


def sample_case(formula: str = "gamma", action: Action | None = None, **more: object) -> Case:
    """A request for ``formula`` that an admin approved."""
    action = action or sample_action(formula)
    data, head = action.write(), "b" * 40
    review = Review(1, ADMIN, "APPROVED", False, False, True, head, NOW)
    pull = PullFact(5, VAULT_BOT, "main", head, 7, 0, NOW - HOUR, True, frozenset({VAULT_BOT}), NOW - HOUR, None,
                    (review,))  # fmt: skip
    policy, read = read_policy(policy_bytes()), read_formula(formula_bytes(formula) or b"")
    settings = Settings("as-it-was", 1, NOW - 48 * HOUR, NOW)
    case = Case(
        id=action.id, base="main",
        merge=Commit("c" * 40, ("a" * 40, head), (Change("A", "100644", "d" * 40, action.path.encode()),)),
        reachable=True, tree="e" * 40, expected_tree="e" * 40, data=data, at_head=data, pulls=(pull,), repo=7,
        vault_bot=VAULT_BOT, bots=frozenset({VAULT_BOT}), formula=read, policy=policy, base_policy=policy,
        settings=settings, seen={}, humans=frozenset({ADMIN}), signers=frozenset(), repeated=False, restored=None,
        now=NOW,
    )  # fmt: skip
    return replace(case, **more)  # type: ignore[arg-type]
