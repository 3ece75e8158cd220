"""What has been spent, what is reserved, and whether one more run may start. Pure sums over run records.

A run reserves its limit before it starts and is settled by its usage. Unknown usage counts as the reservation: a crash
never makes money reappear. Usage known to be nothing counts as nothing. Days and months are UTC; a run belongs to the
day it started.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from factory.config.model import Budgets
from factory.runs.model import RunRecord


def cost(record: RunRecord) -> float:
    """USD that this run counts as: its usage if known, else its reservation; while it runs, whichever is more."""
    spent = record.usage.cost_usd
    settled = record.state.is_terminal and record.usage.known
    return spent if settled else max(spent, record.reserved_usd)


def spent(records: Iterable[RunRecord], now: datetime) -> Mapping[str, float]:
    """USD by ``role:<role>:day``, ``project:day`` and ``project:month`` as of ``now``, reservations included.
    The records are those of one project; ``now`` must be aware."""
    today = now.astimezone(UTC).date()
    sums: dict[str, float] = {"project:day": 0.0, "project:month": 0.0}
    for record in records:
        day = record.started_at.astimezone(UTC).date()
        amount = cost(record)
        if (day.year, day.month) == (today.year, today.month):
            sums["project:month"] += amount
        # A run that began yesterday and still runs holds its reservation today as well.
        if day == today or (not record.state.is_terminal and day < today):
            sums["project:day"] += amount
            key = f"role:{record.role}:day"
            sums[key] = sums.get(key, 0.0) + amount
    return sums


def reservation(limit_usd: float, budgets: Budgets) -> float:
    """USD to set aside for one run: the formula's own limit, or the project's limit per run where that is less."""
    return max(0.0, min(limit_usd, budgets.run_usd))


def may_reserve(budgets: Budgets, spent: Mapping[str, float], *, role: str, usd: float) -> str | None:
    """None when a run of this role may set ``usd`` aside; else the reason in words, with the figures."""
    if usd <= 0:
        return None
    limits = (
        (f"role:{role}:day", budgets.role_day_usd, f"role {role} today", "role_day_usd"),
        ("project:day", budgets.project_day_usd, "project today", "project_day_usd"),
        ("project:month", budgets.project_month_usd, "project this month", "project_month_usd"),
    )
    for key, limit, what, setting in limits:
        used = spent.get(key, 0.0)
        # A tolerance of a hundredth of a cent: sums of floats must not refuse the last run that fits.
        if used + usd > limit + 1e-4:
            return (
                f"budget of the {what}: ${used:.2f} of ${limit:.2f} are spent or reserved, "
                f"and this run reserves ${usd:.2f} ([budgets] {setting})"
            )
    return None
