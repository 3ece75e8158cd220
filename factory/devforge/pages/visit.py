"""One request of a person: who, what was sent, and the ways to answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from factory.devforge.api import dispatch
from factory.devforge.api.call import Call, Moved
from factory.devforge.errors import Refusal
from factory.devforge.store import access
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.issues import Issue
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

if TYPE_CHECKING:
    from factory.devforge.auth import Doorkeeper


@dataclass(frozen=True)
class Response:
    """``headers`` come on top of the ones every answer has."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def address(*parts: object) -> str:
    """A local address of quoted parts; slashes inside a part stay. Names in git may be any bytes."""
    return "/" + "/".join(
        quote(str(part).strip("/"), safe="/", errors="surrogateescape") for part in parts if str(part)
    )


def redirect(where: str, headers: Mapping[str, str] | None = None) -> Response:
    """To another page of this forge, and nowhere else."""
    return Response(status=303, headers={"Location": local(where), **(headers or {})})


def local(where: str) -> str:
    """The address when it is a path on this host, else the front page: browsers read ``//x``, ``/\\x`` and addresses
    with a tab or newline inside as other hosts."""
    clean = where.startswith("/") and not where.startswith(("//", "/\\")) and "\\" not in where
    return where if clean and where.isascii() and where.isprintable() and " " not in where else "/"


class Denied(Exception):
    """The API's no to something a form asked for: status and the API's own words."""

    def __init__(self, status: int, message: str, detail: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail


@dataclass
class Visit:
    """``secret`` is the cookie's; ``form`` the fields of a POST that passed every check."""

    store: Store
    doorkeeper: Doorkeeper
    actor: Actor
    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, Sequence[str]]
    form: Mapping[str, Sequence[str]]
    secret: str = ""

    @property
    def viewer(self) -> User | None:
        return self.actor.user

    def asked(self, name: str, default: str = "") -> str:
        values = self.query.get(name)
        return values[0] if values else default

    def sent(self, name: str) -> str:
        values = self.form.get(name)
        return values[0].replace("\r\n", "\n") if values else ""

    def page_number(self) -> int:
        text = self.asked("page", "1")
        return max(1, int(text)) if text.isdigit() and len(text) < 8 else 1

    # ------------------------------------------------------------ what it is about

    def _call(self) -> Call:
        return Call(self.store, self.actor, "GET", self.path, self.params, {}, {}, b"")

    def repo(self) -> Repo:
        """The repo of the address; 404 when it is invisible. Raises Elsewhere when it was renamed."""
        try:
            return self._call().repo()
        except Moved as moved:
            raise Elsewhere(moved.location.removeprefix(self.store.root_url)) from None

    def issue(self, repo: Repo) -> Issue:
        return self._call().issue(repo)

    def pull(self, repo: Repo) -> Pull:
        return self._call().pull(repo)

    def may(self, repo: Repo, level: Mode, unit: str = "code") -> bool:
        return self.viewer is not None and access.mode(self.store, self.actor, repo, unit) >= level

    # ------------------------------------------------------------ doing

    def act(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Have the API do it as this account; returns its answer. Raises Denied with the API's words."""
        raw = json.dumps(body or {}).encode()
        headers = {"content-type": "application/json"}
        status, _, data = dispatch.perform(self.store, self.actor, method, path, {}, headers, raw)
        try:
            answer = json.loads(data) if data.strip() else None
        except ValueError:
            answer = None
        if status >= 400:
            told = answer if isinstance(answer, dict) else {}
            words = str(told.get("message") or "")
            reasons = told.get("errors")
            if status == 404 and isinstance(reasons, list) and reasons:
                words = str(reasons[0])
            raise Denied(status, words, told)
        return answer


class Elsewhere(Exception):
    """The page has another address now."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.where = where


def api_path(repo: Repo, *parts: object) -> str:
    """The API's path of something in a repo."""
    return address("repos", repo.owner, repo.name, *parts)


def need_signed_in(visit: Visit) -> User:
    if visit.viewer is None:
        raise Refusal(401, "sign in first")
    return visit.viewer
