"""Building ``inside.pyz``: the part of a session that runs in the sandbox, as one file."""

from __future__ import annotations

from pathlib import Path

from factory.sandbox import pyz

_INSIDE = Path(__file__).with_name("inside")
_PACKAGE = "factory.session.inside"


def build(cache: Path, *, source: Path = _INSIDE) -> Path:
    """The .pyz below ``cache``, made if it is not there; see ``pyz.build``."""
    return pyz.build(cache, f"{_PACKAGE}.__main__", {_PACKAGE: source})
