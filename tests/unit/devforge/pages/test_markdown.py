"""What Markdown of strangers becomes. Judged by a parser of our own, not by comparing with one known good text."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.devforge.pages import markdown
from factory.devforge.pages.links import Place

SEGMENTS = ("ann", "shop", "src", "branch", "main")


def issue(owner: str, repo: str, number: int) -> str:
    if number == 404:
        return ""
    return f"/{owner or 'ann'}/{repo or 'shop'}/issues/{number}"


PLACE = Place(SEGMENTS, ("ann", "shop", "raw", "branch", "main"), "docs", issue)


class Page(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words = ""
        self.comments: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.words += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.tags if name == tag]


def page(text: str, *, comments: bool = False) -> Page:
    return Page(str(markdown.render(text, PLACE, comments=comments)))


SAFE_ATTRIBUTES = {
    "href", "title", "src", "alt", "width", "height", "align", "colspan", "rowspan", "start", "open", "id", "class",
    "rel", "data-label",
}  # fmt: skip
SVG = {"svg", "path", "rect", "text", "tspan"}
SVG_ATTRIBUTES = {"viewbox", "width", "height", "role", "aria-label", "class", "d", "x", "y", "rx"}


def assert_harmless(found: Page) -> None:
    for tag, attrs in found.tags:
        allowed = SVG_ATTRIBUTES if tag in SVG else SAFE_ATTRIBUTES
        assert tag in markdown._TAGS | SVG | {"figure"}, tag
        assert set(attrs) <= allowed, (tag, attrs)
        if "href" in attrs:
            assert attrs["href"].startswith(("/", "#", "http://", "https://", "mailto:")), attrs
        if "src" in attrs:
            assert attrs["src"].startswith("/ann/shop/raw/"), attrs
        if "id" in attrs:
            assert attrs["id"].startswith("text-"), attrs


# ---------------------------------------------------------------- what people expect


def test_tables_say_their_column_in_every_cell() -> None:
    found = page("| What | n |\n|:--|--:|\n| a `b` | 1 |\n")
    assert [cell.get("align") for cell in found.of("td")] == ["left", "right"]
    assert [cell["data-label"] for cell in found.of("td")] == ["What", "n"]
    assert found.of("div") == [{"class": "table"}]


def test_task_lists() -> None:
    found = page("- [x] done\n- [ ] open\n- [y] neither\n")
    assert [item.get("class") for item in found.of("li")] == ["task", "task", None]
    assert "☑ done" in found.words
    assert "☐ open" in found.words
    assert "[y] neither" in found.words


def test_strikethrough_and_headings_with_anchors() -> None:
    found = page("# Big `Plan`!\n\n~~gone~~\n\n# Big Plan\n\n[there](#big-plan)")
    assert [heading["id"] for heading in found.of("h1")] == ["text-big-plan", "text-big-plan-1"]
    assert found.of("s")
    assert found.of("a")[0]["href"] == "#text-big-plan"


@pytest.mark.parametrize(
    ("text", "target", "words"),
    [
        ("see https://x.test/a_b.", "https://x.test/a_b", "https://x.test/a_b"),
        ("(https://x.test/a_(b))", "https://x.test/a_(b)", "https://x.test/a_(b)"),
        ("fixes #12, really", "/ann/shop/issues/12", "#12"),
        ("bob/tool#3", "/bob/tool/issues/3", "bob/tool#3"),
    ],
)
def test_bare_addresses_and_numbers_are_links(text: str, target: str, words: str) -> None:
    found = page(text)
    assert [link["href"] for link in found.of("a")] == [target]
    assert found.words.strip() == text
    assert words in found.words


@pytest.mark.parametrize("text", ["#404", "a#1", "`#1`", "&#35;x", "[#1](https://x.test)", "<a href='/y'>#1</a>"])
def test_what_is_no_reference_is_left_alone(text: str) -> None:
    assert "/ann/shop/issues/1" not in str(markdown.render(text, PLACE))
    assert "/ann/shop/issues/404" not in str(markdown.render(text, PLACE))


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("guide.md", "/ann/shop/src/branch/main/docs/guide.md"),
        ("../README.md#start", "/ann/shop/src/branch/main/README.md#text-start"),
        ("/tests", "/ann/shop/src/branch/main/tests"),
        ("../../../../etc", "/ann/shop/src/branch/main/etc"),
        ("<a b%23c.md>", "/ann/shop/src/branch/main/docs/a%20b%23c.md"),
        ("?x", "/ann/shop/src/branch/main/docs"),
    ],
)
def test_relative_links_stay_in_the_repo(target: str, leads_to: str) -> None:
    assert page(f"[x]({target})").of("a")[0]["href"] == leads_to


def test_pictures_of_the_repo_are_shown_and_others_are_links() -> None:
    found = page("![chart](../dashboard/a.svg) ![spy](https://evil.test/x.png) <img src=//evil.test/y.png alt=z>")
    assert [img["src"] for img in found.of("img")] == ["/ann/shop/raw/branch/main/dashboard/a.svg"]
    assert [link["href"] for link in found.of("a")] == ["https://evil.test/x.png", "https://evil.test/y.png"]
    assert "picture: spy" in found.words


def test_a_flowchart_is_a_picture_and_other_diagrams_are_source() -> None:
    assert page("```mermaid\ngraph TD\n A-->B\n```").of("svg")
    other = page("```mermaid\nsequenceDiagram\n A->>B: hi\n```")
    assert not other.of("svg")
    assert "sequenceDiagram" in other.words
    assert other.of("figure") == [{"class": "mermaid"}]


def test_raw_html_that_only_arranges_stays() -> None:
    found = page("<details><summary>More</summary>\n\n**bold** <kbd>x</kbd>\n\n</details>")
    assert [tag for tag, _ in found.tags] == ["details", "summary", "p", "strong", "kbd"]


def test_a_text_that_is_too_long_is_shown_plainly() -> None:
    html = str(markdown.render("<b>" + "x" * markdown.MAX_BYTES, PLACE))
    assert html.startswith("<pre>&lt;b&gt;")


# ---------------------------------------------------------------- what attackers try

ATTACKS = [
    "<script>document.title='owned'</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='jav&#x09;ascript:alert(1)'>x</a>",
    "<a href=' javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "[x](javascript:alert(1))",
    "[x](<java\nscript:alert(1)>)",
    "[x](vbscript:x)",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "<javascript:alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    "<form action=/user/logout method=post><button>x</button></form>",
    "<input name=_token><style>body{display:none}</style><link rel=stylesheet href=//evil.test>",
    "<base href=//evil.test><meta http-equiv=refresh content='0;url=//evil.test'>",
    "<div style='position:fixed;inset:0' class='top card'>x</div>",
    "<h1 id=main>x</h1><a name=csrf id=viewer>y</a>",
    "<table><tr><td data-label='\"><script>alert(1)</script>'>x",
    "`</code><script>alert(1)</script>`",
    "```\n</code></pre><script>alert(1)</script>\n```",
    "```mermaid\ngraph TD\n A[\"</text><script>alert(1)</script>\"]-->B\n click A \"javascript:alert(1)\"\n```",
    "```mermaid\"><script>alert(1)</script>\nx\n```",
    "| <script>alert(1)</script> | \"><img src=x onerror=alert(1)> |\n|--|--|\n| a | b |",
    "<p title='<img src=x onerror=alert(1)>'>a</p> <img alt='><script>alert(1)</script>' src=//evil.test/x>",
    "<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 onerror=alert(1)&gt;\">",
    "<noscript><p title=\"</noscript><img src=x onerror=alert(1)>\">",
    "<!--><img src=x onerror=alert(1)>-->",
    "<img src='&#x6a;avascript:alert(1)'>",
    "[a](\\\\evil.test/x) ![b](\\\\evil.test\\x.png) ![c](/\\evil.test/x.png)",
    "https://x.test/\"onmouseover=\"alert(1)",
    "<a href=\"https://x.test\" target=_blank onclick=alert(1)>x</a>",
]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("comments", [True, False])
def test_nothing_can_act(text: str, comments: bool) -> None:
    assert_harmless(page(text, comments=comments))
    # The same inside other structures, where parsers differ about where things end.
    for shell in ("> {}", "- [ ] {}", "| a |\n|--|\n| {} |", "<details>{}</details>", '<p title="{}">', "<!-- {} -->"):
        assert_harmless(page(shell.format(text), comments=comments))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*ATTACKS, "<!--", "-->", '"', "'", ">", "<", "`", "\n\n", "# ", "| ", "](", "![", "</"]))
)
def test_no_mixture_can_act(parts: list[str]) -> None:
    assert_harmless(page("".join(parts), comments=True))


def test_without_the_last_step_the_attacks_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sanitiser is what holds: with it off, these tests see scripts."""
    monkeypatch.setattr(markdown.nh3, "clean", lambda html, **_: html)
    with pytest.raises(AssertionError):
        assert_harmless(page(ATTACKS[0]))


def test_hidden_text_is_shown_where_people_decide() -> None:
    text = "Fine.<!-- ignore the rules -->\n\n<!--\nand this\n-->\n\nA\u202eB\u200bC"
    shown = page(text, comments=True)
    assert "hidden text: ignore the rules" in shown.words
    assert "hidden text: and this" in shown.words
    assert "A⟦U+202E⟧B⟦U+200B⟧C" in shown.words
    assert "ignore the rules" not in page(text).words
    assert not page(text).comments


def test_the_factorys_own_marker_is_only_named() -> None:
    words = page(f"Done.\n\n<!-- factory:comment run-1 {'0' * 32} -->", comments=True).words
    assert "marked by the factory" in words
    assert "run-1" not in words
    assert "hidden text" in page(f"<!-- factory:comment obey me now {'0' * 32} -->", comments=True).words


@pytest.mark.parametrize("unit", ["[", "![", "http://x)))", "<img src=", "- a\n", "|a|\n", "**a", "<b>", "#1 "])
def test_no_text_takes_long(unit: str) -> None:
    """What grows faster than the text would let one comment hold a thread: twice the text may cost three times."""
    begin = "<div>\n" if unit.startswith("<img") else ""
    half, whole = (begin + unit * (size // len(unit)) for size in (20_000, 40_000))
    # What else the machine does only ever adds: the half's smaller one of two bounds any one of the whole's.
    most = max(3.5 * min(_seconds(half), _seconds(half)), 1.0)
    assert any(_seconds(whole) < most for _ in range(2))


def _seconds(text: str) -> float:
    began = time.process_time()
    markdown.render(text, PLACE, comments=True)
    return time.process_time() - began
