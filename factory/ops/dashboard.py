"""The ops repo's README: what needs a person, what runs, what came of it, what it costs. Pure.

The dashboard lives between two markers; every byte outside them is a person's and stays. It is written when its facts
change; numbers that move with every tick (spending, the idle invoice) bring a new version once an hour at most. The
digest of the facts and their time stand in the text itself, so no memory is needed to know whether it is due.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from factory.errors import Problem
from factory.ops.edit import CannotEdit, Edit
from factory.ops.markdown import escaped, link, plain, quoted, sentence
from factory.ops.prerequisites import Objective

PATH = "README.md"
BEGIN = "<!-- factory:begin -->"
END = "<!-- factory:end -->"
HOURLY = timedelta(hours=1)
_FACTS = re.compile(r"<!-- factory:facts ([0-9a-f]{16}) ([0-9a-f]{16}) (\S+) -->")
_ROWS = 15
"""Most rows of one table; what is left out is counted."""


@dataclass(frozen=True)
class NeedsYou:
    """One thing only a person can do."""

    act: str
    """One word: approve, answer, unblock, repair, look."""
    title: str
    """Untrusted."""
    url: str
    since: datetime
    frees: str
    """What doing it frees, in words of the factory; may quote others."""
    why: str = ""


@dataclass(frozen=True)
class Running:
    run: str
    formula: str
    agent: str
    title: str
    """Of the issue or pull request; untrusted."""
    url: str
    since: datetime
    log_url: str = ""


@dataclass(frozen=True)
class Waiting:
    """Work that is asked for and not yet started, with the first thing in its way."""

    title: str
    url: str
    reason: str
    since: datetime | None = None


@dataclass(frozen=True)
class Merged:
    number: int
    title: str
    url: str
    merged_at: datetime
    seconds: float
    """From the first run's start to the merge."""
    cost_usd: float
    runs: int
    scripted: bool = False
    issue: int | None = None
    issue_url: str = ""


@dataclass(frozen=True)
class Budget:
    name: str
    spent_usd: float
    """Spent or reserved."""
    limit_usd: float


@dataclass(frozen=True)
class Health:
    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Idle:
    """The idle invoice: what the last ``hours`` cost while nothing was asked for."""

    hours: float
    ticks: int
    model_calls: int
    forge_requests: int
    processes: int
    cpu_seconds: float


@dataclass(frozen=True)
class DashboardFacts:
    project: str
    project_url: str
    mode: str
    needs: tuple[NeedsYou, ...] = ()
    running: tuple[Running, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    merged: tuple[Merged, ...] = ()
    """Newest first."""
    prerequisites: tuple[Objective, ...] | None = None
    """None: there is no prerequisites.md."""
    budgets: tuple[Budget, ...] = ()
    cost_per_merge_usd: float | None = None
    merged_count: int = 0
    """Pull requests that the average is over."""
    health: tuple[Health, ...] = ()
    idle: Idle | None = None
    paused: tuple[str, ...] = ()
    """Scopes, with their reason in words."""


def headline(facts: DashboardFacts) -> str:
    """``Nothing needs you``, ``1 thing needs you``, ``2 things need you``."""
    count = len(facts.needs)
    if count == 0:
        return "Nothing needs you"
    return "1 thing needs you" if count == 1 else f"{count} things need you"


def render(facts: DashboardFacts, now: datetime) -> str:
    """The dashboard as Markdown, without the markers. The same facts and time give the same text."""
    parts = [
        f"# {headline(facts)}",
        f"{link(facts.project, facts.project_url)} · mode **{escaped(facts.mode, 20)}** · as of {_when(now)}",
        *(f"⏸️ **Paused**: {quoted(pause)}" for pause in facts.paused),
        _needs(facts),
        _running(facts.running),
        _waiting(facts),
        _merged(facts.merged),
        _tree(facts.prerequisites),
        _costs(facts),
        _health(facts),
        f"<!-- factory:facts {_digest(_stable(facts))} {_digest(facts)} {_stamp(now)} -->",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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


def _needs(facts: DashboardFacts) -> str:
    rows = [
        f"| ✋ **{escaped(need.act, 20)}** | {link(need.title, need.url)}{_why(need.why)} | {_when(need.since)} "
        f"| {_sentence(need.frees, facts)} |"
        for need in sorted(facts.needs, key=lambda need: need.since)
    ]
    return _table("", "| Do | What | Waiting since | What it frees |\n|---|---|---|---|", rows)


def _why(why: str) -> str:
    return f" · {quoted(why)}" if plain(why) else ""


def _sentence(words: str, facts: DashboardFacts) -> str:
    return sentence(words, f"{facts.project_url}/issues") or "–"


def _running(running: tuple[Running, ...]) -> str:
    rows = [
        f"| {link(f'{run.formula}', run.log_url) if run.log_url else escaped(run.formula, 40)} "
        f"| {link(run.title, run.url)} | {escaped(run.agent, 40)} | {_when(run.since)} |"
        for run in sorted(running, key=lambda run: (run.since, run.run))
    ]
    return _table("## Running", "| Run | On | Agent | Since |\n|---|---|---|---|", rows) or "## Running\n\nNothing."


def _waiting(facts: DashboardFacts) -> str:
    rows = [
        f"| {link(item.title, item.url)} | {_sentence(item.reason, facts)} "
        f"| {_when(item.since) if item.since else '–'} |"
        for item in facts.waiting
    ]
    return _table("## Waiting", "| What | For | Since |\n|---|---|---|", rows)


def _merged(merged: tuple[Merged, ...]) -> str:
    rows = [
        f"| {link(f'#{pull.number} {pull.title}', pull.url)} | {_issue(pull)} | {_when(pull.merged_at)} "
        f"| {_duration(pull.seconds)} | {pull.runs} | {_usd(pull.cost_usd, scripted=pull.scripted)} |"
        for pull in sorted(merged, key=lambda pull: (pull.merged_at, pull.number), reverse=True)
    ]
    head = "| Pull request | Issue | Merged | Took | Runs | Cost |\n|---|---|---|--:|--:|--:|"
    return _table("## Merged lately", head, rows) or "## Merged lately\n\nNothing yet."


def _issue(pull: Merged) -> str:
    return "–" if pull.issue is None else link(f"#{pull.issue}", pull.issue_url)


def _tree(objectives: tuple[Objective, ...] | None) -> str:
    if objectives is None:
        return ""
    rows = [
        f"| {_mark(item)} | {escaped(item.name, 120)} | {_bar(item.done, item.total)} {item.done}/{item.total} "
        f"| {escaped(item.status, 60) or '–'} |"
        for item in objectives
    ]
    return _table(
        "## Prerequisites", "| | Objective | Done | Status |\n|---|---|---|---|", rows
    ) or "## Prerequisites\n\nNo objective yet: write the first into [prerequisites.md](prerequisites.md)."


def _mark(item: Objective) -> str:
    return "✅" if item.total and item.done == item.total else "🔒" if item.blocked else "🔹"


def _costs(facts: DashboardFacts) -> str:
    rows = [
        f"| {escaped(b.name, 60)} | {_usd(b.spent_usd)} | {_usd(b.limit_usd)} | {_bar(b.spent_usd, b.limit_usd)} |"
        for b in facts.budgets
    ]
    table = _table("## Budgets", "| Budget | Spent or reserved | Limit | |\n|---|--:|--:|---|", rows)
    if facts.cost_per_merge_usd is None:
        return table
    many = "1 pull request" if facts.merged_count == 1 else f"{facts.merged_count} pull requests"
    line = f"Cost per merged pull request: **{_usd(facts.cost_per_merge_usd)}** (mean of {many})."
    return f"{table}\n\n{line}" if table else line


def _health(facts: DashboardFacts) -> str:
    lines = [
        f"- {'✅' if item.ok else '⚠️'} {escaped(item.name, 60)}: {escaped(item.detail, 160)}" for item in facts.health
    ]
    if facts.idle is not None:
        idle = facts.idle
        lines.append(
            f"- 💤 last {idle.hours:g} h: {idle.ticks:,} ticks, {idle.model_calls:,} model calls, "
            f"{idle.forge_requests:,} forge requests, {idle.processes:,} processes, {idle.cpu_seconds:,.0f} CPU-s"
        )
    return "## Health\n\n" + "\n".join(lines) if lines else ""


def _table(title: str, head: str, rows: list[str]) -> str:
    if not rows:
        return ""
    shown = rows[:_ROWS]
    more = f"\n\n… and {len(rows) - _ROWS} more." if len(rows) > _ROWS else ""
    body = head + "\n" + "\n".join(shown) + more
    return f"{title}\n\n{body}" if title else body


def _bar(part: float, whole: float) -> str:
    share = 0.0 if whole <= 0 else max(0.0, min(1.0, part / whole))
    filled = round(share * 10)
    return "▰" * filled + "▱" * (10 - filled)


def _usd(amount: float, *, scripted: bool = False) -> str:
    text = f"${amount:,.2f}" if amount >= 0.01 or amount == 0 else "<$0.01"
    return f"{text} scripted" if scripted else text


def _duration(seconds: float) -> str:
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 2 * 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def _when(moment: datetime) -> str:
    """Absolute, in UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
