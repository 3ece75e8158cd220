"""One API request: its parameters, its account, and how answers, errors and pages are shaped."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import urlencode

from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.store import access, issues, pulls, repos
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.issues import Issue
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

MAX_ITEMS = 50
DEFAULT_ITEMS = 30
_DIGITS = re.compile(r"[0-9]{1,18}")
_MISSING = object()
NULL: Any = object()
"""A body that is sent as JSON null, where None means an empty body."""
T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """``body`` is bytes as they are, or a value to send as JSON; None for an empty body."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bool = False
    """The body is text or bytes, not JSON."""


def created(body: Any) -> Answer:
    return Answer(201, body)


def nothing() -> Answer:
    return Answer(204)


class Call:
    """What a handler gets. ``params`` are the decoded parts of the path."""

    def __init__(
        self,
        store: Store,
        actor: Actor,
        method: str,
        path: str,
        params: Mapping[str, str],
        query: Mapping[str, Sequence[str]],
        headers: Mapping[str, str],
        body: bytes,
    ) -> None:
        self.store = store
        self.actor = actor
        self.method = method
        self.path = path
        self.params = params
        self.headers = headers
        self.body = body
        self._query = query
        self._json: Any = _MISSING

    # ------------------------------------------------------------ what was asked

    @property
    def who(self) -> User:
        return self.actor.who

    def query(self, name: str, default: str = "") -> str:
        values = self._query.get(name)
        return values[0] if values else default

    def flag(self, name: str, default: bool = False) -> bool:
        """A query parameter as Go's ParseBool reads it."""
        value = self.query(name).lower()
        return default if value == "" else value in ("1", "t", "true")

    def index(self, name: str = "index") -> int:
        text = self.params[name]
        if not is_number(text):
            raise not_found(f"{name} is not a number")
        return int(text)

    def time(self, name: str) -> int | None:
        """An RFC 3339 query parameter in whole seconds; 422 when it is none."""
        text = self.query(name)
        if not text:
            return None
        try:
            moment = datetime.fromisoformat(text.replace(" ", "+"))
        except ValueError:
            raise invalid(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00"') from None
        if moment.tzinfo is None:
            raise invalid(f'parsing time "{text}": no zone')
        return int(moment.timestamp())

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; 422 without a content type or for anything else."""
        if self._json is _MISSING:
            if "content-type" not in self.headers:
                raise invalid("[]: Empty Content-Type")
            try:
                self._json = _parsed(self.body) if self.body.strip() else {}
            except (ValueError, RecursionError):
                raise invalid("[]: Deserialization error: the body is not JSON") from None
            if not isinstance(self._json, dict):
                raise invalid("[]: Deserialization error: the body is not a JSON object")
        return dict(self._json)

    def optional_json(self) -> dict[str, Any]:
        """As :meth:`json` for routes that work without a body."""
        return self.json() if self.body.strip() else {}

    def has(self, name: str) -> bool:
        """Whether the body names the field with anything but null."""
        return self.json().get(name) is not None

    def text(self, name: str, default: str = "") -> str:
        return self._typed(name, str, default, "string")

    def switch(self, name: str, default: bool = False) -> bool:
        return self._typed(name, bool, default, "bool")

    def number(self, name: str, default: int = 0) -> int:
        value = self._typed(name, int, default, "int64")
        if not _is_int64(value):
            raise invalid(f"json: cannot unmarshal {value} into Go struct field .{name} of type int64")
        return value

    def object(self, name: str) -> dict[str, Any]:
        """A nested object, {} when it is not given."""
        return dict(self._typed(name, dict, {}, "object"))

    def objects(self, name: str) -> list[dict[str, Any]]:
        return [dict(value) for value in self._list(name, dict, "object")]

    def strings(self, name: str) -> list[str]:
        return self._list(name, str, "string")

    def numbers(self, name: str) -> list[int]:
        return self._list(name, int, "int64")

    def _typed(self, name: str, kind: type[T], default: T, word: str) -> T:
        value = self.json().get(name)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise invalid(f"json: cannot unmarshal {type(value).__name__} into Go struct field .{name} of type {word}")
        return value

    def _list(self, name: str, kind: type[T], word: str) -> list[T]:
        value = self.json().get(name)
        if value is None:
            return []
        right = isinstance(value, list) and all(
            isinstance(v, kind) and (kind is not int or _is_int64(v)) for v in value
        )
        if not right:
            raise invalid(f"json: cannot unmarshal {name} into Go struct field .{name} of type []{word}")
        return list(value)

    # ------------------------------------------------------------ what it is about

    def repo(self, level: Mode = Mode.READ, unit: str = "") -> Repo:
        """The repo of the path; 301 when it was renamed, 404 when it is invisible, 403 when the mode is too low."""
        owner, name = self.params["owner"], self.params["repo"]
        found = repos.find(self.store, owner, name)
        if found is None:
            moved = repos.renamed(self.store, owner, name)
            if moved is not None and access.best(self.store, self.actor, moved) >= Mode.READ:
                target = self.path.replace(f"/{owner}/{name}", f"/{moved.full_name}", 1)
                raise Moved(f"{self.store.root_url}{target}")
            raise not_found(f"repository does not exist [id: 0, uid: 0, owner_name: {owner}, name: {name}]")
        if access.best(self.store, self.actor, found) < Mode.READ:
            raise not_found("user should have a permission to access the repo")
        if unit or level > Mode.READ:
            access.need(self.store, self.actor, found, level, unit or "code")
        return found

    def repo_admin(self) -> Repo:
        found = self.repo()
        access.need_admin(self.store, self.actor, found)
        return found

    def writable(self, unit: str = "code", level: Mode = Mode.WRITE) -> Repo:
        """As :meth:`repo` for changes: 423 when archived."""
        found = self.repo(level, unit)
        access.need_unarchived(found)
        return found

    def issue(self, repo: Repo) -> Issue:
        found = issues.get(self.store, repo, self.index())
        if access.mode(self.store, self.actor, repo, found.unit) < Mode.READ:
            raise not_found()
        return found

    def pull(self, repo: Repo) -> Pull:
        if repo.empty:
            raise not_found("Git Repository is empty.")
        access.need(self.store, self.actor, repo, Mode.READ, "pulls")
        return pulls.get(self.store, repo, self.index())

    # ------------------------------------------------------------ pages

    @property
    def paging(self) -> tuple[int, int]:
        """(page from 1, items per page): larger pages than the maximum are cut silently."""
        page, limit = self._count("page", 1), self._count("limit", 0)
        return max(page, 1), DEFAULT_ITEMS if limit <= 0 else min(limit, MAX_ITEMS)

    def _count(self, name: str, default: int) -> int:
        text = self.query(name)
        return int(text) if is_number(text.removeprefix("-")) else default

    def cut(self, items: Sequence[T]) -> Sequence[T]:
        """The asked page of a list."""
        page, limit = self.paging
        return items[(page - 1) * limit : page * limit]

    def cut_if_asked(self, items: Sequence[T]) -> Sequence[T]:
        """The asked page of a list that comes whole, whatever ``limit`` says, unless ``page`` is sent."""
        return self.cut(items) if self._count("page", 0) > 0 else items

    def total(self, count: int) -> dict[str, str]:
        return {"X-Total-Count": str(count), "Access-Control-Expose-Headers": "X-Total-Count"}

    def linked(self, count: int) -> dict[str, str]:
        """``X-Total-Count`` and ``Link`` to the neighbouring pages."""
        page, limit = self.paging
        last = max(1, -(-count // limit))
        wanted = []
        if page < last:
            wanted += [("next", page + 1), ("last", last)]
        if page > 1:
            wanted += [("first", 1), ("prev", page - 1)]
        headers = {"X-Total-Count": str(count), "Access-Control-Expose-Headers": "Link, X-Total-Count"}
        if wanted:
            headers["Link"] = ",".join(f'<{self._page_url(number)}>; rel="{rel}"' for rel, number in wanted)
        return headers

    def _page_url(self, number: int) -> str:
        query = [(name, value) for name, values in self._query.items() for value in values if name != "page"]
        return f"{self.store.root_url}{self.path}?{urlencode([*query, ('page', str(number))])}"

    def admin(self) -> User:
        """The account when it administers the site; 403 else."""
        who = self.who
        if not self.actor.site_admin:
            raise forbidden("user should be the site admin")
        return who


def _parsed(body: bytes) -> Any:
    """The body's value. ValueError also for NaN and infinities, which JSON does not have. Halves of a surrogate pair
    become U+FFFD, as in Go: nothing could store or send them."""

    def constant(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    value = json.loads(body, parse_constant=constant)
    if b"\\u" not in body:
        return value
    whole = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return json.loads(whole)


def is_number(text: str) -> bool:
    """Whether a text is a plain decimal number that fits everywhere. ``isdigit`` would let ``²`` pass."""
    return _DIGITS.fullmatch(text) is not None


def _is_int64(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


class Moved(Refusal):
    """301 to where a renamed repo is now."""

    def __init__(self, location: str) -> None:
        super().__init__(301)
        self.location = location
