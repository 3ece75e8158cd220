"""``factory status``: what runs, what waits, what it costs."""

from __future__ import annotations

from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, moment, money
from factory.errors import Problem

PROBLEMS_SHOWN = 5


@click.command()
@json_option
def status(as_json: bool) -> None:
    """What runs, what waits and why, what needs you, what it costs. Answers without the forge and the daemon, too."""
    from factory.app.status import status as facts_of

    emit("status", facts_of(here.deployment()), as_json=as_json, text=_text)


def _text(facts: Any) -> str:
    if facts["runs"] in ("vault", "nothing"):
        lines = [_up_vault(facts), *_vault(facts["vault"]), *_mirrors(facts["ledger_mirrors"])]
        return "\n".join([*lines, f"forge {facts['addresses']['forge']}"])
    lines = [_up(facts), _needs(facts)]
    for project in facts["projects"]:
        lines += ["", *_project(project)]
    lines += ["", _ticks(facts["recent_ticks"]), *_vault(facts["vault"]), *_mirrors(facts["ledger_mirrors"])]
    lines += _channels(facts["notify"])
    if facts["runs"] == "daemon":
        lines.append("vault: it runs as another user, from a home of its own; `factory status` there tells of it")
    lines.append(f"forge {facts['addresses']['forge']}   run logs {facts['addresses']['web']}")
    return "\n".join(lines)


def _up(facts: Any) -> str:
    services = ", ".join(f"{s['name']} {s['pid'] or 'down'}" for s in facts["services"])
    if not facts["up"]:
        return f"the factory is down ({services}); start it with: factory up --detach"
    daemon = facts["daemon"]
    trouble = f"\ntrouble: {daemon['trouble']}" if daemon["trouble"] else ""
    bare = "\nwarning: no sandbox: sessions run with all of your own rights" if facts["sandbox"] == "none" else ""
    return f"up since {moment(daemon['started'])} on {facts['host']} ({services}){trouble}{bare}"


def _up_vault(facts: Any) -> str:
    if facts["runs"] == "nothing":
        return "the vault has moved out of this home; nothing runs here"
    services = ", ".join(f"{s['name']} {s['pid'] or 'down'}" for s in facts["services"])
    if not facts["up"]:
        return f"the vault is down ({services}); start it with: factory up --detach"
    daemon = facts["daemon"]
    trouble = f"\ntrouble: {daemon['trouble']}" if daemon["trouble"] else ""
    return f"the vault is up since {moment(daemon['started'])} on {facts['host']} ({services}){trouble}"


def _needs(facts: Any) -> str:
    count = facts["needs_you"]
    if count:
        return f"{count} thing{'s' * (count != 1)} need{'s' * (count == 1)} you"
    unseen = [project["project"] for project in facts["projects"] if project["trouble"]]
    return f"what needs you is not known yet: {', '.join(unseen)}" if unseen else "Nothing needs you"


def _project(project: Any) -> list[str]:
    lines = [f"{project['project']}   mode {project['mode'] or 'not known yet'}   {project['dashboard']}"]
    paused = [
        f"  paused   {p['scope']} by {p['by']}" + (f": {p['reason']}" if p["reason"] else "") for p in project["paused"]
    ]
    if project["trouble"]:
        return [*lines, f"  {project['trouble']}", *paused]
    lines += _problems(project["problems"])
    if project["same_plan"] is False:
        lines.append("  the daemon decides with another version of the factory: `factory down`, `factory up --detach`")
    lines += paused
    for need in project["needs_you"]:
        lines.append(f"  you      {need['act']}: {need['title']}" + (f" ({need['why']})" if need["why"] else ""))
        lines.append(f"           {need['url']}")
    lines += [f"  vault    {words}" for words in project["vault"]]
    for run in project["running"]:
        dead = "   its session is over; the next tick sees what came of it" if run["alive"] is False else ""
        lines.append(f"  running  {run['formula']}: {run['title']}   {run['agent']}, {run['run']}{dead}")
    lines += [f"  waiting  {item['title']}: {item['reason']}" for item in project["waiting"]]
    for done in project["merged"]:
        lines.append(f"  merged   #{done['number']} {done['title']}   {money(done['cost_usd'], done['scripted'])}")
    spending = [f"{name} ${s['spent_usd']:.2f} of ${s['limit_usd']:.0f}" for name, s in project["spending"].items()]
    lines.append(f"  spent    {', '.join(spending)}")
    lines += [f"  agent    {a['name']} cannot start: {a['trouble']}" for a in project["agents"] if a["trouble"]]
    lines.append(f"  as of    tick {project['tick']}, {moment(project['as_of'])}")
    return lines


def _problems(problems: Any) -> list[str]:
    if not problems:
        return []
    shown = [f"  problem  {Problem(p['path'], p['line'], p['message'])}" for p in problems[:PROBLEMS_SHOWN]]
    return [*shown, "           all of them, and what would be right: factory check"]


def _vault(watches: Any) -> list[str]:
    """What watches and starts for the vault, with what its looks have cost so far."""
    lines = []
    for watch in watches:
        if not watch["up"]:
            trouble = f"; {watch['trouble']}" if watch["trouble"] else ""
            lines.append(f"vault: the {watch['service']} is down: nothing that waits for approval can start{trouble}")
            continue
        cost = [f"{watch['polls']} looks", f"{watch['requests']} forge requests"]
        cost += [f"{watch['git']} git commands to the forge"] if "git" in watch else []
        cost += [f"{watch['asked']} asked for"] if watch.get("asked") else []
        trouble = f"; trouble: {watch['trouble']}" if watch["trouble"] else ""
        lines.append(f"vault: {watch['service']} since {moment(watch['started'])}: {', '.join(cost)}{trouble}")
    return lines


def _mirrors(found: Any) -> list[str]:
    lines = []
    for one in found:
        said = f"trouble: {one['alarm']}" if one["alarm"] else one["standing"]
        lines.append(f"vault: ledger mirror of {one['ops']} as of {moment(one['at'])}: {said}")
    return lines


def _channels(found: Any) -> list[str]:
    lines = []
    for one in found:
        waits = f", {one['waiting']} to tell" if one["waiting"] else ""
        said = f"trouble: {one['trouble']}" if one["trouble"] else "well"
        last = f" last {moment(one['last'])}" if one["last"] else " nothing told yet"
        lines.append(f"notify: {one['name']} ({one['place']}){last}{waits}: {said}")
    return lines


def _ticks(recent: Any) -> str:
    if not recent:
        return "no tick yet"
    rows = " ".join(f"{t['forge_requests']}/{t['processes']}/{t['model_calls']}" for t in recent)
    return f"last {len(recent)} ticks, forge requests/processes/model calls: {rows}"
