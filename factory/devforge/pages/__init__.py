"""The forge's pages for people: sign in, read code, file and steer issues, review and merge pull requests.

Plain HTML without script. Whatever a page changes goes through the API's own handlers as the signed-in account, so
the two never disagree; the API itself never looks at the cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from factory.devforge.server import App, Forge


def build(forge: Forge) -> App:
    """The ASGI application that gets every request which is neither API nor git."""
    from factory.devforge.pages.door import Door

    return Door(forge).serve
