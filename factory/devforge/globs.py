"""Globs as gobwas reads them: ``*`` stops at a separator, ``**`` does not; ``?``, ``[a-z]``, ``[!a]``, ``{a,b}``."""

from __future__ import annotations

import re
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\\\[\]{}!]")


def is_glob(text: str) -> bool:
    """Whether a rule's name is a pattern rather than a plain name."""
    return _SPECIAL.search(text) is not None


def matches(pattern: str, text: str, separators: str = "") -> bool:
    """Whether the whole ``text`` fits. A pattern that is none matches nothing."""
    compiled = _compile(pattern, separators)
    return compiled is not None and compiled.fullmatch(text) is not None


def matches_any(patterns: str, path: str) -> bool:
    """Whether a path fits one of the ``;``-separated file patterns of a protection rule (lower-cased, ``.`` and ``/``
    separate)."""
    return any(matches(one, path.lower(), "./") for one in split(patterns))


def split(patterns: str) -> list[str]:
    return [one.strip().lower() for one in patterns.split(";") if one.strip()]


@lru_cache(maxsize=512)
def _compile(pattern: str, separators: str) -> re.Pattern[str] | None:
    one = f"[^{re.escape(separators)}]" if separators else "."
    out: list[str] = []
    depth = index = 0
    while index < len(pattern):
        letter = pattern[index]
        index += 1
        if letter == "*":
            if pattern[index : index + 1] == "*":
                index += 1
                out.append(".*")
            else:
                out.append(one + "*")
        elif letter == "?":
            out.append(one)
        elif letter == "[":
            end = pattern.find("]", index)
            if end < 0:
                return None
            body = pattern[index:end]
            index = end + 1
            negated = body.startswith("!")
            body = body[1:] if negated else body
            if not body:
                return None
            body = body.replace("\\", "\\\\").replace("^", "\\^").replace("[", "\\[").replace("&", "\\&")
            out.append(f"[{'^' if negated else ''}{body}]")
        elif letter == "{":
            depth += 1
            out.append("(?:")
        elif letter == "}" and depth:
            depth -= 1
            out.append(")")
        elif letter == "," and depth:
            out.append("|")
        elif letter == "\\":
            if index >= len(pattern):
                return None
            out.append(re.escape(pattern[index]))
            index += 1
        else:
            out.append(re.escape(letter))
    if depth:
        return None
    try:
        return re.compile("".join(out), re.DOTALL)
    except re.error:
        return None
