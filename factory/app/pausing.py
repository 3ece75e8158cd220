"""Pausing and resuming: the local file first (at once, also without a forge), then its mirror in the ops repo."""

from __future__ import annotations

import getpass
from datetime import datetime

from factory.app.deployment import Deployment
from factory.app.opsrepo import ops_edit
from factory.config.model import DEFAULT_ACCOUNTS
from factory.daemon import pauses
from factory.errors import FactoryError, UsageError
from factory.plan.model import Pause

SCOPES = ("all", "project", *(name for name in DEFAULT_ACCOUNTS if name not in ("factory", "sentinel")))


def _checked(scope: str) -> str:
    if scope not in SCOPES:
        raise UsageError(f"pausing {scope!r}: there is no such scope", hint=f"scopes: {', '.join(SCOPES)}")
    return scope


def pause_scope(deployment: Deployment, scope: str, reason: str, now: datetime) -> bool:
    """Pause now; True when the ops repo holds it too."""
    pause = Pause(_checked(scope), getpass.getuser(), now, reason)
    pauses.put(deployment.state / "pauses", pause)
    return _mirror(deployment, scope, pauses.render(pause), f"Pause {scope}")


def resume_scope(deployment: Deployment, scope: str) -> bool:
    """Lift the pause here and in the ops repo. Raises ForgeError when the ops repo cannot be told."""
    was = pauses.lift(deployment.state / "pauses", _checked(scope))
    for _, ops in deployment.projects():
        was = ops_edit(deployment, ops, {f"pauses/{scope}.toml": None}, f"Resume {scope}") is not None or was
    return was


def _mirror(deployment: Deployment, scope: str, content: bytes, message: str) -> bool:
    try:
        for _, ops in deployment.projects():
            ops_edit(deployment, ops, {f"pauses/{scope}.toml": content}, message)
    except FactoryError:
        return False
    return True
