"""From values to a page: the templates, their filters, and the pages that say no."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from factory.devforge.pages import hidden, sessions
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit, address
from factory.devforge.store import labels, users
from factory.devforge.store.access import Mode
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo

HERE = Path(__file__).parent
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@lru_cache(maxsize=1)
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(at=address, style=style_address())
    made.filters.update(
        marked=hidden.marked,
        visible=hidden.visible,
        short=_short,
        dot=label_mark,
        web=web_address,
        many=_many,
        size=_size,
        query=query,
    )
    return made


def render(
    visit: Visit, template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **facts: Any
) -> Response:
    """A page for this visitor."""
    text = _templates().get_template(template).render(
        visit=visit, viewer=visit.viewer, token=sessions.form_token(visit.secret), ago=_clock(visit.store),
        name=_names(visit.store), Mode=Mode, **facts,
    )  # fmt: skip
    # A name that is no UTF-8 holds surrogates; they become question marks.
    return Response(text.encode("utf-8", "replace"), status, headers=headers or {})


_SAYS = {
    400: "That did not make sense",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not possible",
    409: "It changed meanwhile",
    412: "Not yet",
    413: "Too large",
    415: "Not a form",
    421: "Another host",
    422: "Something is missing",
    423: "Archived",
    429: "Slow down",
    500: "That went wrong",
}


def refused(visit: Visit, status: int, words: str) -> Response:
    """A page that says no and why."""
    if status == 404 and visit.viewer is None:
        words = "Either there is no such page, or it is private: sign in to see what is yours."
    elif status == 404:
        words = "There is no such page, or you may not see it."
    elif status == 500 and not words:
        words = "The forge noted the details in its log (forge.log). Your input was not lost on other pages."
    return render(visit, "refused.html", status=status, title=_SAYS.get(status, "No"), words=words)


# ---------------------------------------------------------------- filters


def query(values: Mapping[str, Any]) -> str:
    """A query string; sequences give one pair per value."""
    return urlencode(values, doseq=True)


def _short(sha: str) -> str:
    return sha[:10]


def web_address(url: str) -> str:
    """The address when it is one of the web, else ''."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    fine = parts.scheme in ("http", "https") and parts.hostname and url.isprintable() and " " not in url
    return url if fine else ""


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"


def _size(count: int) -> str:
    return (
        f"{count} B" if count < 1024 else f"{count / 1024:.1f} KiB" if count < 1024**2 else f"{count / 1024**2:.1f} MiB"
    )


def _clock(store: Store) -> Any:
    def ago(seconds: int) -> Markup:
        """When it was, in words a person would use, the exact time beside it."""
        then = datetime.fromtimestamp(seconds, UTC)
        exact = f"{then:%Y-%m-%d %H:%M:%S} UTC"
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            f"{then:%Y-%m-%dT%H:%M:%SZ}", exact, _words(max(0, store.now() - seconds), then)
        )

    return ago


def _words(passed: int, then: datetime) -> str:
    if passed < 45:
        return "just now"
    if passed < _HOUR:
        return f"{max(1, passed // _MINUTE)} min ago"
    if passed < _DAY:
        return f"{passed // _HOUR} h ago"
    if passed < 14 * _DAY:
        return f"{passed // _DAY} d ago"
    return f"on {then:%Y-%m-%d}"


def _names(store: Store) -> Any:
    known: dict[int, users.User] = {}

    def name(user_id: int) -> users.User:
        if user_id not in known:
            known[user_id] = users.by_id(store, user_id)
        return known[user_id]

    return name


# ---------------------------------------------------------------- what the header of a repo shows


def repo_facts(visit: Visit, repo: Repo, tab: str) -> dict[str, Any]:
    """What the frame around every page of a repo needs."""
    count = "SELECT count(*) FROM issues WHERE repo_id = ? AND is_pull = ? AND state = 'open'"
    return {
        "repo": repo,
        "tab": tab,
        "open_issues": visit.store.value(count, repo.id, 0),
        "open_pulls": visit.store.value(count, repo.id, 1),
        "may_write": visit.may(repo, Mode.WRITE),
        "may_admin": visit.may(repo, Mode.ADMIN),
    }


def label_mark(label: labels.Label) -> Markup:
    """A label's colour as a picture: style attributes are not allowed here, and colours are people's input."""
    return Markup(
        '<svg class="dot" viewBox="0 0 10 10" aria-hidden="true"><circle cx="5" cy="5" r="5" fill="#{}"/></svg>'
    ).format(escape(label.color))


# ---------------------------------------------------------------- the style sheet


@lru_cache(maxsize=1)
def _style() -> bytes:
    return (HERE / "assets" / "style.css").read_bytes()


def style_address() -> str:
    return f"/assets/style.css?{hashlib.sha256(_style()).hexdigest()[:12]}"


@page("GET", "/assets/style.css")
def style(_visit: Visit) -> Response:
    """The one style sheet; its address changes with its content, so browsers may keep it."""
    return Response(
        _style(), content_type="text/css; charset=utf-8", headers={"Cache-Control": "max-age=31536000, immutable"}
    )


_FACES = ("2f5fd0", "8a4fc4", "b0457e", "b4532a", "86701b", "3f7f46", "1f7f83", "566377")


def face_colour(user_id: int) -> int:
    return user_id % len(_FACES)


@page("GET", "/avatars/{id}")
def avatar(visit: Visit) -> Response:
    """A picture for an account: its first letter on a colour."""
    number = visit.params["id"]
    login = (
        visit.store.value("SELECT login FROM users WHERE id = ?", int(number))
        if number.isdigit() and len(number) < 12
        else None
    )
    if login is None:
        return refused(visit, 404, "")
    picture = Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="32" fill="#{}"/>'
        '<text x="32" y="42" font-family="sans-serif" font-size="28" fill="#fff" text-anchor="middle">{}</text></svg>'
    ).format(_FACES[face_colour(int(number))], login[:1].upper())
    safe = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "max-age=3600"}
    return Response(picture.encode(), content_type="image/svg+xml", headers=safe)
