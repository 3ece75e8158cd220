"""Acting for a person at the embedded forge's own machine: a token for the moment, never stored, taken back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from factory.app.deployment import Deployment
from factory.app.setup import admin_of
from factory.errors import ForgeRefused, PolicyDenied
from factory.forge.client import ForgejoClient

SCOPES = ("write:issue", "write:repository", "read:user")


@contextmanager
def as_person(deployment: Deployment, login: str, token: str | None = None) -> Iterator[ForgejoClient]:
    """The forge as ``login``.

    With ``token`` it is that one. Without, only the embedded forge's own socket can lend one: it is minted now and
    deleted when the body ends. Raises PolicyDenied on a forge elsewhere.
    """
    if token is not None:
        with ForgejoClient(deployment.host.forge_url, token) as client:
            yield client
        return
    if not deployment.host.embedded:
        raise PolicyDenied(
            f"acting as {login} on {deployment.host.forge_url}: that takes {login}'s own token",
            hint="make one on the forge (Settings, Applications) and pass --token-file FILE; it is not stored",
        )
    with admin_of(deployment.host, None) as admin:
        name = f"moment-{secrets.token_hex(6)}"
        lent = admin.create_token(login, name=name, scopes=SCOPES)
        try:
            with ForgejoClient(deployment.host.forge_url, lent) as client:
                yield client
        finally:
            try:
                admin.send("DELETE", f"/users/{login}/tokens/{name}", doing=f"taking back {login}'s token")
            except ForgeRefused as error:
                if error.status != 404:
                    raise
