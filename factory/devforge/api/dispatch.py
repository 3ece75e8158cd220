"""From a request to its answer: route, scopes, handler, and every error in Forgejo's shape."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any

from factory.devforge.api import (
    commits,
    files,
    forks,
    hooks,
    issues,
    misc,
    orgs,
    pulls,
    refs,
    releases,
    repos,
    statuses,
    tag_rules,
    talk,
    trees,
)
from factory.devforge.api.call import NULL, Answer, Call, Moved
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, Unauthorized, forbidden, not_found
from factory.devforge.store import users
from factory.devforge.store.access import Actor
from factory.devforge.store.database import Store
from factory.errors import FactoryError

PREFIX = "/api/v1"
# Importing them registers their routes.
GROUPS = (
    commits, files, forks, hooks, issues, misc, orgs, pulls, refs, releases, repos, statuses, tag_rules, talk, trees,
)  # fmt: skip

_log = logging.getLogger("factory.devforge")
_NO_CACHE = "max-age=0, private, must-revalidate, no-transform"


def perform(
    store: Store,
    actor: Actor,
    method: str,
    raw_path: str,
    query: Mapping[str, Sequence[str]],
    headers: Mapping[str, str],
    body: bytes,
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of one API request. Never raises: a bug is a 500 whose traceback is in forge.log."""
    try:
        actor = _sudo(store, actor, headers, query)
        answer = _perform(store, actor, method, raw_path, query, headers, body)
    except Refusal as error:
        return refusal(store, actor, error)
    except Exception as error:
        # The one place where everything is caught: the connection must get an answer, the operator the traceback.
        _log.exception("%s %s%s", method, PREFIX, raw_path)
        words = str(error) if isinstance(error, FactoryError | sqlite3.Error) else repr(error)
        return refusal(store, actor, Refusal(500, words))
    return _finished(answer)


def _perform(
    store: Store,
    actor: Actor,
    method: str,
    raw_path: str,
    query: Mapping[str, Sequence[str]],
    headers: Mapping[str, str],
    body: bytes,
) -> Answer:
    reads = method in ("GET", "HEAD")
    route, params, known = ROUTER.find("GET" if reads else method, raw_path)
    if route is None:
        if known:
            raise Refusal(405, body="")
        raise not_found()
    if (route.token or not reads) and actor.user is None:
        raise Unauthorized
    for scope in (route.scope, *route.extra):
        if scope and actor.user is not None:
            actor.need_scope(scope, write=not reads)
    call = Call(store, actor, method, PREFIX + raw_path, params, query, headers, body)
    if not reads:
        return route.handler(call)
    with store.snapshot():
        return route.handler(call)


def _sudo(store: Store, actor: Actor, headers: Mapping[str, str], query: Mapping[str, Sequence[str]]) -> Actor:
    """Act as another account: site admins only; the token's own scopes still apply."""
    from dataclasses import replace

    wanted = headers.get("sudo") or (query.get("sudo") or [""])[0]
    if not wanted:
        return actor
    if not actor.who or not actor.site_admin:
        raise forbidden("Only administrators allowed to sudo.")
    return replace(actor, user=users.person(store, wanted), by_socket=False)


def refusal(store: Store, actor: Actor, error: Refusal) -> tuple[int, dict[str, str], bytes]:
    """An error in the shape Forgejo gives it (reference, section 3.0)."""
    if isinstance(error, Moved):
        return 301, {"Location": error.location}, b""
    if error.body is not None:
        return _finished(Answer(error.status, None if error.body == "" else error.body))
    message = error.message
    if error.internal and not actor.site_admin:
        message = ""
    body: dict[str, Any] = {"message": message, "url": f"{store.root_url}/api/swagger"}
    if error.status == 404:
        body["errors"] = error.errors or []
    return _finished(Answer(error.status, body))


def _finished(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    headers = {"Cache-Control": _NO_CACHE, "X-Content-Type-Options": "nosniff"}
    if answer.raw:
        return answer.status, headers | dict(answer.headers), bytes(answer.body)
    if answer.body is None:
        return answer.status, headers | dict(answer.headers), b""
    value = None if answer.body is NULL else answer.body
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return answer.status, headers | {"Content-Type": "application/json;charset=utf-8"} | dict(answer.headers), data


def milliseconds(since: float) -> float:
    return round((time.monotonic() - since) * 1000, 1)
