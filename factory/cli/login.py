"""``factory login``: how a person signs in; whose a token is. Nothing is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli import here
from factory.cli.output import emit, json_option, project_option, say


@click.command()
@click.option("--token-file", type=click.Path(path_type=Path), help="A token of your own: say whose it is.")
@project_option
@json_option
def login(token_file: Path | None, project: str | None, as_json: bool) -> None:
    """How you sign in at the forge, to approve, to merge and to file issues.

    The factory never stores a person's token. On the embedded forge, commands that act for you borrow one for the
    moment and give it back. On a forge elsewhere they take --token-file each time. With --token-file this command says
    whose the token is and what its owner may do here, and forgets it.
    """
    from factory.app.issues import token_from
    from factory.app.signing_in import how_to_sign_in, whose

    deployment = here.deployment()
    token = token_from(token_file)
    if token is None:
        emit("login", how_to_sign_in(deployment, project=project), as_json=as_json, text=_how)
        return
    facts = whose(deployment, token, project=project)
    if facts["stale"]:
        say(f"note: {facts['stale']}")
    emit("login", facts, as_json=as_json, text=_who)


def _how(facts: Any) -> str:
    lines = [f"sign in at  {facts['sign_in']}", f"login       {facts['login']}"]
    if facts["password"]:
        lines += [
            f"password    {facts['password']}",
            f"            (kept in {facts['password_file']}; change it on the forge, then delete that file)",
        ]
    elif facts["embedded"]:
        lines.append("password    the one you chose; it is not kept here")
    else:
        lines.append("commands that act for you take --token-file FILE; nothing is stored")
    return "\n".join(lines)


def _who(facts: Any) -> str:
    if facts["is_bot"]:
        return f"this is the token of {facts['login']}, one of the factory's own accounts, not a person's"
    may = "may approve here" if facts["may_approve"] else "may not approve here: factory.toml does not list them"
    admin = " and decide who approves" if facts["is_admin"] else ""
    sees = "" if facts["sees_ops"] else "; this token does not show the ops repo"
    return f"this is {facts['login']} on {facts['forge']}, who {may}{admin}{sees}"
