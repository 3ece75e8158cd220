"""``factory doctor``: prove that this machine and this deployment are sound."""

from __future__ import annotations

from typing import Any

import click

from factory.cli.output import emit, json_option

MARKS = {"ok": "ok     ", "note": "note   ", "problem": "PROBLEM"}


@click.command()
@click.option("--verbose", "-v", is_flag=True, help="Show each wall of the sandbox, also where it holds.")
@json_option
def doctor(verbose: bool, as_json: bool) -> None:
    """Look at this machine, this deployment, the forge and the projects; attack the sandbox from inside.

    Changes nothing. Exit code 1 when something is wrong, each with what to do about it.
    """
    from dataclasses import asdict
    from datetime import UTC, datetime

    from factory.app.doctor.look import look
    from factory.config.home import factory_home

    findings = [asdict(found) for found in look(factory_home(), datetime.now(UTC))]
    wrong = sum(found["state"] == "problem" for found in findings)
    facts = {"home": str(factory_home()), "problems": wrong, "findings": findings}
    emit("doctor", facts, as_json=as_json, text=lambda f: _text(f, verbose))
    if wrong:
        raise click.exceptions.Exit(1)


def _text(facts: Any, verbose: bool) -> str:
    lines = []
    for found in facts["findings"]:
        if found["state"] == "ok" and found["name"].startswith("wall ") and not verbose:
            continue
        lines.append(f"{MARKS[found['state']]}  {found['area']}: {found['name']}: {found['detail']}")
        if found["hint"]:
            lines.append(f"         hint: {found['hint']}")
    count = facts["problems"]
    lines.append("all is well" if not count else f"{count} problem{'s' * (count != 1)}")
    return "\n".join(lines)
