"""``factory session exec RUN``: what the daemon (or a cluster worker) starts for one run."""

from __future__ import annotations

import click

from factory.cli import here


@click.group()
def session() -> None:
    """Execute one run's session."""


@session.command("exec")
@click.argument("run")
def exec_(run: str) -> None:
    """Execute RUN, which this host was told of, to its end."""
    from factory.app.session import exec_session

    exec_session(run, here.deployment())
