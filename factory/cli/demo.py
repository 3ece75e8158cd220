"""``factory demo``: the whole loop on an example project, in about a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.output import emit, json_option, say


@click.command()
@click.option("--keep", is_flag=True, help="Leave everything running and say how to look at it and how to stop it.")
@click.option("--home", type=click.Path(path_type=Path), help="Where it lives. Default: a new folder, removed after.")
@click.option("--script", type=click.Path(path_type=Path, exists=True), hidden=True, help="Another script of turns.")
@click.option("--approve-myself", is_flag=True, help="Approve the release yourself; it waits for you and says where.")
@json_option
def demo(keep: bool, home: Path | None, script: Path | None, approve_myself: bool, as_json: bool) -> None:
    """Three issues become reviewed, merged pull requests and a release on a forge of their own.

    The release is a risky action: it waits until an admin approved it. The demo does that in the admin's name, and
    says so; --approve-myself leaves it to you.

    Nothing is simulated but the model, whose turns are scripted; its tool calls really happen, in the sandbox.
    """
    import signal
    import tempfile
    import time

    from factory.app.demo import Demo
    from factory.demo.example import SCRIPT

    began = time.monotonic()
    where = home or Path(tempfile.mkdtemp(prefix="factory-demo-"))
    run = Demo(where.absolute(), lambda line: say(f"{time.monotonic() - began:5.1f} s  {line}"), script or SCRIPT)
    run.approve_myself = approve_myself
    finished = False
    # As Ctrl-C: what was started is stopped, and its folder removed.
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        facts = run.run()
        finished = True
    finally:
        run.close(keep=keep)
        for number, handler in before.items():
            signal.signal(number, handler)
        if keep and not finished:
            say(f"kept for a look: FACTORY_HOME={where} factory status   stop it: FACTORY_HOME={where} factory down")
    emit("demo", facts, as_json=as_json, text=lambda told: _text(told, keep))


def _text(told: dict[str, Any], keep: bool) -> str:
    lines = ["", f"{len(told['pulls'])} pull requests merged in {told['seconds']:.0f} s:"]
    for pull in told["pulls"]:
        red = sum(s["state"] == "failure" for s in pull["statuses"])
        asked = sum(r["verdict"] == "REQUEST_CHANGES" for r in pull["reviews"])
        story = [f"CI red {red}x, then fixed" if red else "", "changes asked for and made" if asked else ""]
        lines.append(
            f"  #{pull['number']}  issue #{pull['issue']}  {pull['title']}  merge {pull['merge'][:12]}  "
            + ("; ".join(s for s in story if s) or "straight through")
        )
    action = told["action"]
    if action is None:
        lines.append("  the release that was asked for waits: the vault runs nothing without a sandbox")
    else:
        lines.append(f"  {action['tag']} released once, by an approved action: {', '.join(action['ledger'])}")
    idle = told["idle_tick"]
    lines += [
        f"  model cost at list price, scripted: ${told['cost_usd_scripted']:.2f}",
        f"  an idle tick costs {idle['forge_requests']:g} forge requests, {idle['processes']:g} processes, "
        f"{idle['model_calls']:g} model calls",
    ]
    if keep:
        lines += [
            f"look:     {told['forge']['url']}/{told['project']['repo']}",
            f"          {told['forge']['url']}/{told['ops']['repo']} is the dashboard",
            f"sign in:  {told['login']} / {told['password']}",
            f"stop:     FACTORY_HOME={told['home']} factory down",
        ]
    return "\n".join(lines)
