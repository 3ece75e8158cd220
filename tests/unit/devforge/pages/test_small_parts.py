"""Diffs, hidden characters, flowcharts, local addresses, the table of pages: each against what would break it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.devforge.pages import diffs, flowchart, hidden, links, reasons, routes, sessions, visit
from factory.devforge.pages.view import web_address
from factory.git.values import PathChange


def change(path: str) -> PathChange:
    return PathChange("modified", path, None, 1, 1, False)


# ---------------------------------------------------------------- diffs

HOSTILE = """diff --git a/x b/x
index 1..2 100644
--- a/x
+++ b/x
@@ -1,3 +1,4 @@ def f():
 same
-diff --git a/evil b/evil
+@@ -1 +1 @@
+diff --git a/worse b/worse
 end
\\ No newline at end of file
diff --git a/y b/y
old mode 100644
new mode 100755
"""


def test_content_cannot_pass_for_structure() -> None:
    first, second = diffs.read(HOSTILE, [change("x"), change("y")])
    assert [(line.kind, line.text) for line in first.lines] == [
        ("hunk", "def f():"),
        ("same", "same"),
        ("del", "diff --git a/evil b/evil"),
        ("add", "@@ -1 +1 @@"),
        ("add", "diff --git a/worse b/worse"),
        ("same", "end"),
        ("note", "no newline at the end of the file"),
    ]
    assert [(line.old, line.new) for line in first.lines[1:6]] == [(1, 1), (2, None), (None, 2), (None, 3), (3, 4)]
    assert second.mode == "100644 → 100755"
    assert not second.lines


def test_a_cut_diff_says_where_it_ends() -> None:
    text = "diff --git a/x b/x\n@@ -1,2 +1,2 @@\n a\n[diff cut at 40 bytes]\n"
    first, second = diffs.read(text, [change("x"), change("y")])
    assert (first.cut, second.cut) == (True, True)
    assert [line.text for line in first.lines] == ["", "a"]


def test_a_long_line_is_capped() -> None:
    text = f"diff --git a/x b/x\n@@ -0,0 +1 @@\n+{'y' * 5000}\n"
    line = diffs.read(text, [change("x")])[0].lines[1]
    assert len(line.text) < 2100
    assert line.text.endswith("more characters")


@given(st.text(alphabet="+- @\\1,\ndif-gt ab/", max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    found = diffs.read(text, [change("x"), change("y")])
    assert [one.change.path for one in found] == ["x", "y"]


# ---------------------------------------------------------------- hidden characters


@pytest.mark.parametrize(
    "char", ["\u202e", "\u200b", "\u2066", "\U000e0041", "\x1b", "\u00ad", "\ufeff", "\u3164", "\ud800"]
)
def test_what_nobody_sees_is_written_out(char: str) -> None:
    assert hidden.visible(f"a{char}b") == f"a⟦U+{ord(char):04X}⟧b"
    assert 'class="hid"' in str(hidden.marked(f"<{char}>"))
    assert "&lt;" in str(hidden.marked(f"<{char}>"))


@pytest.mark.parametrize("text", ["plain", "größe 中文 עברית", "👩‍🚀 ✋️", "a\tb\nc"])
def test_ordinary_text_stays(text: str) -> None:
    assert hidden.visible(text) == text


# ---------------------------------------------------------------- flowcharts


def test_a_chart_has_its_boxes_and_lines() -> None:
    svg = str(flowchart.picture('graph LR\n A["Start here"] -->|yes| B{Sure?}; B -.-> C & D\n D -- then --> E((End))'))
    for words in ("Start here", "Sure?", "yes", "then", "End"):
        assert f">{words}<" in svg
    assert svg.count('class="node"') == 5
    assert svg.count('class="edge"') == 8  # a line and a tip each


@pytest.mark.parametrize(
    "text",
    ["", "pie\n a: 1", "graph TD\n A-->", "graph TD\n A[open", "graph TD\n ???", "graph TD",
     "graph TD\n" + "A-->B\n" * 200,
     "graph TD\n" + "\n".join(f"N{n}" for n in range(99)), "graph TD\n" + "A" * 30_000],
)  # fmt: skip
def test_what_is_not_understood_is_no_picture(text: str) -> None:
    assert flowchart.picture(text) is None


def test_circles_and_depth_end() -> None:
    assert flowchart.picture("graph TD\n A-->B-->C-->A\n C-->C") is not None
    assert flowchart.picture("graph BT\n" + "\n".join(f"N{n}-->N{n + 1}" for n in range(59))) is not None


@given(st.text(alphabet="AB-.>=|[](){}\"'&;:<\n /%", max_size=120))
def test_any_chart_ends_and_stays_escaped(text: str) -> None:
    svg = str(flowchart.picture("graph TD\n" + text) or "")
    assert "<script" not in svg.lower()
    assert "<<" not in svg


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    "where",
    ["//evil.test", "/\\evil.test", "https://evil.test", "javascript:alert(1)", "", "x", "/a\tb",
     "/a\r\nSet-Cookie: x=1",
     "/a b", "\\/evil.test", "/ä", "/a\\b"],
)  # fmt: skip
def test_redirects_lead_nowhere_else(where: str) -> None:
    assert visit.local(where) == "/"


def test_local_addresses_stay() -> None:
    assert visit.local("/ann/shop/issues?q=1#x") == "/ann/shop/issues?q=1#x"
    assert visit.address("a", 'b"<>', "x/y z", 3) == "/a/b%22%3C%3E/x/y%20z/3"
    assert visit.address("a", b"\xff".decode("utf-8", "surrogateescape")) == "/a/%FF"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil.test", "http:///x", "http://[", "x"]
)
def test_status_links_are_web_addresses(url: str) -> None:
    assert web_address(url) == ""
    assert web_address("http://127.0.0.1:8010/runs/1/log") != ""


@given(st.text(max_size=60))
def test_no_link_gets_another_scheme(target: str) -> None:
    place = links.Place(("a", "b"), ("a", "raw"))
    assert place.link(target) == "" or place.link(target).lower().startswith(("/", "#", "http:", "https:", "mailto:"))
    assert not place.link(target).startswith("//")
    assert place.image(target) == "" or place.image(target).startswith("/a/raw")


def test_pages_are_found_by_segments() -> None:
    import factory.devforge.pages.door  # noqa: F401 registers the pages

    def handler(method: str, path: str) -> str:
        found, params, _ = routes.find(method, path)
        return "none" if found is None else f"{found.handler.__name__} {sorted(params.items())}"

    assert handler("GET", "/") == "front []"
    assert handler("GET", "/ann/shop/issues/new") == "new [('owner', 'ann'), ('repo', 'shop')]"
    assert handler("GET", "/ann/shop/src/branch/a%2Fb/c%20d") == (
        "source [('kind', 'branch'), ('owner', 'ann'), ('repo', 'shop'), ('rest', 'a/b/c d')]"
    )
    assert handler("GET", "/user/logout") == "front [('owner', 'user'), ('repo', 'logout')]"  # no repo can be called so
    assert routes.find("POST", "/ann/shop")[2] is True
    assert routes.find("GET", "/a/b/c/d/e/f/g") == (None, {}, False)


# ---------------------------------------------------------------- cookies and words


def test_the_cookie_says_what_browsers_must_know() -> None:
    plain = sessions.cookie("http://127.0.0.1:3000", "s")
    assert plain == "forge_3000=s; Path=/; Max-Age=1209600; HttpOnly; SameSite=Strict"
    assert sessions.cookie("https://forge.test", "s").startswith("__Host-forge_443=s; ")
    assert sessions.cookie("https://forge.test", "s").endswith("; Secure")


@pytest.mark.parametrize(
    "header", ["", "x", "forge_3000=short", "forge_3000=" + "é" * 64, "\x00", "forge_3000;;;=", "a=b;" * 999]
)
def test_a_broken_cookie_is_none(header: str) -> None:
    assert sessions.read_cookie("http://127.0.0.1:3000", header) == ""


def test_a_form_token_fits_only_its_cookie() -> None:
    one, two = sessions.fresh_secret(), sessions.fresh_secret()
    assert sessions.token_fits(one, sessions.form_token(one))
    assert not sessions.token_fits(two, sessions.form_token(one))
    assert not sessions.token_fits("", sessions.form_token(""))
    assert not sessions.token_fits(one, "ü")


@pytest.mark.parametrize(
    "words",
    ["not allowed to merge [reason: Does not have enough approvals]", "Please try again later", "head out of date",
     "User not allowed to merge PR", "approve your own pull is not allowed", "review event COMMENT requires a body"],
)  # fmt: skip
def test_every_refusal_is_explained(words: str) -> None:
    assert reasons.plain(words).endswith((".", "first."))
