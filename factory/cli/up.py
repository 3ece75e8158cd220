"""``factory up``: start the factory, in the foreground or in the background."""

from __future__ import annotations

from contextlib import ExitStack

import click

from factory.cli import here
from factory.cli.output import say


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Start it in the background and return.")
@click.option("--foreground", is_flag=True, hidden=True, help="As the background service itself runs.")
def up(detach: bool, foreground: bool) -> None:
    """Start forge, gateway, daemon and the vault's processes. Ctrl-C or `factory down` stops them; nothing is lost."""
    from factory.app.services import ensure_daemon, ensure_forge, ensure_gateway, stop_one
    from factory.sandbox.select import select

    deployment = here.deployment()
    select(deployment.host.sandbox)
    if deployment.host.sandbox == "none":
        say('warning: host.toml says sandbox = "none": sessions run with all of your own rights')
    with ExitStack() as undo:  # one that cannot go on leaves nothing running that did not run before
        if ensure_forge(deployment.host):
            undo.callback(stop_one, deployment, "forge")
        if ensure_gateway(deployment.host):
            undo.callback(stop_one, deployment, "gateway")
        if not detach:
            # Takes half a second, which who starts it in the background need not wait.
            from factory.app.daemon import run_daemon

            run_daemon(deployment, say=None if foreground else say, stop_all=not foreground)
            return
        started = ensure_daemon(deployment.host)
        undo.pop_all()
    say("the factory is up" if started else "the factory is up already")
    for project, ops in deployment.projects():
        say(f"  {deployment.host.forge_url}/{project}   dashboard: {deployment.host.forge_url}/{ops}")
    say("stop it with: factory down")
