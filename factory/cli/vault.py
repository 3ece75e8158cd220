"""``factory vault``: what waits for an approval, what the ledger says, and asking for an action oneself."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option, say, table

ELSEWHERE = {
    "approve": "factory.cli.vault_decide:approve", "reject": "factory.cli.vault_decide:reject",
    "done": "factory.cli.vault_decide:done", "fire": "factory.cli.vault_operate:fire",
    "freeze": "factory.cli.vault_operate:freeze",
    "settle": "factory.cli.vault_operate:settle", "unfreeze": "factory.cli.vault_operate:unfreeze",
    "simulate": "factory.cli.vault_operate:simulate", "begin-anew": "factory.cli.vault_operate:begin_anew",
    "audit": "factory.cli.vault_audit:audit", "sign": "factory.cli.vault_sign:sign",
    "mirror": "factory.cli.vault_mirror:mirror", "move-out": "factory.cli.vault_move:move_out",
    "move-in": "factory.cli.vault_move:move_in",
}  # fmt: skip
"""Subcommands with a file of their own, loaded when they are asked for."""


class VaultGroup(click.Group):
    """The group, with the commands of other files in their place."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *ELSEWHERE})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        module, attribute = ELSEWHERE[cmd_name].split(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=VaultGroup)
def vault() -> None:
    """Risky actions: asked for as pull requests, started once a listed person approved exactly their content."""


@vault.command("list")
@click.option("--all", "everything", is_flag=True, help="Everything that is over too, not only the newest.")
@project_option
@json_option
def list_(everything: bool, project: str | None, as_json: bool) -> None:
    """What waits for an approval, what runs, what is over, and what only a person can do."""
    from factory.app.vault_showing import listed

    facts = listed(deployment(), project=project, everything=everything)
    for problem in facts["problems"]:
        say(f"note: {problem}")
    emit("vault-list", facts, as_json=as_json, text=_list_text)


def _list_text(facts: Any) -> str:
    lines = [f"the vault is FROZEN: {facts['frozen']}"] if facts["frozen"] else []
    lines += _cooling(facts)
    rows = [(a["id"], a["state"], a["tier"], a["since"], a["words"]) for a in facts["actions"]]
    lines.append(table(("ACTION", "STATE", "TIER", "SINCE", "WHAT"), rows) if rows else "no actions")
    if facts["hidden"]:
        lines.append(f"and {facts['hidden']} older ones: factory vault list --all")
    for one in facts["pending"]:
        frees = f", frees {one['frees']}" if one["frees"] else ""
        late = f", {one['late']}" if one["late"] else ""
        lines.append(f"for a person since {one['since']}: {one['what']}{frees}{late}\n  factory vault done {one['id']}")
    return "\n".join(lines)


def _cooling(facts: Any) -> list[str]:
    rows = [(f"a change of the policy is {one['words']}: {one['url']}", one["meanwhile"]) for one in facts["cooling"]]
    return [line for words, meanwhile in rows for line in (words, f"  {meanwhile}")]


@vault.command()
@click.argument("id")
@project_option
@json_option
def show(id: str, project: str | None, as_json: bool) -> None:
    """Action ID: what would run, where, with which secrets, and where it stands. A part of the id is enough.

    Everything is computed from its file, the formula, the policy and the ledger; what the asker says comes last.
    """
    from factory.app.vault_showing import shown

    emit("vault", shown(deployment(), id, project=project), as_json=as_json, text=told)


def told(facts: Any) -> str:
    """An action as a person reads it."""
    lines = [f"{facts['id']}: {facts['stands']}"]
    if facts["frozen"]:
        lines.append(f"  the vault is FROZEN: {facts['frozen']}")
    lines += [f"  {line}" for line in _cooling(facts)]
    if facts["next"]:
        after = facts["next"]
        lines.append(f"  why          {after['why']} ({facts['code']})")
        lines += [f"  who asked    {after['asker']}", f"  who approves {after['approver']}"]
    pull = facts["pull"]
    if pull is not None:
        lines.append(f"  {pull['url']}")
        lines += [f"  approved by  {', '.join(pull['approved_by'])}"] if pull["approved_by"] else []
        lines += [f"  rejected by  {', '.join(pull['rejected_by'])}"] if pull["rejected_by"] else []
    lines += [f"  {key:12} {value}" for key, value in facts["result"].items()]
    lines += ["", *(f"problem: {problem}" for problem in facts["problems"])] if facts["problems"] else []
    lines += ["", facts["screen"]] if facts["screen"] else []
    if facts["ledger"]:
        entries = ((e["seq"], e["kind"], e["id"], e["at"], e["by"], e["words"]) for e in facts["ledger"])
        lines += ["", table(("ENTRY", "KIND", "RUN OF", "AT", "BY", "WORDS"), entries)]
    return "\n".join(lines)


@vault.command()
@click.argument("formula")
@click.argument("parameters", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--reason", default="", help="Why; shown to whoever approves, marked as yours.")
@click.option("--unblocks", multiple=True, metavar="OWNER/REPO#N", help="An issue that waits for it; repeat for more.")
@click.option("--blast-radius", type=click.Choice(["low", "medium", "high"]), default="low",
              help="At least this tier; the computed one may be higher, never lower.")  # fmt: skip
@click.option("--hours", type=click.IntRange(1), help="Expires after so many; default: as the policy allows.")
@click.option("--runs", type=click.IntRange(1, 366), default=1, help="So many runs by one approval, with --every.")
@click.option("--every", "every_hours", type=click.IntRange(1), help="Hours between those runs.")
@click.option("--as", "login", help="Who asks. Default: who set the project up here.")
@project_option
@json_option
def request(
    formula: str, parameters: tuple[str, ...], reason: str, unblocks: tuple[str, ...], blast_radius: str,
    hours: int | None, runs: int, every_hours: int | None, login: str | None, project: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Ask for an action of FORMULA with its parameters.

    Posted by the vault's account, so that you may approve it yourself. Where the formula takes a commit, a branch or
    tag of the project may stand; it is resolved now. Asking for the same again while it waits finds it.
    """
    from factory.app.choosing import founder_of, project_of
    from factory.app.vault_asking import Order
    from factory.app.vault_asking import request as ask
    from factory.errors import UsageError

    pairs = [item.partition("=") for item in parameters]
    if wrong := [item for item, (key, sign, _) in zip(parameters, pairs, strict=True) if not sign or not key]:
        raise UsageError(f"asking for {formula}: {wrong[0]!r} is not KEY=VALUE", hint=f"factory formula show {formula}")
    here = deployment()
    who = login or founder_of(here, project_of(here, project)[0])
    given = {key: value for key, _, value in pairs}
    order = Order(formula, given, reason, unblocks, blast_radius, hours or 0, runs, every_hours or 0)
    facts = ask(here, order, who, project=project)
    emit("vault", facts, as_json=as_json, text=told)
    if not facts["new"]:
        say("note: you had asked for this already; it still waits")


@vault.command()
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--name", help="The name it will have, where FILE is - or called otherwise.")
@project_option
@json_option
def check(file: Path, name: str | None, project: str | None, as_json: bool) -> None:
    """Every problem of an action FILE with line and hint; its tier with the reasons, and its digest.

    Exit code 1 when it would be refused.
    """
    from factory.app.vault_checking import checked

    facts = checked(deployment(), file, name=name, project=project)
    emit("vault-check", facts, as_json=as_json, text=_check_text)
    if facts["problems"]:
        raise click.exceptions.Exit(1)


def _check_text(facts: Any) -> str:
    lines = [problem["text"] for problem in facts["problems"]]
    lines.append(f"{facts['path']}: {len(lines)} problems" if lines else f"{facts['path']}: nothing is wrong with it")
    if facts["tier"]:
        lines.append(f"  tier    {facts['tier']}: {facts['reasons'][0]}")
        lines += [f"          {reason}" for reason in facts["reasons"][1:]]
    return "\n".join([*lines, f"  digest  {facts['digest']}"])
