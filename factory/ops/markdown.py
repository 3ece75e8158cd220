"""Other people's words inside Markdown that the factory writes: escaped, plain, capped. Pure.

Two shapes only, because forges look for mentions, issue numbers and addresses even in escaped text, but neither inside
a link's words nor inside a code span: ``link`` (words of others that point to an address of ours) and ``quoted``.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_BLANK = frozenset(map(chr, (0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0)))
_SPECIAL = re.compile(r"([\\`*_\[\]|~$^])")
"""What Markdown reads anywhere in a line. Our texts never begin one, so ``#``, ``-``, ``>`` and ``1.`` need nothing."""
_SAFE_URL = re.compile(r"https?://[A-Za-z0-9.-]+(?::\d+)?(?:/[A-Za-z0-9._~/?#&=%+@,:;-]*)?")


def plain(text: str, limit: int = 100) -> str:
    """The text on one line without control, zero-width, bidirectional, tag and private characters, capped with ``…``.
    Combining marks are capped at two per letter."""
    kept: list[str] = []
    marks = 0
    for char in text[: limit * 8]:
        if char.isspace():
            kept.append(" ")
            continue
        if unicodedata.category(char) in _HIDDEN or char in _BLANK or "\ufe00" <= char <= "\ufe0f":
            continue
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks <= 2:
            kept.append(char)
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def escaped(text: str, limit: int = 100) -> str:
    """``plain``, with everything escaped that Markdown or HTML would read, and addresses and mentions made inert."""
    line = plain(text, limit).replace("&", "&amp;").replace("<", "&lt;")
    line = _SPECIAL.sub(r"\\\1", line)
    # A forge makes links of what looks like an address after the escapes are gone; these no longer look like one.
    line = line.replace("://", r"\[:\]//")
    line = re.sub(r"(?i)\b(www|mailto)([.:])", r"\1\\[\2\\]", line)
    return line.replace("@", "＠")


def sentence(words: str, issues_url: str, limit: int = 160) -> str:
    """Escaped words of the factory in which ``#12`` leads to that issue of the project: a bare ``#12`` in the ops repo
    would lead to the wrong repo."""
    text = escaped(words, limit)
    if _SAFE_URL.fullmatch(issues_url) is None:
        return text
    return re.sub(r"(?<![\w/&#])#(\d{1,9})\b", rf"[#\1]({issues_url}/\1)", text)


def link(text: str, url: str, limit: int = 100) -> str:
    """Escaped words that lead to an address of ours. The caller builds the address from configured parts; one that is
    not plain http(s) is left out and the words are quoted."""
    if _SAFE_URL.fullmatch(url) is None:
        return quoted(text, limit)
    return f"[{escaped(text, limit) or '…'}]({url})"


def quoted(text: str, limit: int = 200) -> str:
    """The words as a code span, also valid inside a table."""
    line = plain(text, limit)
    if not line:
        return ""
    fence = "`" * (max((len(run) for run in re.findall(r"`+", line)), default=0) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    # The readers of our own markers search the raw text; no quotation may hold one.
    inner = line.replace("<!--", "‹!--").replace("|", "\\|")
    return f"{fence}{pad}{inner}{pad}{fence}"
