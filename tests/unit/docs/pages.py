"""The pages of this checkout, and what stands in them: code, commands, links, anchors."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: str
    text: str

    @cached_property
    def tokens(self) -> list[Token]:
        found: list[Token] = []
        for token in MarkdownIt("commonmark").enable("table").parse(self.text):
            found += [token, *(token.children or ())]
        return found

    def blocks(self) -> Iterator[tuple[str, str]]:
        """Code blocks: language (empty for none) and text."""
        for token in self.tokens:
            if token.type in ("fence", "code_block"):
                yield token.info.strip(), token.content

    def spans(self) -> Iterator[str]:
        """Inline code."""
        return (token.content for token in self.tokens if token.type == "code_inline")

    def commands(self) -> Iterator[str]:
        """Every ``factory ...`` a reader could type: lines of code blocks, and inline code."""
        for language, text in self.blocks():
            if language in ("", "sh", "console", "bash"):
                for line in text.replace("\\\n", " ").splitlines():
                    yield from _command(line, language == "console")
        for span in self.spans():
            yield from _command(span, False)

    def links(self) -> Iterator[str]:
        """Targets of links and images."""
        for token in self.tokens:
            target = token.attrs.get("href") or token.attrs.get("src")
            if token.type in ("link_open", "image") and target:
                yield str(target)

    def anchors(self) -> set[str]:
        """Names of its headings, as forges make them."""
        names: set[str] = set()
        for number, token in enumerate(self.tokens):
            if token.type == "heading_open":
                names.add(slug(self.tokens[number + 1].content))
        return names


def slug(heading: str) -> str:
    """The anchor of a heading."""
    plain = unicodedata.normalize("NFKC", heading).replace("`", "").lower()
    return re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")


_SHELL = re.compile(r"^(?:\$ +)?(?:[A-Z_]+=\S* +)*(?:\S*/)?factory(?= |$)(?P<rest>.*)$")
"""Optional prompt, optional variables, the program by any path."""


def _command(line: str, console: bool) -> Iterator[str]:
    found = _SHELL.match(line.strip())
    if found and not (console and not line.startswith("$")):
        yield "factory" + found["rest"]


def pages() -> list[Page]:
    """README and its like, and everything below docs/."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return [Page(f.relative_to(ROOT).as_posix(), f.read_text(encoding="utf-8")) for f in sorted(files)]


PAGES = pages()
