"""Routes by path segments. Segments are split before they are decoded, so ``%2F`` inside one stays inside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from factory.devforge.api.call import Answer, Call

Handler = Callable[["Call"], "Answer"]


@dataclass(frozen=True)
class Route:
    """``scope`` is the token scope's category, '' for none; ``extra`` further ones; ``token`` needs an account even to
    read; ``exclusive`` runs as a single writer."""

    method: str
    pattern: str
    handler: Handler
    scope: str
    extra: tuple[str, ...] = ()
    token: bool = False


@dataclass
class _Node:
    literal: dict[str, _Node] = field(default_factory=dict)
    param: tuple[str, _Node] | None = None
    rest: tuple[str, dict[str, Route]] | None = None
    routes: dict[str, Route] = field(default_factory=dict)


class Router:
    """A tree of segments: literals win over ``{name}``, which wins over ``{name...}`` (the rest of the path)."""

    def __init__(self) -> None:
        self._root = _Node()
        self.routes: list[Route] = []

    def add(
        self, method: str, pattern: str, scope: str, *, extra: tuple[str, ...] = (), token: bool = False
    ) -> Callable[[Handler], Handler]:
        """Decorator that registers a handler."""

        def register(handler: Handler) -> Handler:
            route = Route(method, pattern, handler, scope, extra, token)
            self.routes.append(route)
            node = self._root
            for segment in pattern.strip("/").split("/"):
                if segment.startswith("{") and segment.endswith("...}"):
                    if node.rest is None:
                        node.rest = (segment[1:-4], {})
                    node.rest[1][method] = route
                    return handler
                if segment.startswith("{"):
                    if node.param is None:
                        node.param = (segment[1:-1], _Node())
                    elif node.param[0] != segment[1:-1]:
                        raise ValueError(f"{pattern}: the segment is called {{{node.param[0]}}} elsewhere")
                    node = node.param[1]
                else:
                    node = node.literal.setdefault(segment, _Node())
            if method in node.routes:
                raise ValueError(f"{method} {pattern} is registered twice")
            node.routes[method] = route
            return handler

        return register

    def find(self, method: str, raw_path: str) -> tuple[Route | None, Mapping[str, str], bool]:
        """(route, parameters, whether the path exists under another method)."""
        segments = raw_path.strip("/").split("/")
        found = _match(self._root, segments, method, {})
        if found is not None:
            return found[0], found[1], True
        others = any(_match(self._root, segments, other, {}) for other in ("GET", "POST", "PUT", "PATCH", "DELETE"))
        return None, {}, others


def _match(
    node: _Node, segments: list[str], method: str, params: dict[str, str]
) -> tuple[Route, dict[str, str]] | None:
    if not segments:
        route = node.routes.get(method)
        return None if route is None else (route, params)
    head, tail = segments[0], segments[1:]
    if head in node.literal:
        found = _match(node.literal[head], tail, method, params)
        if found is not None:
            return found
    if node.param is not None and head:
        name, below = node.param
        found = _match(below, tail, method, {**params, name: unquote(head)})
        if found is not None:
            return found
    if node.rest is not None and method in node.rest[1]:
        name, routes = node.rest
        return routes[method], {**params, name: unquote("/".join(segments))}
    return None


ROUTER = Router()
