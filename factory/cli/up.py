"""``factory up``: start the factory, in the foreground or in the background."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from factory.cli import here
from factory.cli.output import say

if TYPE_CHECKING:
    from factory.app.deployment import Deployment


@click.command()
@click.option("--detach", "-d", is_flag=True, help="Start it in the background and return.")
@click.option("--foreground", is_flag=True, hidden=True, help="As the background service itself runs.")
@click.option("--print-unit", is_flag=True, help="Start nothing: print a systemd unit for this home and this user.")
def up(detach: bool, foreground: bool, print_unit: bool) -> None:
    """Start forge, gateway, daemon and the vault's processes. Ctrl-C or `factory down` stops them; nothing is lost.

    Of these, what this home runs: where the vault has a home of its own, its processes start there, and all else here.
    """
    from factory.app.services import ensure_daemon, ensure_forge, ensure_gateway, stop_one
    from factory.errors import UsageError
    from factory.sandbox.select import select

    deployment = here.deployment()
    if print_unit:
        from factory.app.units import unit

        click.echo(unit(deployment.host, shutil.which("factory"), os.environ.get("PATH", "")), nl=False)
        return
    if deployment.host.runs == "nothing":
        deployment.require_vault("starting the vault")
    if detach and foreground:
        raise UsageError("starting the factory: --detach or in the foreground, not both")
    select(deployment.host.sandbox)
    if deployment.host.sandbox == "none":
        say('warning: host.toml says sandbox = "none": sessions run with all of your own rights')
    if deployment.host.runs == "vault":
        _vault(deployment, detach=detach, foreground=foreground)
        return
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


def _vault(deployment: Deployment, *, detach: bool, foreground: bool) -> None:
    """The home is the vault's alone."""
    if not detach:
        from factory.app.keeper import run_keeper

        run_keeper(deployment, say=None if foreground else say, stop_all=not foreground)
        return
    from factory.app.services import ensure_daemon

    say("the vault is up" if ensure_daemon(deployment.host) else "the vault is up already")
    say("stop it with: factory down")
