"""What every request passes before a page sees it, and what every answer carries.

A form is taken only from our own page: same Origin, Sec-Fetch-Site same-origin where the browser sends it, the form
token of this visitor's cookie, and nothing but an ordinary form as its type. No GET changes anything but the cookie.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from factory.devforge.errors import Refusal, Unauthorized
from factory.devforge.pages import (
    account,
    code,
    history,
    home,
    items,
    pulls,
    releases,
    routes,
    sessions,
    settings,
    view,
)
from factory.devforge.pages.visit import Denied, Elsewhere, Response, Visit, redirect
from factory.devforge.store.access import Actor
from factory.errors import FactoryError

if TYPE_CHECKING:
    from factory.devforge.server import Forge

# Importing them registers their pages.
GROUPS = (account, code, history, home, items, pulls, releases, settings)
MAX_FORM = 1024 * 1024
MAX_FIELDS = 500
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

_log = logging.getLogger("factory.devforge")
_Message = MutableMapping[str, Any]


class Door:
    """The ASGI application of the pages."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._store = forge.store

    async def serve(self, scope: _Message, receive: Callable[[], Any], send: Callable[[_Message], Any]) -> None:
        """One request. What blocks runs in the forge's threads."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        body = bytearray()
        more, too_large = scope["method"] == "POST", False
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            if len(body) + len(message.get("body", b"")) > MAX_FORM:
                too_large = True
                break
            body += message.get("body", b"")
            more = bool(message.get("more_body"))
        answer, login = await self._forge.in_thread(self._answer, scope, headers, bytes(body), too_large)
        noted = scope.get("state", {}).get("noted")
        if noted is not None:
            noted["user"] = login
        told = {**HEADERS, "Content-Type": answer.content_type, **answer.headers}
        told["Content-Length"] = str(len(answer.body))
        pairs = [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in told.items()]
        await send({"type": "http.response.start", "status": answer.status, "headers": pairs})
        sent = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": sent})

    def _answer(
        self, scope: _Message, headers: Mapping[str, str], body: bytes, too_large: bool
    ) -> tuple[Response, str]:
        raw_path: str = scope["raw_path"].decode("latin-1").partition("?")[0]
        visit = Visit(
            store=self._store,
            doorkeeper=self._forge.doorkeeper,
            actor=Actor(),
            method=scope["method"],
            path=raw_path,
            params={},
            query={},
            form={},
            secret=sessions.read_cookie(self._store.root_url, headers.get("cookie", "")),
        )
        try:
            self._check_host(headers)
            visit.query = _fields(scope["query_string"])
            visit.actor = Actor(user=sessions.who(self._store, visit.secret))
            answer = self._served(visit, headers, body, too_large)
        except Elsewhere as moved:
            answer = redirect(moved.where)
        except Denied as denied:
            answer = view.refused(visit, denied.status, denied.message)
        except Unauthorized:
            answer = account.sign_in_first(visit)
        except Refusal as refusal:
            answer = view.refused(visit, refusal.status, refusal.message)
        except Exception as error:
            # The one place where everything is caught: the person gets a page, the operator the traceback.
            _log.exception("%s %s", scope["method"], raw_path)
            words = str(error) if isinstance(error, FactoryError) and visit.actor.site_admin else ""
            answer = view.refused(visit, 500, words)
        return answer, visit.viewer.login if visit.viewer else ""

    def _served(self, visit: Visit, headers: Mapping[str, str], body: bytes, too_large: bool) -> Response:
        method = "GET" if visit.method == "HEAD" else visit.method
        found, visit.params, known = routes.find(method, visit.path)
        if found is None:
            raise Refusal(405 if known else 404)
        if method == "POST":
            if too_large:
                raise Refusal(413, f"A form may hold {MAX_FORM // 1024} KiB; this one is larger.")
            self._check_form(visit, headers, body)
        if (found.signed_in or method == "POST") and visit.viewer is None and found.handler is not account.sign_in:
            raise Unauthorized
        if visit.viewer is not None and visit.viewer.must_change_password and not _free(found):
            return redirect("/user/change_password")
        if method == "POST":
            return found.handler(visit)
        with self._store.snapshot():
            return found.handler(visit)

    # ------------------------------------------------------------ forms

    def _check_host(self, headers: Mapping[str, str]) -> None:
        if headers.get("host", "").lower() not in self._forge.allowed_hosts:
            raise Refusal(421, "This host name is not served here.")

    def _origin(self, headers: Mapping[str, str]) -> str:
        """Of this request's own address. Behind a proxy the scheme is the one of the configured address."""
        host = headers.get("host", "").lower()
        scheme, _, known = self._store.root_url.partition("://")
        return f"{scheme}://{host}" if known.lower() == host else f"http://{host}"

    def _check_form(self, visit: Visit, headers: Mapping[str, str], body: bytes) -> None:
        site = headers.get("sec-fetch-site")
        if headers.get("origin", "").lower() != self._origin(headers) or site not in (None, "same-origin"):
            raise Refusal(403, "This form was not sent from this forge's own page. Open the page again and repeat.")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refusal(415, "Only ordinary forms are taken here; programs use /api/v1.")
        fields = _fields(body)
        if not sessions.token_fits(visit.secret, (fields.get("_token") or [""])[0]):
            raise Refusal(403, "This form is too old, or cookies are off. Open the page again and repeat.")
        visit.form = fields


def _fields(encoded: bytes) -> dict[str, list[str]]:
    try:
        return parse_qs(encoded.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refusal(400, "Too many fields.") from None


def _free(found: routes.Page) -> bool:
    """Pages for those who must change their password first."""
    return found.segments[:1] in (("user",), ("assets",))
