"""``factory pause`` and ``factory resume``: stop all, the project or a role at once; go on again."""

from __future__ import annotations

import click

from factory.cli import here
from factory.cli.output import emit, json_option

SCOPE_HELP = "all, project, or a role (dev, reviewer, ...)"


@click.command()
@click.argument("scope", default="all")
@click.option("--reason", default="", help="Why, for whoever looks.")
@json_option
def pause(scope: str, reason: str, as_json: bool) -> None:
    """Stop SCOPE (all, project, or a role) from starting anything, at once; works without the forge."""
    from datetime import UTC, datetime

    from factory.app.pausing import pause_scope

    deployment = here.deployment()
    mirrored = pause_scope(deployment, scope, reason, datetime.now(UTC))
    emit(
        "pause",
        {"scope": scope, "mirrored": mirrored},
        as_json=as_json,
        text=lambda _: f"paused: {scope}" + ("" if mirrored else " (here; the forge is told when it answers)"),
    )


@click.command()
@click.argument("scope", default="all")
@json_option
def resume(scope: str, as_json: bool) -> None:
    """Go on with SCOPE after a pause."""
    from factory.app.pausing import resume_scope

    was = resume_scope(here.deployment(), scope)
    emit("resume", {"scope": scope, "was_paused": was}, as_json=as_json,
         text=lambda _: f"resumed: {scope}" if was else f"{scope} was not paused")  # fmt: skip
