"""The forge's pages for people: sign in, read code, file and steer issues, review and merge pull requests.

Plain HTML without script. Whatever a page changes goes through the API's own handlers as the signed-in account, so
the two never disagree; the API itself never looks at the cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factory.devforge.pages.door import Door
    from factory.devforge.server import App, Forge


def build(forge: Forge) -> App:
    """The ASGI application that gets every request which is neither API nor git.

    Templates, Markdown and sanitiser are loaded with the first page: a forge that only programs use does without."""
    made: list[Door] = []

    def load() -> None:
        from factory.devforge.pages.door import Door

        made.append(Door(forge))

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        if not made:
            await forge.in_thread(load)
        await made[0].serve(scope, receive, send)

    return serve
