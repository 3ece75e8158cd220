"""``factory down``: stop daemon, gateway and embedded forge."""

from __future__ import annotations

import click

from factory.cli import here
from factory.cli.output import emit, json_option


@click.command()
@json_option
def down(as_json: bool) -> None:
    """Stop the factory. Sessions in flight go on and are picked up by the next `factory up`."""
    from factory.app.services import stop

    stopped = stop(here.deployment())
    emit(
        "down",
        {"stopped": list(stopped)},
        as_json=as_json,
        text=lambda _: f"stopped: {', '.join(stopped)}" if stopped else "nothing was running",
    )
