"""The forge as a set-up may act on it: as its admin, or with what an admin prepared."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from factory.app.asked import Request
from factory.app.deployment import Deployment
from factory.app.prepared import Prepared, observe_as_bots
from factory.config.model import HostConfig
from factory.forge.client import ForgejoClient
from factory.forge.setup.observed import Observed, observe
from factory.forge.wanted import Wanted


@dataclass
class Site:
    """The forge as this set-up may act on it: as its admin, or with what an admin prepared."""

    host: HostConfig
    admin: ForgejoClient | None
    prepared: Prepared | None
    looker: ForgejoClient
    """Asks about repos."""
    accounts: Mapping[str, str]

    def look(self, wanted: Wanted, good: frozenset[str]) -> Observed:
        if self.admin is not None:
            return observe(self.admin, wanted, tokens=good)
        assert self.prepared is not None
        return observe_as_bots(self.prepared, wanted, self.accounts)

    def reader(
        self, stack: ExitStack, kept: frozenset[str], deployment: Deployment, request: Request
    ) -> tuple[str, str]:
        """Login and token to read a repo that is on the forge already."""
        ours = self.accounts["factory"]
        if self.prepared is not None:
            return ours, self.prepared.tokens.get(ours, "")
        if ours in kept:
            return ours, deployment.token(ours)
        if request.admin_token:
            return "admin", request.admin_token
        assert self.admin is not None
        # The embedded forge's own admin, for the moment: before the first set-up nobody else has a token.
        login, name = self.admin.me().login, f"moment-{secrets.token_hex(6)}"
        lent = self.admin.create_token(login, name=name, scopes=("read:repository",))
        stack.callback(self.admin.ask, "DELETE", f"/users/{login}/tokens/{name}", doing=f"taking back {login}'s token")
        return login, lent
