"""A program: the embedded forge with one of its checks switched off. ``open_forge.py forms|cookies --home DIR ...``

The forge itself has no switch; what stands in the check's place is put there before it begins.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from factory.devforge.__main__ import main
from factory.devforge.pages import door, sessions
from factory.devforge.pages.visit import Visit
from factory.devforge.server import Forge
from factory.devforge.store.access import Actor

_real = Forge._actor


def _any_form(self: door.Door, visit: Visit, headers: Mapping[str, str], body: bytes) -> None:
    """Whoever sent it, from wherever."""
    visit.form = door._fields(body)


async def _by_cookie(self: Forge, headers: dict[str, str], admin: bool, noted: dict[str, Any]) -> Actor:
    user = sessions.who(self.store, sessions.read_cookie(self.store.root_url, headers.get("cookie", "")))
    return Actor(user=user) if user is not None else await _real(self, headers, admin, noted)


if __name__ == "__main__":
    if sys.argv[1] == "forms":
        door.Door._check_form = _any_form  # type: ignore[method-assign]
    else:
        Forge._actor = _by_cookie  # type: ignore[method-assign]
    sys.exit(main(sys.argv[2:]))
