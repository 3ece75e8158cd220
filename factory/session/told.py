"""What the first process inside wrote down at its end (``exit.json``): capped data, forged as easily as written."""

from __future__ import annotations

import json
from collections.abc import Mapping

from factory.session.box import Box
from factory.session.untrusted import Unreadable, read_plain

MAX_BYTES = 200_000
MAX_LEFTOVERS = 50


def told(box: Box | None) -> Mapping[str, object]:
    """The facts, empty when there are none that can be read."""
    if box is None:
        return {}
    try:
        said = json.loads(read_plain(box.out / "exit.json", MAX_BYTES) or b"{}")
    except (Unreadable, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def leftovers(box: Box | None) -> tuple[str, ...]:
    """Uncommitted paths, as git named them inside."""
    names = told(box).get("leftovers")
    return tuple(str(name)[:300] for name in names[:MAX_LEFTOVERS]) if isinstance(names, list) else ()


def pack_error(box: Box) -> str:
    """Why the last pack could not be written; empty when nothing is known of that."""
    error = told(box).get("pack_error")
    return str(error)[:300] if error else ""
