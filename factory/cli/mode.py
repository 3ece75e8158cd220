"""``factory mode``: show or propose what the factory may do."""

from __future__ import annotations

from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, project_option, say

MEANING = {
    "observe": "it looks and writes nothing but its report",
    "suggest": "it opens pull requests and never merges",
    "merge": "it merges what its gate allows",
}


@click.command()
@click.argument("mode", required=False, type=click.Choice(list(MEANING)))
@project_option
@json_option
def mode(mode: str | None, project: str | None, as_json: bool) -> None:
    """Show the project's mode, or propose MODE: a pull request for you to approve.

    observe: it looks and writes nothing but its report. suggest: it opens pull requests and never merges. merge: it
    merges what its gate allows.
    """
    from factory.app.editing import change_mode, mode_facts
    from factory.cli.edit import told
    from factory.config.model import Mode

    deployment = here.deployment()
    if mode is None:
        facts = mode_facts(deployment, project=project)
        if facts["stale"]:
            say(f"note: {facts['stale']}")
        emit("mode", facts, as_json=as_json, text=_shown)
        return
    facts = {"mode": mode, **change_mode(deployment, Mode(mode), project=project)}
    emit("mode", facts, as_json=as_json, text=lambda f: f"mode {mode} already" if f["route"] == "none" else told(f))
    if facts["route"] == "person":
        say("it takes effect after you approve it there")


def _shown(facts: Any) -> str:
    now = facts["mode"]
    lines = [f"{facts['project']}: {now} ({MEANING.get(now, 'not known')})"]
    if facts["in_force"] not in (None, now):
        lines.append(f"the last tick still acted by: {facts['in_force']}")
    return "\n".join(lines)
