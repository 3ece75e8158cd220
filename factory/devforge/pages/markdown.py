"""Other people's Markdown as HTML that cannot act: markdown-it renders, nh3 decides at the end what stays.

Tables, task lists, strikethrough, bare addresses and ``#12`` work as people expect. Pictures from elsewhere become
links (looking at a text must not tell anybody), raw HTML is cut to harmless tags, hidden characters are shown.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markupsafe import Markup

from factory.devforge.pages import flowchart, hidden
from factory.devforge.pages.links import ANCHOR, Place

MAX_BYTES = 200 * 1024
"""Longer texts are shown as plain text."""

_TAGS = {
    "a", "abbr", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em",
    "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "ins", "kbd", "li", "mark",
    "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody",
    "td", "tfoot", "th", "thead", "tr", "u", "ul", "var",
}  # fmt: skip
_HEADINGS = {f"h{level}" for level in range(1, 7)}
_ATTRIBUTES: dict[str, set[str]] = {
    "a": {"href", "title"},
    "img": {"src", "alt", "title", "width", "height"},
    "td": {"align", "colspan", "rowspan", "data-label"},
    "th": {"align", "colspan", "rowspan"},
    "ol": {"start"},
    "details": {"open"},
    **{tag: {"id"} for tag in _HEADINGS},
}
_CLASSES = {
    "div": {"table"},
    "li": {"task"},
    "span": {"box", "hid", "nb", "ours"},
    "figure": {"mermaid"},
}
_COMMENT = re.compile(r"<!--(.*?)(?:-->|\Z)", re.DOTALL)
_MARKER = re.compile(r" factory:[a-z-]+ [\w.:/-]{1,60} [0-9a-f]{32} ")
"""As ``factory.effects.markers`` writes them. Anything else in a comment is shown in full."""
_IMG = re.compile(r"<img\b[^<>]{0,4000}>", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\b(src|alt)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+))""", re.IGNORECASE)
_TEXT = re.compile(
    r"(?P<url>https?://[^\s<>\"'`]{1,2000})"
    r"|(?<![\w/.-])(?P<owner>[A-Za-z0-9][\w.-]{0,39})/(?P<repo>[\w.-]{1,100})#(?P<far>[1-9]\d{0,8})\b"
    r"|(?<![\w/#&])#(?P<near>[1-9]\d{0,8})\b"
    r"|(?<![\w-])(?P<when>\d{4}-\d\d-\d\d(?: \d\d:\d\d(?: UTC)?)?)(?![\w-])"
)


def render(text: str, place: Place, *, comments: bool = False) -> Markup:
    """Safe HTML. With ``comments`` (texts of issues and reviews, where a person decides on what they read) HTML
    comments are shown, not dropped."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        return Markup("<pre>{}</pre>").format(hidden.visible(text))
    source = hidden.visible(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    tokens = _parser().parse(source, {"place": place, "comments": comments})
    parts: list[str] = []
    plain: list[Token] = []
    for token in tokens:
        picture = None
        if token.type == "fence" and token.level == 0 and token.info.strip().lower() == "mermaid":
            picture = flowchart.picture(token.content)
        if picture is None:
            plain.append(token)
            continue
        # A picture is ours and would not pass the sanitiser; what comes before and after it is cleaned apart, so
        # nothing that a text leaves open can reach around it.
        parts += [_clean(plain, place), picture]
        plain = []
    parts.append(_clean(plain, place))
    return Markup("".join(parts))  # noqa: S704 each part is sanitised or built from escaped values


def _clean(tokens: list[Token], place: Place) -> str:
    parser = _parser()
    html = parser.renderer.render(tokens, parser.options, {"place": place})

    def keep(tag: str, attribute: str, value: str) -> str | None:
        if tag == "a" and attribute == "href":
            return value.removeprefix(_OURS) if value.startswith(_OURS) else place.link(value) or None
        if tag == "img" and attribute == "src":
            return place.image(value) or None
        if attribute == "id":
            return value if value.startswith(ANCHOR) else ANCHOR + value
        if attribute in ("width", "height", "colspan", "rowspan", "start"):
            return value if value.isdigit() and len(value) < 5 else None
        return value

    return nh3.clean(
        html,
        tags=_TAGS,
        clean_content_tags={"script", "style"},
        attributes=_ATTRIBUTES,
        attribute_filter=keep,
        allowed_classes=_CLASSES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )


_OURS = f"/{secrets.token_hex(16)}"
"""Before addresses of this forge that are resolved already: what a text itself says is always resolved against its
place. Nobody can know it, and it never leaves this module."""


@lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": True, "typographer": False}).enable(["table", "strikethrough"])
    made.core.ruler.push("factory", _after)
    made.add_render_rule("table_open", _table_open)
    made.add_render_rule("table_close", _table_close)
    made.add_render_rule("fence", _fence)
    return made


def _table_open(_self: RendererHTML, _tokens: Any, _index: int, _options: Any, _env: Any) -> str:
    return '<div class="table"><table>\n'


def _table_close(_self: RendererHTML, _tokens: Any, _index: int, _options: Any, _env: Any) -> str:
    return "</table></div>\n"


def _fence(_self: RendererHTML, tokens: Any, index: int, _options: Any, _env: Any) -> str:
    token: Token = tokens[index]
    code = f"<pre><code>{escape(token.content)}</code></pre>\n"
    if token.info.strip().lower() == "mermaid":
        return f'<figure class="mermaid"><figcaption>Diagram (Mermaid source)</figcaption>{code}</figure>\n'
    return code


# ---------------------------------------------------------------- after parsing


def _after(state: StateCore) -> None:
    place: Place = state.env["place"]
    shows_comments = bool(state.env["comments"])
    taken: dict[str, int] = {}
    heads: list[str] = []
    column = 0
    for index, token in enumerate(state.tokens):
        if token.type == "heading_open":
            anchor = _anchor(state.tokens[index + 1], taken)
            if anchor:
                token.attrSet("id", ANCHOR + anchor)
        elif token.type == "table_open":
            heads = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            _align(token)
            heads.append(_words(state.tokens[index + 1]))
        elif token.type == "td_open":
            _align(token)
            # On a narrow screen each cell is a line of its own and says which column it is of.
            token.attrSet("data-label", heads[column] if column < len(heads) else "")
            column += 1
        elif token.type == "html_block":
            token.content = _html(token.content, place, shows_comments)
        elif token.type == "inline":
            if index >= 2 and state.tokens[index - 2].type == "list_item_open":
                _task(state.tokens[index - 2], token)
            token.children = _inline(token.children or [], place, shows_comments)


def _anchor(inline: Token, taken: dict[str, int]) -> str:
    base = re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", _words(inline).strip().lower()))[:80]
    count = taken[base] = taken.get(base, -1) + 1
    return f"{base}-{count}" if count and base else base


def _words(inline: Token) -> str:
    return "".join(child.content for child in inline.children or [] if child.type in ("text", "code_inline"))


def _align(token: Token) -> None:
    """Style attributes are not allowed here; the old attribute says the same."""
    style = str(token.attrs.pop("style", ""))
    for side in ("left", "right", "center"):
        if side in style:
            token.attrSet("align", side)


def _task(item: Token, inline: Token) -> None:
    first = inline.children[0] if inline.children else None
    if first is None or first.type != "text" or not re.match(r"\[[ xX]\] ", first.content):
        return
    done = first.content[1] != " "
    first.content = first.content[4:]
    item.attrJoin("class", "task")
    assert inline.children is not None
    inline.children.insert(0, _ours(f'<span class="box">{"☑" if done else "☐"}</span> '))


def _ours(html: str) -> Token:
    made = Token("html_inline", "", 0)
    made.content = html
    made.meta = {"ours": True}
    return made


def _inline(children: list[Token], place: Place, shows_comments: bool) -> list[Token]:
    found: list[Token] = []
    linked = 0
    for child in children:
        if child.type == "link_open":
            linked += 1
        elif child.type == "link_close":
            linked -= 1
        elif child.type == "html_inline":
            if not child.meta.get("ours"):
                # ``<a>`` in raw HTML: what is inside it is not linked again.
                linked += len(re.findall(r"<a\b", child.content, re.I)) - len(re.findall(r"</a\b", child.content, re.I))
                child.content = _html(child.content, place, shows_comments)
        elif child.type == "image":
            found += _image(child, place, linked > 0)
            continue
        elif child.type == "text" and linked <= 0:
            found += _linkified(child, place)
            continue
        found.append(child)
    return found


def _image(token: Token, place: Place, inside_link: bool) -> list[Token]:
    source = str(token.attrs.get("src", ""))
    words = token.content or source
    if place.image(source):
        return [token]
    return _link(place.link(source), f"picture: {words}") if not inside_link else [_text(words)]


def _html(content: str, place: Place, shows_comments: bool) -> str:
    def img(match: re.Match[str]) -> str:
        facts = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(match[0])}
        source = facts.get("src", "")
        if place.image(source):
            return match[0]
        words = escape(f"picture: {facts.get('alt') or source}")
        target = place.link(source)
        return f'<a href="{escape(target)}">{words}</a>' if target else words

    def comment(match: re.Match[str]) -> str:
        if not shows_comments:
            return ""
        if _MARKER.fullmatch(match[1]):
            return '<span class="ours">⚙ marked by the factory</span>'
        return f'<span class="hid">hidden text: {escape(match[1].strip())}</span>'

    return _IMG.sub(img, _COMMENT.sub(comment, content))


def _linkified(token: Token, place: Place) -> list[Token]:
    found: list[Token] = []
    at = 0
    for match in _TEXT.finditer(token.content):
        words = match[0]
        if match["when"]:  # a time is not broken over lines
            found += [_text(token.content[at : match.start()]), _ours(f'<span class="nb">{words}</span>')]
            at = match.end()
            continue
        if match["url"]:
            words = _trimmed(words)
            target = place.link(words)
        elif match["far"]:
            target = place.issue(match["owner"], match["repo"], int(match["far"]))
        else:
            target = place.issue("", "", int(match["near"]))
        if not target:
            continue
        found += [_text(token.content[at : match.start()]), *_link(target if match["url"] else _OURS + target, words)]
        at = match.start() + len(words)
    return [*found, _text(token.content[at:])]


def _trimmed(url: str) -> str:
    """Without what belongs to the sentence around it: punctuation, and a bracket that was opened before it."""
    url = url.rstrip(".,;:!?*_~'")
    surplus = url.count(")") - url.count("(")
    while surplus > 0 and url.endswith(")"):
        url, surplus = url[:-1], surplus - 1
    return url


def _text(content: str) -> Token:
    made = Token("text", "", 0)
    made.content = content
    return made


def _link(target: str, words: str) -> list[Token]:
    if not target:
        return [_text(words)]
    return [Token("link_open", "a", 1, attrs={"href": target}), _text(words), Token("link_close", "a", -1)]
