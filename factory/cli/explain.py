"""``factory explain``: what is in the way of an issue, a pull request or a vault action, and who can clear it."""

from __future__ import annotations

import re
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, moment, money, project_option, say


class Which(click.types.IntRange):
    """A number from 1; or the id of a vault action, which has a dash in it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(?:[-+][a-z0-9]+)+", value):
            return value
        return super().convert(value, param, ctx)


@click.command()
@click.argument("kind", type=click.Choice(["issue", "pull", "action"]))
@click.argument("number", type=Which(min=1), metavar="NUMBER")
@project_option
@json_option
def explain(kind: str, number: int | str, project: str | None, as_json: bool) -> None:
    """What is the state of issue or pull request NUMBER, the first thing in its way, who can clear it, and its cost.

    It asks the plan that the last tick decided, so it says nothing else than what is done. For a vault action NUMBER is
    its id, or a part of it with a dash; the answer is that of `factory vault show`.
    """
    from factory.app.explaining import explained
    from factory.errors import UsageError

    if kind == "action":
        from factory.app.vault_showing import shown
        from factory.cli.vault import told as action

        emit("vault", shown(here.deployment(), str(number), project=project), as_json=as_json, text=action)
        return
    if isinstance(number, str):
        hint = f"factory explain action {number}"
        raise UsageError(f"explaining {kind} {number}: that is the id of an action", hint=hint)
    facts = explained(here.deployment(), kind, number, project=project)
    if not facts["same_plan"]:
        say("note: the daemon decided with another version of the factory: `factory down`, then `factory up --detach`")
    emit("explain", facts, as_json=as_json, text=told)


def told(facts: Any) -> str:
    """The explanation in words."""
    lines = [
        f"{facts['kind']} #{facts['number']}: {facts['state']}   {facts['title']}",
        f"  {facts['url']}",
    ]
    if facts["reason"]:
        lines.append(f"  in the way   {facts['reason']}  [{facts['rule']}]")
        if facts["clears"]:
            lines.append(f"  cleared by   {facts['clears']}")
        if facts["since"]:
            lines.append(f"  since        {moment(facts['since'])}")
    lines += [f"  now          {doing}" for doing in facts["doing"]]
    for run in facts["runs"]:
        ended = f"{run['state']}" + (f" ({run['cause']})" if run["cause"] else "")
        lines.append(f"  run          {run['run']}  {run['formula']} round {run['round']}: {ended}")
    lines += [f"  vault        {action['id']} {action['state']}" for action in facts["actions"]]
    lines.append(f"  cost so far  {money(facts['cost_usd'], facts['scripted'])}")
    if facts["pull_explanation"] is not None:
        lines.append(told({**facts["pull_explanation"], "runs": []}))
    else:
        lines.append(f"  as of        tick {facts['tick']}, {moment(facts['as_of'])}")
    return "\n".join(lines)
