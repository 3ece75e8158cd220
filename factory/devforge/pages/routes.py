"""Which address belongs to which page. Segments are split before they are decoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from factory.devforge.pages.visit import Response, Visit

Handler = Callable[["Visit"], "Response"]


@dataclass(frozen=True)
class Page:
    """``signed_in`` pages send strangers to the sign-in form."""

    method: str
    segments: tuple[str, ...]
    handler: Handler
    signed_in: bool


PAGES: list[Page] = []


def page(method: str, pattern: str, *, signed_in: bool = False) -> Callable[[Handler], Handler]:
    """Decorator: ``{name}`` is one segment, ``{name...}`` the rest. Only POST changes anything, by an account."""

    def register(handler: Handler) -> Handler:
        segments = tuple(part for part in pattern.split("/") if part)
        PAGES.append(Page(method, segments, handler, signed_in))
        return handler

    return register


def find(method: str, raw_path: str) -> tuple[Page | None, Mapping[str, str], bool]:
    """(page, parameters, whether the address exists under another method). Literal segments win over named ones."""
    parts = [part for part in raw_path.split("/") if part]
    known = False
    best: tuple[tuple[int, ...], Page, Mapping[str, str]] | None = None
    for candidate in PAGES:
        params = _match(candidate.segments, parts)
        if params is None:
            continue
        known = True
        weight = tuple(int(not segment.startswith("{")) for segment in candidate.segments)
        if candidate.method == method and (best is None or weight > best[0]):
            best = weight, candidate, params
    return (None, {}, known) if best is None else (best[1], best[2], True)


def _match(segments: tuple[str, ...], parts: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for index, segment in enumerate(segments):
        if segment.endswith("...}"):
            params[segment[1:-4]] = _decoded("/".join(parts[index:]))
            return params if parts[index:] else None
        if index >= len(parts):
            return None
        if segment.startswith("{"):
            params[segment[1:-1]] = _decoded(parts[index])
        elif segment != parts[index]:
            return None
    return params if len(parts) == len(segments) else None


def _decoded(text: str) -> str:
    # File names in git are bytes: what is no UTF-8 survives as surrogates, as in factory.git.objects.
    return unquote(text, errors="surrogateescape")
