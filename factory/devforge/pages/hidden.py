"""Characters that a reader would not see, made visible: reversed text, zero-width letters and control characters can
make a diff, a name or a text say something else than what is there. Pure."""

from __future__ import annotations

import re
import unicodedata

from markupsafe import Markup, escape

_PLAIN = frozenset("\t\n")
_SOME = re.compile(r"[^\t\n\x20-\x7e]")


def is_hidden(char: str) -> bool:
    """Control, format (zero-width, bidirectional, tag), surrogate, private and unassigned characters, and letters that
    look like nothing. The joiner inside emoji and the variation selectors are part of visible text."""
    if char in _PLAIN or char == "\u200d":
        return False
    return (
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") or char in "\u115f\u1160\u3164\uffa0"
    )


def visible(text: str) -> str:
    """The text with each hidden character written as ``⟦U+202E⟧``."""
    if not _SOME.search(text):
        return text
    found = list(text)
    for index, char in enumerate(found):
        if is_hidden(char) or (char == "\u200d" and not _inside_emoji(text, index)):
            found[index] = f"⟦U+{ord(char):04X}⟧"
    return "".join(found)


def _inside_emoji(text: str, index: int) -> bool:
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    return bool(before and after) and (ord(before) > 0x2000) and (ord(after) > 0x2000)


def marked(text: str) -> Markup:
    """Escaped for a page, the hidden characters highlighted."""
    if not _SOME.search(text):
        return escape(text)
    safe = str(escape(visible(text)))
    return Markup(re.sub(r"⟦U\+[0-9A-F]{4,6}⟧", r'<span class="hid" title="invisible character">\g<0></span>', safe))  # noqa: S704 escaped above
