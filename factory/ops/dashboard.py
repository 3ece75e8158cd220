"""The ops repo's README: what needs a person, what runs, what came of it, what it costs. Pure.

The dashboard lives between two markers; every byte outside them is a person's and stays. It is written when its facts
change; numbers that move with every tick (spending, the idle invoice) bring a new version once an hour at most. The
digest of the facts and their time stand in the text itself, so no memory is needed to know whether it is due.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from factory.errors import Problem
from factory.ops import dashboard_text
from factory.ops.dashboard_facts import (
    Budget,
    DashboardFacts,
    Health,
    Idle,
    Merged,
    NeedsYou,
    Running,
    Waiting,
)
from factory.ops.dashboard_text import headline
from factory.ops.edit import CannotEdit, Edit

__all__ = [
    "BEGIN", "END", "PATH", "Budget", "DashboardFacts", "Health", "Idle", "Merged", "NeedsYou", "Running", "Waiting",
    "changed", "due", "edit", "headline", "render", "splice",
]  # fmt: skip

PATH = "README.md"
BEGIN = "<!-- factory:begin -->"
END = "<!-- factory:end -->"
HOURLY = timedelta(hours=1)
_FACTS = re.compile(r"<!-- factory:facts ([0-9a-f]{16}) ([0-9a-f]{16}) (\S+) -->")


def render(facts: DashboardFacts, now: datetime) -> str:
    """The dashboard as Markdown, without the markers, with the digests that ``due`` reads."""
    digests = f"<!-- factory:facts {_digest(_stable(facts))} {_digest(facts)} {_stamp(now)} -->"
    return f"{dashboard_text.render(facts, now)}\n{digests}\n"


def changed(old: DashboardFacts | None, new: DashboardFacts, now: datetime, *, written: datetime | None = None) -> bool:
    """Whether the dashboard should be written again: at once when a fact changed, and for numbers that move with every
    tick when the last version (``written``) is an hour old. Time alone is no reason."""
    if old is None or _stable(old) != _stable(new):
        return True
    return old != new and (written is None or now - written >= HOURLY)


def due(readme: bytes | None, facts: DashboardFacts, now: datetime) -> bool:
    """``changed``, judged by the README as it stands."""
    found = _FACTS.search(readme.decode("utf-8", "replace")) if readme is not None else None
    if found is None or found[1] != _digest(_stable(facts)):
        return True
    try:
        written = datetime.fromisoformat(found[3])
    except ValueError:
        return True
    return found[2] != _digest(facts) and (written.tzinfo is None or now - written >= HOURLY)


def edit(facts: DashboardFacts, now: datetime) -> Edit:
    """The edit that puts this dashboard into the README and leaves a person's words alone. Where it is not due any more
    (somebody else wrote it meanwhile), it changes nothing."""

    def apply(readme: bytes | None) -> bytes | None:
        return splice(readme, render(facts, now)) if readme is None or due(readme, facts, now) else readme

    return Edit(PATH, apply)


def splice(readme: bytes | None, dashboard: str) -> bytes:
    """The README with this dashboard between its markers; a new README when there is none.

    Raises CannotEdit when the markers are not there exactly once and in order: a person moved or removed them."""
    block = f"{BEGIN}\n{dashboard}{END}"
    if readme is None:
        return f"{block}\n".encode()
    begin, end = BEGIN.encode(), END.encode()
    start, stop = readme.find(begin), readme.find(end)
    if readme.count(begin) != 1 or readme.count(end) != 1 or stop < start:
        line = readme.count(b"\n", 0, max(start, 0)) + 1 if start >= 0 else None
        raise CannotEdit(
            Problem(
                PATH,
                line,
                f"must hold {BEGIN} once and, after it, {END} once",
                "put the two lines where the dashboard belongs, or delete the file to get a new one",
            )
        )
    return readme[:start] + block.encode() + readme[stop + len(end) :]


def _stable(facts: DashboardFacts) -> DashboardFacts:
    """The facts without the numbers that move with every tick."""
    budgets = tuple(replace(budget, spent_usd=float(budget.spent_usd >= budget.limit_usd)) for budget in facts.budgets)
    health = tuple(replace(item, detail="") if item.ok else item for item in facts.health)
    return replace(facts, budgets=budgets, health=health, idle=None)


def _digest(facts: DashboardFacts) -> str:
    return hashlib.sha256(repr(facts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
