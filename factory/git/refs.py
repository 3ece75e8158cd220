"""What a ref name and an object id look like; everything that reaches a git command line passes here first."""

from __future__ import annotations

import re

from factory.errors import UsageError

_OID = re.compile(r"[0-9a-f]{40}")
# git-check-ref-format(1): no component starts with a dot or ends in .lock, no "..", no "@{", none of the special
# characters.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)")


def is_oid(text: str) -> bool:
    """Whether ``text`` is a full SHA-1 object id in lower case."""
    return _OID.fullmatch(text) is not None


def is_ref(name: str) -> bool:
    """Whether ``name`` is a well-formed full ref (``refs/...``), by the rules of git-check-ref-format."""
    return (
        name.startswith("refs/")
        and len(name.encode("utf-8", "surrogatepass")) <= 250
        and name.isprintable()
        and not name.endswith(("/", "."))
        and _FORBIDDEN.search(name) is None
    )


def need_oid(text: str) -> str:
    """``text``, or UsageError when it is no object id."""
    if not is_oid(text):
        raise UsageError(f"{text!r} is not an object id")
    return text


def need_ref(name: str) -> str:
    """``name``, or UsageError when it is no well-formed full ref."""
    if not is_ref(name):
        raise UsageError(f"{name!r} is not a full ref name")
    return name


def branch_ref(branch: str) -> str:
    """``refs/heads/<branch>``; a name that begins with a dash is refused, git itself would."""
    if branch.startswith("-"):
        raise UsageError(f"{branch!r} is not a branch name")
    return need_ref(f"refs/heads/{branch}")
