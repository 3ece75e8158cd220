"""Branch rule names as globs, read as Forgejo's glob library (gobwas) reads them with ``/`` as separator."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SPECIAL = frozenset("*?[]{}!\\,")


def glob_rule(branch: str) -> str:
    """A rule name that matches exactly this branch but is a glob: ``main`` -> ``mai[n]``.

    A branch named by a plain rule may be renamed by any code writer, and the rule moves along; one matched only by a
    glob cannot. Raises ValueError for a name with glob characters in it.
    """
    if not branch or _SPECIAL & set(branch):
        raise ValueError(f"{branch!r} cannot be written as a glob that matches only itself")
    return f"{branch[:-1]}[{branch[-1]}]"


def is_glob(rule_name: str) -> bool:
    """Whether the forge treats this rule name as a pattern."""
    return bool(_SPECIAL & set(rule_name))


def matches(rule_name: str, branch: str) -> bool:
    """Whether a rule of this name applies to the branch. Plain names compare without case."""
    if not is_glob(rule_name):
        return rule_name.lower() == branch.lower()
    try:
        return re.fullmatch(_expression(rule_name), branch, re.DOTALL) is not None
    except re.error:
        return False


def first_match(rule_names: Iterable[str], branch: str) -> str | None:
    """The one rule that decides for a branch: exact names before globs, then the forge's order."""
    names = list(rule_names)
    exact = [name for name in names if not is_glob(name) and matches(name, branch)]
    return next(iter(exact or [name for name in names if matches(name, branch)]), None)


def _expression(glob: str) -> str:
    out, depth, at = "", 0, 0
    while at < len(glob):
        char = glob[at]
        at += 1
        if char == "*":
            many = glob[at : at + 1] == "*"
            at += many
            out += ".*" if many else "[^/]*"
        elif char == "?":
            out += "[^/]"
        elif char == "[" and (end := glob.find("]", at + 1)) > 0:
            inside = glob[at:end]
            at = end + 1
            negated, inside = inside[:1] == "!", inside.lstrip("!")
            out += f"[{'^' if negated else ''}{re.escape(inside).replace(chr(92) + '-', '-')}]"
        elif char == "{":
            depth, out = depth + 1, out + "(?:"
        elif char == "}" and depth:
            depth, out = depth - 1, out + ")"
        elif char == "," and depth:
            out += "|"
        elif char == "\\" and at < len(glob):
            out += re.escape(glob[at])
            at += 1
        else:
            out += re.escape(char)
    return out
