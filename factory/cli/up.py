"""``factory up``: start the factory, in the foreground or in the background."""

from __future__ import annotations

import click

from factory.cli import here
from factory.cli.output import say


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Start it in the background and return.")
@click.option("--foreground", is_flag=True, hidden=True, help="As the background service itself runs.")
def up(detach: bool, foreground: bool) -> None:
    """Start forge, gateway, daemon and the vault's processes. Ctrl-C or `factory down` stops them; nothing is lost."""
    from factory.app.daemon import run_daemon
    from factory.app.services import ensure_daemon, ensure_forge, ensure_gateway, stop
    from factory.sandbox.select import select

    deployment = here.deployment()
    select(deployment.host.sandbox)
    if deployment.host.sandbox == "none":
        say('warning: host.toml says sandbox = "none": sessions run with all of your own rights')
    ensure_forge(deployment.host)
    if detach:
        ensure_gateway(deployment.host)
        started = ensure_daemon(deployment.host)
        say("the factory is up" if started else "the factory is up already")
        for project, ops in deployment.projects():
            say(f"  {deployment.host.forge_url}/{project}   dashboard: {deployment.host.forge_url}/{ops}")
        say("stop it with: factory down")
        return
    ensure_gateway(deployment.host)
    run_daemon(deployment, say=None if foreground else say)
    if not foreground:
        stop(deployment)
