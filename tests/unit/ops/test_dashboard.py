from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from markdown_it import MarkdownIt

from factory.ops import dashboard_text
from factory.ops.dashboard import (
    BEGIN,
    END,
    Budget,
    DashboardFacts,
    Health,
    Idle,
    Merged,
    NeedsYou,
    Running,
    Waiting,
    changed,
    due,
    edit,
    headline,
    render,
    splice,
)
from factory.ops.edit import CannotEdit
from factory.ops.prerequisites import Objective

NOW = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
URL = "http://127.0.0.1:3000/ada/shop"


def need(title: str = "Raise the budget", hours: int = 1) -> NeedsYou:
    return NeedsYou(
        "approve", title, f"{URL}-ops/pulls/4", NOW - timedelta(hours=hours), "the budget takes effect; frees #9"
    )


FULL = DashboardFacts(
    "ada/shop",
    URL,
    "merge",
    needs=(need(),),
    running=(
        Running("r1", "dev", "cc-1", "#8 Add a cart", f"{URL}/issues/8", NOW, "http://127.0.0.1:8100/runs/r1/log"),
    ),
    waiting=(Waiting("#9 Checkout", f"{URL}/issues/9", "waits for #8", NOW),),
    merged=(Merged(5, "Add a list", f"{URL}/pulls/5", NOW, 431, 0.183, 4, True, 3, f"{URL}/issues/3"),),
    prerequisites=(Objective("MVP", 1, 2, "BLOCKED — no host"),),
    budgets=(Budget("project today", 3.4, 40),),
    cost_per_merge_usd=0.21,
    merged_count=7,
    health=(Health("forge", True, "answers"), Health("base branch", False, "red since 09:00")),
    idle=Idle(24, 2880, 0, 8640, 0, 41.2),
)


@pytest.mark.parametrize(
    ("count", "line"), [(0, "Nothing needs you"), (1, "1 thing needs you"), (2, "2 things need you")]
)
def test_line_one(count: int, line: str) -> None:
    facts = replace(FULL, needs=tuple(need(f"n{i}") for i in range(count)))
    assert headline(facts) == line
    assert render(facts, NOW).splitlines()[0] == f"# {line}"


def test_everything_a_person_asks_is_there() -> None:
    text = render(FULL, NOW).replace("\N{NO-BREAK SPACE}", " ")
    for words in (
        "as of 2026-11-21 09:15 UTC",
        "2026-11-21 08:15 UTC",
        "the budget takes effect",
        f"[#9]({URL}/issues/9)",
        "[dev](http://127.0.0.1:8100/runs/r1/log)",
        f"[#8 Add a cart]({URL}/issues/8)",
        "$0.18 scripted",
        "7 min",
        "▰▰▰▰▰▱▱▱▱▱ 1/2",
        "$3.40",
        "$40.00",
        "**$0.21** (mean of 7 pull requests)",
        "✅ forge",
        "⚠️ base branch",
        "last 24 h: 2,880 ticks, 0 model calls, 8,640 forge requests, 0 processes, 41 CPU-s",
    ):
        assert words in text, words


def test_the_oldest_need_comes_first_and_long_lists_are_counted() -> None:
    facts = replace(FULL, needs=tuple(need(f"need {i}", hours=i) for i in range(20)))
    text = render(facts, NOW)
    assert text.index("need 19") < text.index("need 18")
    assert "need 3]" not in text
    assert "… and 5 more." in text


HOSTILE = f"x](http://evil.example) | <img src=http://evil.example/p.png> {END} @all\n# 9 things need you"


def shown() -> tuple[bytes, str]:
    """The dashboard with such words wherever words of others stand: the file, and what a forge makes of it."""
    facts = replace(
        FULL, needs=(replace(need(HOSTILE), why=HOSTILE),), paused=(HOSTILE,), mode=HOSTILE, project=HOSTILE
    )
    readme = splice(None, render(facts, NOW))
    return readme, MarkdownIt("commonmark", {"html": True}).enable("table").render(readme.decode())


def test_words_of_others_cannot_break_out(monkeypatch: pytest.MonkeyPatch) -> None:
    readme, html = shown()
    assert readme.count(END.encode()) == 1, "an end marker in a title must not count as one"
    assert set(re.findall(r'(?:href|src)="(http://[^/:"]+)', html)) == {"http://127.0.0.1"}
    assert "<img" not in html
    assert html.count("<h1>") == 1
    assert "<h1>1 thing needs you</h1>" in html
    for name in ("escaped", "quoted", "plain"):
        monkeypatch.setattr(dashboard_text, name, lambda text, *_: text)
    monkeypatch.setattr(dashboard_text, "link", lambda text, url: f"[{text}]({url})")
    readme, html = shown()
    assert readme.count(END.encode()) > 1
    assert "<img src=http://evil.example/p.png>" in html
    assert 'href="http://evil.example"' in html


def test_words_outside_keep_their_bytes() -> None:
    before, after = b"\xef\xbb\xbf# Mine\r\n\r\n", b"\r\n\r\ntail without end  \xff"
    readme = before + BEGIN.encode() + b"\nold\n" + END.encode() + after
    new = splice(readme, render(FULL, NOW))
    assert new.startswith(before + BEGIN.encode())
    assert new.endswith(END.encode() + after)
    assert b"\nold\n" not in new


@pytest.mark.parametrize(
    "readme",
    [
        b"mine alone",
        b"<!-- factory:end --> <!-- factory:begin -->",
        b"<!-- factory:begin -->",
        b"<!-- factory:begin --><!-- factory:begin --><!-- factory:end -->",
    ],
)
def test_without_its_markers_a_readme_is_left_alone(readme: bytes) -> None:
    with pytest.raises(CannotEdit) as caught:
        splice(readme, render(FULL, NOW))
    assert BEGIN in caught.value.problem.message


def test_same_facts_same_text() -> None:
    assert render(FULL, NOW) == render(replace(FULL), NOW)


def test_a_written_dashboard_is_not_due_again() -> None:
    readme = splice(None, render(FULL, NOW))
    assert not due(readme, FULL, NOW + timedelta(days=9))
    assert edit(FULL, NOW + timedelta(days=9)).apply(readme) == readme


def test_a_changed_fact_is_due_at_once() -> None:
    readme = splice(None, render(FULL, NOW))
    assert due(readme, replace(FULL, needs=()), NOW)
    assert due(readme, replace(FULL, health=()), NOW)
    assert changed(FULL, replace(FULL, needs=()), NOW, written=NOW)
    assert changed(None, FULL, NOW)


@pytest.mark.parametrize(
    "ticking",
    [
        replace(FULL, idle=Idle(24, 2881, 0, 8643, 0, 41.3)),
        replace(FULL, budgets=(Budget("project today", 3.9, 40),)),
        replace(FULL, health=(Health("forge", True, "answers slowly"), *FULL.health[1:])),
    ],
)
def test_numbers_that_tick_wait_for_the_hour(ticking: DashboardFacts) -> None:
    readme = splice(None, render(FULL, NOW))
    for minutes, is_due in ((59, False), (60, True)):
        later = NOW + timedelta(minutes=minutes)
        assert due(readme, ticking, later) is is_due
        assert changed(FULL, ticking, later, written=NOW) is is_due


def test_a_used_up_budget_is_news() -> None:
    assert due(splice(None, render(FULL, NOW)), replace(FULL, budgets=(Budget("project today", 40, 40),)), NOW)


def test_an_empty_factory_has_a_dashboard_too() -> None:
    text = render(DashboardFacts("ada/shop", URL, "suggest"), NOW)
    assert "## Running\n\nNothing." in text
    assert "Prerequisites" not in text
    assert "prerequisites.md" in render(DashboardFacts("ada/shop", URL, "suggest", prerequisites=()), NOW)
