"""``factory agents``: who works here, with what, and how it is going."""

from __future__ import annotations

from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, moment, money, say, table


@click.command()
@json_option
def agents(as_json: bool) -> None:
    """Hired agents with their state, cost (35 days) and last run; and all roles, with who fills them."""
    from factory.app.agents import agents as facts_of

    facts = facts_of(here.deployment())
    for note in facts["notes"]:
        say(f"note: {note}")
    emit("agents", facts, as_json=as_json, text=_text)


def _text(facts: Any) -> str:
    hired = [
        (
            agent["name"],
            agent["backend"] + (" (recording)" if agent["replay"] else ""),
            agent["model"],
            ", ".join(agent["roles"]),
            agent["state"],
            money(agent["cost_usd"], agent["scripted"]),
            _last(agent["last_run"]),
        )
        for agent in facts["agents"]
    ]
    lines = [table(("agent", "backend", "model", "roles", "state", "cost", "last run"), hired)]
    if not hired:
        lines = ["nobody is hired yet: factory hire claude-code"]
    lines += [f"  {a['name']}: {a['trouble']}" for a in facts["agents"] if a["trouble"]]
    lines += [f"  {a['name']}: holds a login of its own" for a in facts["agents"] if a["holds_login"]]
    lines += [f"  {a['name']}: works here, not shared yet" for a in facts["agents"] if not a["shared"]]
    roles = [
        (
            role["name"],
            "active" if role["active"] else "not yet active",
            ", ".join(role["agents"]),
            role["account"],
            ", ".join(role["formulas"]),
        )
        for role in facts["roles"]
    ]
    return "\n".join([*lines, "", table(("role", "state", "filled by", "account", "formulas"), roles)])


def _last(run: Any) -> str:
    return f"{run['state']} at {moment(run['at'])}" if run else ""
