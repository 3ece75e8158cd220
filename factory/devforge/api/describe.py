"""What this forge offers, as an OpenAPI 2.0 document made from the route table: ``GET /api/swagger.v1.json``.

Parameters are read from the handlers themselves (which names they ask the :class:`Call` for), so they cannot fall
behind. Answers are described by Forgejo's own document; here stands only where a 500 is an answer and not a fault.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from factory.devforge.api import dispatch
from factory.devforge.api.misc import VERSION
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER, Route

_ALREADY = "the dependency is there already, would be a circle, or (DELETE) is not there"
_FILES = "a protected branch refuses the commit, the branch moved meanwhile, or the file is not there"
DELIBERATE: Mapping[tuple[str, str], str] = {
    ("PATCH", R + "/issues/{index}"): "an assignee does not exist",
    ("POST", R + "/issues/{index}/dependencies"): _ALREADY,
    ("DELETE", R + "/issues/{index}/dependencies"): _ALREADY,
    ("POST", R + "/issues/{index}/blocks"): _ALREADY,
    ("DELETE", R + "/issues/{index}/blocks"): _ALREADY,
    ("POST", R + "/branches"): "the source does not exist",
    ("PATCH", R + "/branches/{branch...}"): "another branch is in the way of the new name",
    ("POST", R + "/contents"): _FILES,
    ("POST", R + "/contents/{path...}"): _FILES,
    ("PUT", R + "/contents/{path...}"): _FILES,
    ("DELETE", R + "/contents/{path...}"): _FILES,
    ("PATCH", R + "/pulls/{index}"): "the new base contains the head already",
    ("POST", R + "/pulls/{index}/merge"): "fast-forward-only of branches that went apart; in --compat a dependency",
    ("POST", R + "/pulls/{index}/update"): "there is nothing to update",
    ("POST", R + "/pulls/{index}/reviews"): "the reviewed commit does not exist",
    ("POST", "/orgs/{org}/teams"): "a team without units",
}
"""(method, pattern) -> when Forgejo's own 500 is given on purpose. Any other 500 is a bug."""

_QUERY = {"query": "string", "flag": "boolean", "time": "string"}
_BODY = {"text": "string", "switch": "boolean", "number": "integer", "strings": "array", "numbers": "array",
         "object": "object", "objects": "array", "has": ""}  # fmt: skip
Names = Mapping[str, list[str]]
_ITEMS = {"strings": "string", "numbers": "integer", "objects": "object"}


@cache
def description() -> dict[str, Any]:
    """The document, without ``host``: it is meant for the address it was fetched from."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTER.routes:
        paths.setdefault(re.sub(r"\.\.\.}", "}", route.pattern), {})[route.method.lower()] = _operation(route)
    return {
        "swagger": "2.0",
        "info": {"title": "Embedded forge of the factory: the part of Forgejo's API it offers", "version": VERSION},
        "basePath": dispatch.PREFIX,
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {
            "AuthorizationHeaderToken": {"type": "apiKey", "name": "Authorization", "in": "header"},
            "BasicAuth": {"type": "basic"},
        },
        "paths": dict(sorted(paths.items())),
    }


def _operation(route: Route) -> dict[str, Any]:
    query, body = parameters(route.handler)
    given: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "type": "string", "x-rest-of-path": bool(dots)}
        for name, dots in re.findall(r"{(\w+)(\.\.\.)?}", route.pattern)
    ]
    given += [{"name": name, "in": "query", "type": kind} for name, kind in sorted(query.items())]
    if body:
        schema = {"type": "object", "properties": dict(sorted(body.items()))}
        given.append({"name": "body", "in": "body", "schema": schema})
    answers: dict[str, Any] = {"default": {"description": "as Forgejo's document says"}}
    why = DELIBERATE.get((route.method, route.pattern))
    if why is not None:
        answers["500"] = {"description": f"Forgejo's own: {why}"}
    found: dict[str, Any] = {
        "operationId": f"{route.handler.__module__.rpartition('.')[2]}.{route.handler.__name__}",
        "parameters": given,
        "responses": answers,
        "x-scopes": [scope for scope in (route.scope, *route.extra) if scope],
    }
    if route.token or route.method != "GET":
        found["security"] = [{"AuthorizationHeaderToken": []}, {"BasicAuth": []}]
    return found


def parameters(handler: Callable[..., Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """(query parameter -> type, body field -> schema) that a handler, and what it calls in the API, asks for."""
    query: dict[str, str] = {}
    body: dict[str, Any] = {}
    for method, name in _asked(handler, set()):
        if method in _QUERY:
            query[name] = _QUERY[method]
        elif method in _ITEMS:
            body[name] = {"type": "array", "items": {"type": _ITEMS[method]}}
        elif method == "get" or not _BODY[method]:
            body.setdefault(name, {})
        else:
            body[name] = {"type": _BODY[method]}
    return query, body


def _asked(function: Callable[..., Any], seen: set[Callable[..., Any]]) -> Iterator[tuple[str, str]]:
    """(method of the Call, name) of each parameter asked for: directly, through a loop over names, or further down."""
    if function in seen:
        return
    seen.add(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):
        return  # no source at hand: fewer parameters are described
    known = {**function.__globals__, **inspect.getclosurevars(function).nonlocals}
    for node, loops in _calls(tree, known, {}):
        target = node.func
        if isinstance(target, ast.Name):
            called = known.get(target.id)
            if inspect.isfunction(called) and called.__module__.startswith("factory.devforge.api"):
                yield from _asked(called, seen)
        elif isinstance(target, ast.Attribute) and node.args and _is_call(target):
            for name in _names(node.args[0], loops):
                yield target.attr, name
    if "call.cut" in ast.unparse(tree) or "call.paging" in ast.unparse(tree):
        yield from (("query", "page"), ("query", "limit"))


def _calls(node: ast.AST, known: Mapping[str, Any], loops: Names) -> Iterator[tuple[ast.Call, Names]]:
    """Every call below a node, with what the variables of the loops around it stand for."""
    comprehended = isinstance(node, ast.DictComp | ast.ListComp | ast.SetComp | ast.GeneratorExp)
    for loop in node.generators if comprehended else [node] if isinstance(node, ast.For) else []:  # type: ignore[attr-defined]
        loops = {**loops, **_loop(loop, known)}
    if isinstance(node, ast.Call):
        yield node, loops
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, known, loops)


def _is_call(target: ast.Attribute) -> bool:
    """``call.text(...)`` and the like, or ``.get`` of the body (``body.get``, ``call.json().get``)."""
    owner = ast.unparse(target.value)
    if target.attr == "get":
        return owner in ("body", "call.json()", "call.optional_json()")
    return owner == "call" and target.attr in {**_QUERY, **_BODY}


def _loop(node: ast.For | ast.comprehension, known: Mapping[str, Any]) -> Names:
    """The names a loop variable takes, where they are written down."""
    if isinstance(node.iter, ast.Name) and isinstance(node.target, ast.Name):
        values = known.get(node.iter.id)
        return {node.target.id: list(values)} if isinstance(values, tuple | dict) else {}
    if not isinstance(node.iter, ast.Tuple | ast.List):
        return {}
    if isinstance(node.target, ast.Name):
        return {node.target.id: _texts(node.iter.elts)}
    first = node.target.elts[0] if isinstance(node.target, ast.Tuple) else None
    rows = [e.elts[0] for e in node.iter.elts if isinstance(e, ast.Tuple) and e.elts]
    return {first.id: _texts(rows)} if isinstance(first, ast.Name) else {}


def _texts(nodes: Sequence[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


def _names(node: ast.expr, loops: Names) -> list[str]:
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.Name):
        return loops.get(node.id, [])
    if isinstance(node, ast.JoinedStr):  # f"{wire}_usernames"
        found = [""]
        for part in node.values:
            inner = part.value if isinstance(part, ast.FormattedValue) else part
            more = _names(inner, loops)
            found = [before + after for before in found for after in more]
        return found
    return []
