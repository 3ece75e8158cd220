"""``factory vault mirror``: a copy of the ledger on another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option, say, token_option


@click.group()
def mirror() -> None:
    """A copy of the vault's ledger on another machine, which remembers what was done when this one is lost.

    The daemon copies whenever the ledger grows, and compares once a day. The copy only ever moves forward: nothing
    there is replaced or removed.
    """


@mirror.command("set")
@click.argument("url")
@click.option("--login", default="", help="Name to log in with over https.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Token for https, kept in state/vault (0600).")
@json_option
def set_(url: str, login: str, token_file: Path | None, as_json: bool) -> None:
    """Copy the ledger to the git repo at URL: ssh, https or an absolute path. A path with nothing there is made.

    It is copied at once; where that fails nothing is set. Over ssh this user's own key and known_hosts count.
    """
    from datetime import UTC, datetime

    from factory.app.vault_mirror import set_mirror

    facts = set_mirror(deployment(), url, datetime.now(UTC), login=login, token_file=token_file)
    if facts["near"]:
        say(f"note: {facts['near']}: it is lost together with what it is a copy of")
    emit("vault-mirror-set", facts, as_json=as_json, text=lambda f: _text(f["ledgers"]))
    _end(facts["ledgers"])


@mirror.command()
@json_option
def check(as_json: bool) -> None:
    """Compare the mirror with the forge's ledger now; copy what it lacks. Exit code 1 when something is wrong."""
    from datetime import UTC, datetime

    from factory.app.vault_mirror import checked

    found = checked(deployment(), datetime.now(UTC))
    emit("vault-mirror", {"ledgers": found}, as_json=as_json, text=lambda f: _text(f["ledgers"]))
    _end(found)


@mirror.command()
@json_option
def unset(as_json: bool) -> None:
    """Copy the ledger no more. What is at the mirror stays there."""
    from factory.app.vault_mirror import unset_mirror

    emit("vault-mirror-unset", unset_mirror(deployment()), as_json=as_json, text=lambda f: f"no copies to {f['url']}")


@mirror.command("bring-back")
@click.option("--reason", required=True, help="What happened to the forge; the ledger keeps it.")
@click.option("--unsigned", is_flag=True, help="Also entries that no host named by the ledger signed.")
@token_option
@project_option
@json_option
def bring_back(reason: str, unsigned: bool, token_file: Path | None, project: str | None, as_json: bool) -> None:
    """Write entries that the forge's ledger lost on it again, from the mirror. For admins, at the dispatcher's host.

    The vault is frozen in the same push and every earlier approval is void: look, then factory vault unfreeze.
    """
    from factory.app.issues import token_from
    from factory.app.vault_bringing import bring_back as back
    from factory.app.vault_settling import Said

    facts = back(deployment(), Said(reason, token_from(token_file)), unsigned=unsigned, project=project)

    def text(f: Any) -> str:
        lines = [f"{f['brought_back']} entries are on the ledger of {f['project']} again, by {f['by']}'s word"]
        lines += [f"  not {one}: it does not follow on what is there now" for one in f["left_out"]]
        lines += ["  the vault is frozen and every earlier approval is void; when you have looked:"]
        lines += ["  factory vault unfreeze --reason ..."]
        if not f["same_commits"]:
            lines += ["  restart the factory: factory down, then factory up --detach",
                      "  rename the branch at the mirror: it holds what was; the next copy makes it again"]  # fmt: skip
        return "\n".join(lines)

    emit("vault-brought-back", facts, as_json=as_json, text=text)


def _text(ledgers: Any) -> str:
    lines = []
    for one in ledgers:
        if one["alarm"]:
            lines.append(f"{one['ops']}: {one['url']}: {one['alarm']}")
            lines += [f"  hint: {one['hint']}"] if one["hint"] else []
        elif one["standing"] == "same":
            lines.append(f"{one['ops']}: {one['url']} has all of the ledger, up to {one['ledger'][:12]}")
        elif one["standing"] == "empty":
            lines.append(f"{one['ops']}: {one['url']} has nothing yet: no dispatcher here has read the ledger so far")
        else:
            lines.append(f"{one['ops']}: {one['url']} lacks {one['lacks']} entries; they are copied when read here")
    return "\n".join(lines)


def _end(ledgers: Any) -> None:
    if any(one["alarm"] for one in ledgers):
        raise click.exceptions.Exit(1)
