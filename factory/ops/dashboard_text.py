"""The dashboard as Markdown. Pure: the same facts and time give the same text."""

from __future__ import annotations

from datetime import UTC, datetime

from factory.ops.dashboard_facts import DashboardFacts, Merged, Running
from factory.ops.markdown import escaped, link, plain, quoted, sentence
from factory.ops.prerequisites import Objective

_ROWS = 15
"""Most rows of one table; what is left out is counted."""


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
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


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
    return (
        _table("## Prerequisites", "| | Objective | Done | Status |\n|---|---|---|---|", rows)
        or "## Prerequisites\n\nNo objective yet: write the first into [prerequisites.md](prerequisites.md)."
    )


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
    """Absolute, in UTC, to the minute; not broken between lines."""
    return f"{moment.astimezone(UTC):%Y-%m-%d\N{NO-BREAK SPACE}%H:%M\N{NO-BREAK SPACE}UTC}"
