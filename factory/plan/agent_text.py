"""Text of agents and outsiders made harmless before the factory posts it under its own name.

Rules: reference/security-rules.md, "Text" and "A push can run code somewhere else". Nothing is hidden: what could
act (a close keyword, a mention, a trailer) stays readable but no longer acts; what could hide (comments, zero-width,
bidi and tag characters) is taken out.
"""

from __future__ import annotations

import re
import unicodedata

_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_CLOSE = re.compile(
    r"\b(close[sd]?|fix(?:e[sd])?|resolve[sd]?|reopen(?:s|ed)?)(\s*:?\s+)((?:[\w.-]+/[\w.-]+)?[#!]\d+|https?://\S+)",
    re.IGNORECASE,
)
_MENTION = re.compile(r"(?<![\w`/.@+-])@(?=[\w])")
_SKIP_CI = re.compile(r"\[\s*(skip[ -]ci|ci[ -]skip|no[ -]ci|skip[ -]actions|actions[ -]skip)\s*\]", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"^([ \t>*-]*)(skip-checks)\s*:", re.IGNORECASE | re.MULTILINE)
_TRAILER = re.compile(
    r"^([ \t>*-]*)((?:Factory|Requested|Reviewed|Approved|Signed-off|Co-authored|Acked|Tested)-[\w-]+)[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
_COMMAND = re.compile(r"^([ \t]*)/(start|stop|retry|hold|explain)\b", re.IGNORECASE | re.MULTILINE)
_KEEP_CONTROL = {"\n", "\t"}


def visible(text: str) -> str:
    """Without HTML comments and without characters that a reader cannot see or that reorder what he sees."""
    previous = None
    while previous != text:  # stripping one comment may join the halves of another
        previous = text
        text = _COMMENT.sub("", text)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(ch for ch in text if ch in _KEEP_CONTROL or not _hides(ch))


def _hides(ch: str) -> bool:
    code = ord(ch)
    if 0xE0000 <= code <= 0xE0FFF:  # tag characters and variation selectors supplement
        return True
    if 0xFE00 <= code <= 0xFE0F or code in (0x115F, 0x1160, 0x3164, 0xFFA0, 0x2800, 0x034F, 0x180E):
        return True
    return unicodedata.category(ch) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def harmless(text: str, *, limit: int = 20_000) -> str:
    """``visible`` text in which close keywords, mentions, skip-CI strings, trailers and commands no longer act.

    ``limit``: characters kept; a cut is said in the text.
    """
    text = visible(text)
    text = _CLOSE.sub(lambda m: f"{m[1]}{m[2]}`{m[3]}`", text)
    text = _MENTION.sub("`@`", text)
    text = _SKIP_CI.sub(lambda m: f"({m[1]})", text)
    text = _SKIP_TRAILER.sub(lambda m: f"{m[1]}`{m[2]}` =", text)
    text = _TRAILER.sub(lambda m: f"{m[1]}`{m[2]}` =", text)
    text = _COMMAND.sub(lambda m: f"{m[1]}`/{m[2]}`", text)
    if len(text) > limit:
        text = text[:limit].rstrip() + f"\n\n(cut after {limit} characters)"
    return text.strip()


def one_line(text: str, *, limit: int = 120) -> str:
    """Harmless text as a title: one line, ``limit`` characters."""
    line = " ".join(harmless(text).split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def commit_message(text: str) -> str:
    """The message of a session's commit as the factory publishes it; never empty, at most 5,000 characters."""
    return (harmless(text, limit=5_000) or "Change without a message") + "\n"
