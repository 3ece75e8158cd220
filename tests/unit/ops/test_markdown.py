from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from factory.ops.markdown import escaped, link, plain, quoted, sentence

URL = "https://forge.example/ada/shop/issues/1"
PIECES = [*"ab\\`*_[](){}<>#+-.!|~$^&@:/\n\r\t\"'0 ", "\u202e", "\u200b", "http://x.y", "<img src=x>", "](http://x.y)"]
HOSTILE = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)


def reader() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


@given(HOSTILE)
def test_words_in_a_table_cell_stay_words(text: str) -> None:
    table = f"| a | b |\n|---|---|\n| {link(text, URL)} | {quoted(text)} |\n"
    html = reader().render(table)
    assert html.count("<tr>") == 2
    assert html.count("<td>") == 2
    assert html.count("<a ") == 1
    for tag in ("<img", "<em", "<strong", "<s>", "<br", "<script"):
        assert tag not in html


@given(HOSTILE)
def test_escaped_words_bring_no_address_and_no_mention(text: str) -> None:
    shown = escaped(text)
    assert "://" not in shown
    assert "@" not in shown
    assert "\n" not in shown


@given(st.text(max_size=300), st.integers(min_value=1, max_value=120))
def test_plain_is_short_and_visible(text: str, limit: int) -> None:
    line = plain(text, limit)
    assert len(line) <= limit
    assert not set(line) & set("\n\r\x00\u200b\u202e\u2066\ufeff\U000e0041")


def test_marks_do_not_pile_up() -> None:
    assert len(plain("a" + "\u0301" * 50)) == 3


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "https://x.y/a b", "https://x.y/)(", "", "//x.y", "https://u:p@x.y/"]
)
def test_an_address_that_is_not_ours_makes_no_link(url: str) -> None:
    assert link("words", url) == "`words`"


def test_code_spans_survive_backticks_and_pipes() -> None:
    html = reader().render(f"| a |\n|---|\n| {quoted('`x` | ``y``')} |\n")
    assert "<code>`x` | ``y``</code>" in html


def test_issue_numbers_lead_to_the_project() -> None:
    base = "https://forge.example/ada/shop/issues"
    assert sentence("waits for #8, not a/b#9", base) == (f"waits for [#8]({base}/8), not a/b#9")


def test_emoji_keep_their_form() -> None:
    assert plain("done ✅") == "done ✅"
