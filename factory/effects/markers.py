"""Invisible markers by which the factory knows its own comments, reviews and issues again: a retry never doubles.

A marker is an HMAC of (run or effect, sequence, kind) under a key the hosts share, in an HTML comment. It counts only
where the poster is the account that would have posted it; agent text cannot carry one, because comments are stripped
from it (``plan.agent_text``).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import Protocol, TypeVar

from factory.forge.values import User

_LINE = re.compile(r"\n*<!-- factory:[a-z-]+ \S+ [0-9a-f]{32} -->\s*\Z")


class Posted(Protocol):
    """A comment, review or issue: somebody's text."""

    @property
    def author(self) -> User: ...
    @property
    def body(self) -> str: ...


P = TypeVar("P", bound=Posted)


class Markers:
    """``key``: at least 16 bytes, shared by the hosts of one deployment, never posted."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("a marker key needs at least 16 bytes")
        self._key = key

    def make(self, origin: str, sequence: int, kind: str) -> str:
        """The marker of the post number ``sequence`` of this kind that ``origin`` (a run or an effect) causes."""
        told = f"{origin}\n{sequence}\n{kind}".encode()
        mac = hmac.new(self._key, told, hashlib.sha256).hexdigest()[:32]
        return f"<!-- factory:{kind} {origin} {mac} -->"

    def find(self, marker: str, posts: Iterable[P], account: str) -> P | None:
        """The oldest of ``posts`` by ``account`` that ends with this marker."""
        for post in posts:
            if post.author.login.lower() == account.lower() and post.body.rstrip().endswith(marker):
                return post
        return None


def mark(body: str, marker: str) -> str:
    return f"{body.rstrip()}\n\n{marker}"


def unmarked(body: str) -> str:
    """The text without the marker at its end."""
    return _LINE.sub("", body)
