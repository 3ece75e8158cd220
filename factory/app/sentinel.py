"""The sentinel of one host: ``python -m factory.app.sentinel --home HOME`` watches all its ops repos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from factory.app import projects
from factory.app.beats import BeatFile, to_log
from factory.app.deployment import Deployment
from factory.app.places import sentinel_door, vault_folder
from factory.config.model import DEFAULT_ACCOUNTS
from factory.daemon.wake import Wake
from factory.errors import ConfigInvalid, FactoryError
from factory.forge.values import RepoName
from factory.ops.routes import unprotected_patterns
from factory.vault.watch.sentinel import POLL_S, Post, Sentinel
from factory.vault.watch.settings import Expected

SERVICE = "sentinel"


def run_sentinel(deployment: Deployment, poll_seconds: float = POLL_S) -> None:
    """Watch until SIGTERM or SIGINT. Raises ConfigInvalid where a project is not set up to its end, UsageError where
    the vault is not of this home."""
    deployment.require_vault("starting a sentinel")
    wake, beat = Wake(), BeatFile(deployment.state, SERVICE)
    sentinel = Sentinel(
        posts=[post(deployment, project, ops) for project, ops in deployment.projects()],
        door=sentinel_door(deployment.state),
        sleep=wake.sleep,
        stopped=lambda: wake.stop,
        said=to_log,
        beat=lambda: beat.write(
            {
                "polls": sentinel.polls,
                "asked": sentinel.asked,
                "requests": sum(client.requests for client in deployment.clients()),
                "poll_seconds": poll_seconds,
                "trouble": sentinel.trouble,
            }
        ),
        poll_seconds=poll_seconds,
    )
    with wake.on_signals():
        sentinel.run()


def post(deployment: Deployment, project: RepoName, ops: RepoName) -> Post:
    """What is watched of one project, as its own account sees it."""
    known = projects.load(deployment.state, project)
    if known is None:
        raise ConfigInvalid(f"watching {ops}: its set-up is not complete", hint="run the same `factory init` again")
    accounts = {**DEFAULT_ACCOUNTS, **known.accounts}
    expected = Expected(ops, known.ops_id, accounts, unprotected_patterns())
    return Post(expected, deployment.forge(accounts["sentinel"]), vault_folder(deployment.state, str(ops)))


def main(argv: Sequence[str]) -> int:
    """The process. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="factory.app.sentinel")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--poll", type=float, default=POLL_S, help="seconds between two looks that nobody asked for")
    given = parser.parse_args(argv)
    try:
        run_sentinel(Deployment.open(given.home), given.poll)
    except FactoryError as error:
        to_log(f"{error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
