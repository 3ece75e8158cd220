"""Keep credentials out of messages, logs and exceptions.

A forge echoes what it was sent: Forgejo answers a wrong token with ``access token does not exist [sha: <THE TOKEN>]``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable

_ECHOED = re.compile(r"(\[sha: )[^\]]*(\])")
_HEADER = re.compile(r"(?i)\b(token|bearer|basic)(\s+)[A-Za-z0-9+/=_.-]{16,}")
_USERINFO = re.compile(r"(//)[^/@\s]+@")
MASK = "***"


class Redactor:
    """Masks the given secrets, their Basic-auth forms, echoed tokens and user info in URLs."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({s for s in secrets if s}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        text = _ECHOED.sub(rf"\1{MASK}\2", text)
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        return _USERINFO.sub(rf"\1{MASK}@", text)


def basic_header(user: str, password: str) -> str:
    """The value of ``Authorization`` for Basic authentication."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()
