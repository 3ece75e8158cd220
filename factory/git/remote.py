"""Where to talk to and what to ask for: a remote with its login, and one ref of a push."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from factory.errors import UsageError
from factory.git.plumbing import redacted
from factory.git.refs import need_oid, need_ref

_SCP_LIKE = re.compile(r"(?:[A-Za-z0-9_.][A-Za-z0-9_.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?!//)[^\s].*")


@dataclass(frozen=True)
class Remote:
    """Where to talk to, and as whom. ``ssh_auth_sock`` lends a person's agent for importing their repo over ssh."""

    url: str
    username: str = ""
    token: str = field(default="", repr=False)
    ssh_auth_sock: str | None = None

    def __post_init__(self) -> None:
        scheme = self.scheme  # refuses what is no URL we speak
        if scheme in ("http", "https"):
            parts = urlsplit(self.url)
            if parts.username is not None or parts.password is not None:
                raise UsageError(
                    f"{redacted(self.url)}: the URL holds a login", hint="use Remote.parse, which takes it out"
                )
        if any(ord(letter) < 32 for letter in self.url + self.username + self.token):
            raise UsageError(f"{redacted(self.url)!r}: control characters in a URL or a login")

    @classmethod
    def parse(cls, url: str, *, username: str = "", token: str = "", ssh_auth_sock: str | None = None) -> Remote:
        """As the constructor, with a login inside an http(s) URL taken out of it."""
        parts = urlsplit(url) if url.startswith(("http://", "https://")) else None
        if parts is not None and (parts.username is not None or parts.password is not None):
            username = username or unquote(parts.username or "")
            token = token or unquote(parts.password or "")
            bare = SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query, parts.fragment)
            url = urlunsplit(bare)
        return cls(url, username, token, ssh_auth_sock)

    @property
    def scheme(self) -> str:
        """``http``, ``https``, ``ssh`` or ``file``; UsageError for anything else (``ext::`` would run a command)."""
        for scheme in ("http", "https", "ssh", "file"):
            if self.url.startswith(f"{scheme}://"):
                return scheme
        if self.url.startswith("/"):
            return "file"
        if "::" not in self.url and _SCP_LIKE.fullmatch(self.url):
            return "ssh"
        raise UsageError(
            f"{redacted(self.url)!r} is not a repo address",
            hint="use http(s)://, ssh://, user@host:path or an absolute path",
        )

    @property
    def origin(self) -> str:
        """Scheme, host and port of an http(s) URL: all that a credential is valid for."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


@dataclass(frozen=True)
class RefUpdate:
    """One ref of a push: from ``expected`` (None: it must not exist) to ``new`` (None: delete it)."""

    ref: str
    new: str | None
    expected: str | None

    def __post_init__(self) -> None:
        need_ref(self.ref)
        for oid in (self.new, self.expected):
            if oid is not None:
                need_oid(oid)
