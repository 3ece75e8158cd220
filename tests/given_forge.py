"""The real Forgejo that tests are given: its address in ``FACTORY_TEST_FORGEJO``, its admin in a file that
``FACTORY_TEST_FORGEJO_ADMIN`` names (one line, ``user:password``), or in that variable itself."""

from __future__ import annotations

import os
from pathlib import Path


def address() -> str:
    return os.environ["FACTORY_TEST_FORGEJO"].rstrip("/")


def admin() -> tuple[str, str]:
    """Login and password of a site admin. Raises ValueError for what is neither such a file nor such a pair."""
    told = os.environ.get("FACTORY_TEST_FORGEJO_ADMIN", "")
    line = Path(told).read_text(encoding="utf-8").strip() if told and Path(told).is_file() else told
    user, colon, password = line.partition(":")
    if not (user and colon and password) or "\n" in line:
        raise ValueError("FACTORY_TEST_FORGEJO_ADMIN names no file with a line user:password, and is no such pair")
    return user, password
