"""What the groups of forge calls stand on: send, page, settle. The transport itself is ``client.py``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from factory.errors import ForgeError, ForgeRefused, ForgeUnavailable
from factory.forge import decode
from factory.forge.values import RepoName

T = TypeVar("T")
Query = Mapping[str, str | int]
MOST_PAGES = 2000
"""Where a list that never ends is given up (100,000 rows)."""
PAGE = 50
"""Forgejo's default ``MAX_RESPONSE_ITEMS``; larger limits are clamped silently."""
DEFAULT_PAGE = 30
"""Forgejo's default page where no ``limit`` is sent."""


@dataclass(frozen=True)
class Reply:
    """One complete answer of the forge, read within bounds. Header names are lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    def json(self) -> Any:
        """The body as JSON; None when it is empty or not JSON."""
        try:
            return json.loads(self.body) if self.body else None
        except ValueError:
            return None

    @property
    def message(self) -> str:
        """The forge's own words, whichever of its four error shapes it chose; empty when it said nothing."""
        said = self.json()
        if isinstance(said, str):
            return said
        data = decode.record(said)
        errors = "; ".join(decode.names(data.get("errors")))
        return "; ".join(part for part in (decode.text(data, "message"), errors) if part)

    @property
    def total(self) -> int | None:
        """``X-Total-Count``."""
        said = self.headers.get("x-total-count", "")
        return int(said) if said.isdigit() else None

    @property
    def has_next(self) -> bool | None:
        """Whether ``Link`` names a next page; None when there is no ``Link``."""
        said = self.headers.get("link")
        return None if said is None else 'rel="next"' in said


def segment(name: str | int) -> str:
    """One path segment, slashes encoded."""
    return quote(str(name), safe="")


def at(repo: RepoName, *rest: str | int) -> str:
    """``/repos/{owner}/{repo}/...``, each part one encoded segment."""
    return "/repos/" + "/".join(segment(part) for part in (repo.owner, repo.name, *rest))


class Calls(ABC):
    """Base of the call groups; ``client.py`` supplies the transport."""

    url: str

    @abstractmethod
    def ask(self, method: str, path: str, *, doing: str, query: Query | None = None, body: object = None) -> Reply:
        """Send one request below ``/api/v1`` and return its answer whatever its status.

        GETs are repeated in bounds; anything else is sent once. Raises ForgeUnavailable when no usable answer came.
        """

    @abstractmethod
    def upload(self, path: str, *, doing: str, data: bytes, query: Query) -> Reply:
        """POST bytes below ``/api/v1`` and return the answer whatever its status. Raises ForgeUnavailable."""

    @abstractmethod
    def download(self, path: str, *, doing: str, most: int) -> Reply:
        """GET bytes outside of the API, at most ``most`` of them. Raises ForgeUnavailable."""

    @abstractmethod
    def refusal(self, reply: Reply, doing: str) -> ForgeError:
        """The error for an answer that is not the hoped-for one, credentials masked."""

    @property
    @abstractmethod
    def server_time(self) -> datetime | None:
        """The server's clock at its last answer; None before the first."""

    def get(self, path: str, *, doing: str, query: Query | None = None) -> Any:
        """JSON of a GET. Raises ForgeRefused (NotFound for 404) or ForgeUnavailable."""
        reply = self.ask("GET", path, doing=doing, query=query)
        if reply.status != 200:
            raise self.refusal(reply, doing)
        return reply.json()

    def send(self, method: str, path: str, *, doing: str, body: object = None) -> Any:
        """JSON of a write's answer (any 2xx). Always sends a JSON body: some routes refuse a request without one."""
        reply = self.ask(method, path, doing=doing, body={} if body is None else body)
        if not 200 <= reply.status < 300:
            raise self.refusal(reply, doing)
        return reply.json()

    def pages(
        self,
        path: str,
        *,
        doing: str,
        query: Query | None = None,
        enough: Callable[[list[Mapping[str, Any]]], bool] | None = None,
    ) -> list[Mapping[str, Any]]:
        """All rows of a list, to its real end.

        The end is where ``Link`` or ``X-Total-Count`` says so; without either, an empty page (a short one may only
        mean a server with smaller pages). ``enough`` may end it earlier, judging one page.
        """
        rows: list[Mapping[str, Any]] = []
        for page in range(1, MOST_PAGES + 1):
            reply = self.ask("GET", path, doing=doing, query={**(query or {}), "page": page, "limit": PAGE})
            if reply.status != 200:
                raise self.refusal(reply, doing)
            got = decode.records(reply.json())
            rows += got
            if not got or reply.has_next is False or (enough is not None and enough(got)):
                return rows
            if reply.has_next is None and reply.total is not None and len(rows) >= reply.total:
                return rows
        raise ForgeError(f"{doing}: the list did not end after {MOST_PAGES} pages", hint="is this address a Forgejo?")

    def settled(self, doing: str, write: Callable[[], T], reread: Callable[[], T | None]) -> T:
        """Do a write; when no answer came, read whether it happened.

        ``reread`` returns the result when the write is visible, else None: then the outcome stays unknown and
        ForgeUnavailable says so.
        """
        try:
            return write()
        except ForgeUnavailable as lost:
            seen = reread()
            if seen is None:
                raise ForgeUnavailable(
                    f"{lost.message}; it does not show on the forge (it may still arrive)", hint=lost.hint
                ) from lost
            return seen

    def missing(self, doing: str, detail: str, *, hint: str | None = None) -> ForgeRefused:
        """The forge said yes but did not do what was asked."""
        return ForgeRefused(f"{doing}: {detail}", status=200, detail=detail, hint=hint)
