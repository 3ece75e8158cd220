"""``factory vault fire|simulate``: what an operator does at the dispatcher's host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option, say


@click.command()
@click.argument("id")
@project_option
@json_option
def fire(id: str, project: str | None, as_json: bool) -> None:
    """Have the dispatcher look at action ID now instead of at its next poll.

    Nothing starts that would not start by itself: approval, merge and verification are as always.
    """
    from factory.app.vault_finishing import fire as wake

    facts = wake(deployment(), id, project=project)

    def text(f: Any) -> str:
        heard = "the dispatcher looks now" if f["woken"] else "no dispatcher runs on this host: factory up --detach"
        return f"{f['id']}: {f['stands']}\n  {heard}"

    emit("vault-fire", facts, as_json=as_json, text=text)
    if not facts["woken"]:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="The other policy file.")
@click.option("--since", default="90d", help="How far back: 90d, 36h, 2w.")
@project_option
@json_option
def simulate(policy: Path, since: str, project: str | None, as_json: bool) -> None:
    """What would have gone another way under another policy: tiers, approvers, refusals, waiting.

    The same table is a comment on each pull request that changes vault/policy.toml.
    """
    from factory.app.vault_simulating import simulated

    facts = simulated(deployment(), policy, since, project=project)
    for problem in facts["problems"]:
        say(f"note: {problem}")
    emit("vault-simulation", facts, as_json=as_json, text=lambda f: str(f["text"]))
