"""What a branch or tag may be called."""

from __future__ import annotations

import re

from factory.devforge.errors import invalid

_BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$|^\.|/\.|\.$|\.lock(?:/|$)|^-|^@$|^HEAD$")


def check_branch_name(name: str) -> None:
    """422 for what cannot be the name of a branch or tag."""
    if not name or len(name) > 100 or _BAD_NAME.search(name):
        raise invalid(f"branch name is invalid [name: {name}]")
