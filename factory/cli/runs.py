"""``factory runs``: list, show, read and cancel runs."""

from __future__ import annotations

from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, moment, money, project_option, say, table


@click.group()
def runs() -> None:
    """Runs: what the factory did and does."""


@runs.command("list")
@click.option("--live", is_flag=True, help="Only those that have not ended.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="At most so many.")
@project_option
@json_option
def list_(live: bool, limit: int, project: str | None, as_json: bool) -> None:
    """Runs, the newest first."""
    from factory.app.runs import list_runs

    facts = list_runs(here.deployment(), project=project, live=live, limit=limit)
    _notes(facts)

    def text(f: Any) -> str:
        rows = [
            (
                run["run"],
                run["formula"],
                _subject(run),
                run["round"],
                _state(run),
                run["agent"] or "code",
                f"{run['seconds']:.1f} s" if run["seconds"] is not None else "",
                money(run["cost_usd"], run["scripted"]),
            )
            for run in f["runs"]
        ]
        head = ("run", "formula", "about", "round", "state", "by", "time", "cost")
        return table(head, rows) if rows else ("nothing runs" if live else "no runs yet")

    emit("runs", facts, as_json=as_json, text=text)


@runs.command()
@click.argument("run")
@project_option
@json_option
def show(run: str, project: str | None, as_json: bool) -> None:
    """One run: RUN is its id, or the beginning or end of it."""
    from factory.app.runs import show_run

    def text(f: Any) -> str:
        lines = [
            f"{f['run']}: {f['formula']} on {_subject(f)}, round {f['round']}: {_state(f)}",
            f"  by       {f['agent'] or 'code'} as {f['role']} on {f['host']}",
            f"  started  {moment(f['started_at'])}",
        ]
        if f["finished_at"]:
            lines.append(f"  ended    {moment(f['finished_at'])}")
        if f["detail"]:
            lines.append(f"  detail   {f['detail']}")
        if f["head"]:
            lines.append(f"  head     {f['head']}")
        lines.append(f"  cost     {_cost(f)}")
        lines += [f"  {name}: {value}" for name, value in f["facts"].items()]
        lines += [f"  step {s['step']}: {'ok' if s['ok'] else 'failed'} {s['detail']}".rstrip() for s in f["steps"]]
        if f["cancel_asked_by"]:
            lines.append(f"  asked to stop by {f['cancel_asked_by']}")
        lines.append(f"  log      {f['log'] or 'not on this host'}")
        return "\n".join(lines)

    emit("run", show_run(here.deployment(), run, project=project), as_json=as_json, text=text)


@runs.command()
@click.argument("run")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@project_option
def logs(run: str, follow: bool, project: str | None) -> None:
    """The log of RUN, as inert text."""
    from factory.app.runs import log_lines
    from factory.cli.output import inert

    for line in log_lines(here.deployment(), run, follow=follow, project=project):
        click.echo(inert(line))


@runs.command()
@click.argument("run")
@project_option
@json_option
def cancel(run: str, project: str | None, as_json: bool) -> None:
    """End RUN and everything it started, within two seconds. What it did is not pushed."""
    import getpass

    from factory.app.runs import cancel_run

    facts = cancel_run(here.deployment(), run, getpass.getuser(), project=project)

    def text(f: Any) -> str:
        if not f["was_alive"]:
            return f"cancelled {f['run']}; its session did not live any more"
        how = ", by force" if f["forced"] else ""
        return f"cancelled {f['run']} in {f['seconds']:.1f} s{how}"

    emit("cancel", facts, as_json=as_json, text=text)


def _notes(facts: Any) -> None:
    if facts["stale"]:
        say(f"note: {facts['stale']}")
    for problem in facts["problems"]:
        say(f"note: journal: {problem}")


def _cost(run: dict[str, Any]) -> str:
    if run["finished_at"] and not run["cost_known"]:
        return f"not known; the budget counts the {money(run['reserved_usd'])} that were set aside"
    tokens = run["tokens"]
    return (
        f"{money(run['cost_usd'], run['scripted'])} in {run['requests']} model calls "
        f"({tokens['input']} in, {tokens['cached']} cached, {tokens['output']} out)"
    )


def _subject(run: Any) -> str:
    subject = run["subject"]
    return f"{subject['kind']} {'#' if subject['kind'] in ('issue', 'pull') else ''}{subject['id'][:12]}"


def _state(run: Any) -> str:
    if run["cause"] and run["cause"] != run["state"]:
        return f"{run['state']}: {run['cause']}"
    return str(run["state"])
