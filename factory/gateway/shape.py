"""Small checks of JSON shapes, shared by the two allowlists; each raises ``Refused`` naming the place."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, NoReturn

from factory.gateway.dialogue import Json, Refused

MAX_DEPTH = 100
"""Levels of lists and objects; a conversation with a tool's schema has about 15."""


def parse(raw: bytes) -> Json:
    """A JSON object from untrusted bytes. NaN, lone surrogates and bottomless nesting are refused."""

    def constant(name: str) -> NoReturn:
        raise Refused(f"{name} is not JSON")

    try:
        value = json.loads(raw, parse_constant=constant)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except RecursionError as error:
        raise Refused("the request is nested too deeply") from error
    except ValueError as error:
        raise Refused(f"the request is not JSON: {str(error)[:200]}") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for one in level for item in _inside(one)]
        if not level:
            return obj(value, "request")
    raise Refused("the request is nested too deeply")


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def only(value: Json, allowed: frozenset[str], where: str) -> None:
    if unknown := sorted(set(value) - allowed):
        shown = ", ".join(repr(name[:60]) for name in unknown[:8])
        raise Refused(f"{where}: field {shown} is not on the gateway's allowlist")


def obj(value: Any, where: str) -> Json:
    if not isinstance(value, dict):
        raise Refused(f"{where} must be an object")
    return value


def array(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise Refused(f"{where} must be a list")
    return value


def text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(f"{where} must be a text")
    return value


def flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise Refused(f"{where} must be true or false")
    return value


def number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{where} must be a number")
    return value


def whole(value: Any, where: str, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise Refused(f"{where} must be a whole number of at least {least}")
    return value


DATA_URL = re.compile(r"^data:image/(png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*$")
