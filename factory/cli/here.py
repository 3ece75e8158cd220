"""The deployment that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from factory.app.deployment import Deployment


def deployment() -> Deployment:
    """The one in ``$FACTORY_HOME``; its connections end with the command. Raises ConfigInvalid where there is none."""
    from factory.app.deployment import Deployment

    found = Deployment.open()
    click.get_current_context().call_on_close(found.close)
    return found
