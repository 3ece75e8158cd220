"""Where the links of a text lead: relative ones into the repo at the ref the text was read from. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from factory.devforge.pages.visit import address

ANCHOR = "text-"
"""Put before every id a text defines: a text must not be able to name a part of the page around it."""
_SCHEMES = ("http", "https", "mailto")
_JUNK = re.compile(r"[\x00-\x20\x7f]+")

IssueAddress = Callable[[str, str, int], str]
"""(owner, repo, number) to the page's address; '' when there is none the reader may see. Empty names: this repo."""


def no_issue(_owner: str, _repo: str, _number: int) -> str:
    return ""


@dataclass(frozen=True)
class Place:
    """``files`` and ``raw`` are the segments before a path (``owner, repo, "src", "branch", "main"``); ``folder`` the
    folder of the text inside the repo."""

    files: tuple[str, ...]
    raw: tuple[str, ...]
    folder: str = ""
    issue: IssueAddress = no_issue

    def link(self, target: str) -> str:
        """Where a link leads; '' for one that is dropped (javascript:, data: and whatever else is no web address)."""
        return self._resolved(target, self.files)

    def image(self, target: str) -> str:
        """The address of a picture of this repo; '' for any other."""
        clean = _clean(target)
        if _scheme(clean) or clean.startswith("//") or not clean or clean.startswith("#"):
            return ""
        return self._resolved(clean, self.raw)

    def _resolved(self, target: str, before: tuple[str, ...]) -> str:
        clean = _clean(target)
        scheme = _scheme(clean)
        if scheme:
            return clean if scheme in _SCHEMES else ""
        if clean.startswith("//"):
            return "https:" + clean
        if clean.startswith("#"):
            return f"#{ANCHOR}{clean[1:]}"
        try:
            parts = urlsplit(clean)
        except ValueError:
            return ""
        path = unquote(parts.path)
        start = "" if path.startswith("/") else self.folder
        inside = posixpath.normpath(posixpath.join("/", start, path.lstrip("/"))).strip("/")
        anchor = f"#{ANCHOR}{parts.fragment}" if parts.fragment else ""
        return address(*before, inside) + anchor


def _clean(target: str) -> str:
    """As a browser reads it: white space and control characters inside do not count, a backslash is a slash."""
    return _JUNK.sub("", target).replace("\\", "/")


def _scheme(clean: str) -> str:
    """The scheme, '' for a relative link. Whatever stands before a colon in the first segment is one."""
    head, colon, _ = clean.partition(":")
    return head.lower() if colon and "/" not in head and "?" not in head and "#" not in head else ""
