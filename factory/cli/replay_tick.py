"""``factory replay-tick``: recompute the plan of a recorded tick."""

from __future__ import annotations

from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, moment, project_option


@click.command("replay-tick")
@click.argument("number", required=False, type=click.IntRange(min=1))
@project_option
@json_option
def replay_tick(number: int | None, project: str | None, as_json: bool) -> None:
    """Decide tick NUMBER (default: the last) again from what it saw, and compare. Exit code 1 when the plan differs."""
    from factory.app.explaining import replayed

    facts = replayed(here.deployment(), number, project=project)

    def text(f: Any) -> str:
        lines = [f"tick {f['tick']} of {f['project']}, {moment(f['at'])}"]
        lines += [f"  effect  {e['subject']}: {e['kind']}: {e['reason']}" for e in f["effects"]]
        for skip in f["skips"]:
            clears = f" (cleared by {skip['clears']})" if skip["clears"] else ""
            lines.append(f"  skip    {skip['subject']}: {skip['rule']}: {skip['reason']}{clears}")
        if not f["effects"] and not f["skips"]:
            lines.append("  nothing to do")
        plan = f["plan"]
        if f["same"]:
            lines.append(f"the same plan again: sha256 {plan['recorded'][:16]}")
        else:
            lines.append(f"ANOTHER plan: recorded {plan['recorded'][:16]}, now {plan['recomputed'][:16]}")
        return "\n".join(lines)

    emit("replay-tick", facts, as_json=as_json, text=text)
    if not facts["same"]:
        raise click.exceptions.Exit(1)
