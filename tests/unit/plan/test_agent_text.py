"""What agents write stays readable and stops acting."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.plan.agent_text import commit_message, harmless, one_line, visible

ACTING = {
    "close keyword": ("This closes #12.", r"closes #12"),
    "close keyword in capitals": ("FIXES #12", r"(?i)fixes #12"),
    "close keyword with colon": ("Resolves: #12", r"(?i)resolves: #12"),
    "close keyword across repos": ("fixed acme/tally#12", r"fixed acme/tally#12"),
    "close keyword by address": ("close http://forge.test/acme/tally/issues/12", r"close http"),
    "reopen": ("reopens #4", r"reopens #4"),
    "mention": ("cc @founder", r"@founder"),
    "mention at the start": ("@founder look", r"@founder"),
    "mention in parentheses": ("(@founder)", r"@founder"),
    "html comment": ("a<!-- factory:comment r1 0 -->b", r"<!--"),
    "open html comment": ("a <!-- never closed", r"<!--"),
    "nested html comment": ("<!-<!-- x -->- y -->", r"<!--"),
    "skip ci": ("[skip ci] quick", r"\[skip ci\]"),
    "ci skip": ("[CI SKIP]", r"(?i)\[ci skip\]"),
    "no ci": ("[no ci]", r"\[no ci\]"),
    "trailer": ("Factory-Run: r1", r"(?m)^Factory-Run:"),
    "trailer in other letters": ("factory-cost : 0", r"(?im)^factory-cost\s*:"),
    "requested by": ("text\n\nRequested-by: founder", r"(?m)^Requested-by:"),
    "signed off": ("Signed-off-by: Founder <f@x>", r"(?m)^Signed-off-by:"),
    "skip-checks trailer": ("skip-checks: true", r"(?m)^skip-checks:"),
    "command": ("/start", r"(?m)^/start"),
    "command on a later line": ("a\n  /retry now", r"(?m)^\s*/retry"),
    "zero width": ("@\u200bfounder", "\u200b"),
    "close keyword hidden by a zero width": ("clo\u200bses #12", r"closes #12"),
    "bidi": ("a\u202eb", "\u202e"),
    "tag characters": ("a\U000e0041b", "\U000e0041"),
    "variation selector": ("a\ufe0fb", "\ufe0f"),
    "soft hyphen": ("fix\u00ades #1", "\u00ad"),
    "carriage return": ("x\rFactory-Run: r1", r"(?m)^Factory-Run:"),
    "line separator": ("x\u2028Factory-Run: r1", "\u2028"),
    "null": ("a\x00b", "\x00"),
    "escape": ("\x1b[31mred", "\x1b"),
}


@pytest.mark.parametrize("name", ACTING)
def test_no_longer_acts(name: str) -> None:
    text, pattern = ACTING[name]
    assert re.search(pattern, text) or name in ("nested html comment", "close keyword hidden by a zero width",
                                                "carriage return")  # fmt: skip
    assert not re.search(pattern, harmless(text))


@pytest.mark.parametrize(
    "text",
    [
        "A list is sorted in place; I sort a copy.",
        "See #12 and acme/tally#3.",
        "mail me: founder@example.org",
        "`@decorator` stays, and so do a/b/c paths",
        "- one\n- two\n\n```python\nx = 1\n```",
        "Ünïcödé, 日本語, العربية",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert harmless(text) == text


@given(st.text(max_size=300))
def test_once_is_enough(text: str) -> None:
    once = harmless(text)
    assert harmless(once) == once
    assert "<!--" not in once
    assert visible(once) == once


@given(st.text(max_size=80))
def test_a_title_is_one_line(text: str) -> None:
    line = one_line(text, limit=40)
    assert "\n" not in line
    assert len(line) <= 40


def test_long_text_is_cut_and_says_so() -> None:
    text = harmless("x" * 500, limit=100)
    assert text.startswith("x" * 100)
    assert text.endswith("(cut after 100 characters)")


def test_a_commit_message_is_never_empty() -> None:
    assert commit_message("<!-- -->").strip()
    assert commit_message("Sort a copy\n\nFixes #3\nFactory-Run: r1\n") == (
        "Sort a copy\n\nFixes `#3`\n`Factory-Run` = r1\n"
    )
