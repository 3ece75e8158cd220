"""``factory secret``: what the vault's actions may use and nobody else may read. A value is read, never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option, say, table

value_options = [
    click.option("--file", "source", type=click.Path(path_type=Path, allow_dash=True),
                 help="Where the value stands; - is stdin. Without it: a prompt that shows nothing, or stdin."),
    click.option("--exact", is_flag=True, help="Keep the line end of a single line, which is dropped otherwise."),
]  # fmt: skip


def _with_value(command: Any) -> Any:
    for option in reversed(value_options):
        command = option(command)
    return command


@click.group()
def secret() -> None:
    """Secrets of the vault: encrypted files in the ops repo, changed by pull requests that an admin approves."""


@secret.command("list")
@project_option
@json_option
def list_(project: str | None, as_json: bool) -> None:
    """Which secrets there are, who can read them, which formulas may have them. Exit code 1 when one is unusable."""
    from factory.app.vault_secrets import listed, open_secrets

    facts = listed(open_secrets(deployment(), project=project))
    emit("secrets", facts, as_json=as_json, text=_list_text)
    if facts["trouble"] or any(row["trouble"] and row["used"] for row in facts["secrets"]):
        raise click.exceptions.Exit(1)


def _list_text(facts: Any) -> str:
    rows = [
        (row["name"], row["version"], ", ".join(row["formulas"]), ", ".join(row["readers"]),
         "yes" if row["readable_here"] else "no", "yes" if row["used"] else "not by the policy")
        for row in facts["secrets"]
    ]  # fmt: skip
    lines = [table(("NAME", "VERSION", "FOR", "READ BY", "READ HERE", "USED"), rows)] if rows else ["no secrets"]
    lines += [facts["trouble"]] if facts["trouble"] else []
    for row in facts["secrets"]:
        lines += [f"{row['name']}: {row[key]}" for key in ("trouble", "doubt") if row[key]]
        lines += [f"{row['name']}: the policy gives it to {', '.join(row['not_for'])}, it is not for that"] * bool(
            row["not_for"]
        )
        lines += [f"{row['name']}: not readable by {who}" for who in row["cannot_read"]]
    lines += [f"{host} signs the ledger with {key}" for host, key in sorted(facts["signing_now"].items())]
    if facts["joins_with"]:
        lines.append(f"this host has not joined; on one that can read the secrets: {facts['joins_with']}")
    return "\n".join(lines)


@secret.command("set")
@click.argument("name")
@click.option("--for", "formulas", multiple=True, metavar="FORMULA@VERSION",
              help="A formula that may have it; several times. Default: those the policy names it for.")  # fmt: skip
@_with_value
@project_option
@json_option
def set_(
    name: str, formulas: tuple[str, ...], source: Path | None, exact: bool, project: str | None, as_json: bool
) -> None:
    """Propose a value for NAME. It is encrypted here, to every dispatcher's key and every recovery key."""
    from factory.app.vault_secrets import open_secrets, set_secret

    secrets = open_secrets(deployment(), project=project)
    _told(set_secret(secrets, name, _value(name, source, exact), formulas), as_json)


@secret.command()
@click.argument("name", required=False)
@_with_value
@click.option("--all", "everything", is_flag=True, help="Encrypt every secret anew, with the same values.")
@click.option(
    "--recovery", multiple=True, metavar="WHO=age1...", help="With --all: a key that may read them from now on."
)
@click.option("--host", "hosts", multiple=True, metavar="'NAME=age1... ssh-...'",
              help="With --all: another host that joins; its `factory secret list` shows the line.")  # fmt: skip
@click.option("--without", multiple=True, metavar="WHO",
              help="With --all: who shall read no later version; of a host, its signature counts no more.")  # fmt: skip
@click.option("--key", "new_key", is_flag=True,
              help="Make new keys of this host, for the secrets and for signing the ledger.")  # fmt: skip
@click.option("--drop-old", is_flag=True, help="Forget keys of this host that no secret and no ledger needs any more.")
@project_option
@json_option
def rotate(
    name: str | None, source: Path | None, exact: bool, everything: bool, recovery: tuple[str, ...],
    hosts: tuple[str, ...], without: tuple[str, ...], new_key: bool, drop_old: bool, project: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Propose another value for NAME, for the same formulas; or other keys for all of them."""
    from factory.app.vault_secrets import drop_old_keys, open_secrets, reseal_secrets, rotate_secret
    from factory.errors import UsageError

    chosen = [bool(name), everything or new_key, drop_old]
    if sum(chosen) != 1 or ((recovery or hosts or without) and not (everything or new_key)) or (source and not name):
        raise UsageError(
            "rotating: say one of NAME, --all, --key, --drop-old; --recovery, --host and --without go with --all or"
            " --key",
            hint="factory secret rotate --help",
        )
    added, joining = (dict(part.partition("=")[::2] for part in given) for given in (recovery, hosts))
    secrets = open_secrets(deployment(), project=project)
    if drop_old:
        facts = drop_old_keys(secrets)
        emit("secret", facts, as_json=as_json, text=lambda f: f"keys forgotten: {len(f['dropped'])}")
    elif name:
        _told(rotate_secret(secrets, name, _value(name, source, exact)), as_json)
    else:
        _told(reseal_secrets(secrets, add=added, hosts=joining, drop=without, new_key=new_key), as_json)


@secret.command()
@click.argument("name")
@project_option
@json_option
def remove(name: str, project: str | None, as_json: bool) -> None:
    """Propose to keep NAME no more."""
    from factory.app.vault_secrets import open_secrets, remove_secret

    _told(remove_secret(open_secrets(deployment(), project=project), name), as_json)


@secret.command()
@json_option
def propose(as_json: bool) -> None:
    """Open the pull request for an offer on stdin: what `factory secret` printed in the vault's own home.

    For where the vault runs as another user: there the keys are, here the account that proposes. No value is in it.
    """
    import sys

    from factory.app.secret_offer import propose as share

    facts = share(deployment(), sys.stdin.buffer.read())
    text = f"proposed: {facts['url']}" if facts["url"] else "nothing to change"
    emit("secret-proposed", facts, as_json=as_json, text=lambda _: text)


def _value(name: str, source: Path | None, exact: bool) -> bytes:
    """The value, from where the person says. It is on no command line and in no environment variable."""
    import sys

    from factory.errors import UsageError

    if source is None and sys.stdin.isatty():
        typed: str = click.prompt(f"value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return typed.encode()
    if source is None or str(source) == "-":
        value = sys.stdin.buffer.read()
    else:
        try:
            value = source.read_bytes()
        except OSError as error:
            raise UsageError(f"reading the value of {name} from {source}: {error.strerror}") from error
    if not exact and value.count(b"\n") == 1 and value.endswith(b"\n"):
        value = value[:-1].removesuffix(b"\r")
    if not value:
        raise UsageError(
            f"reading the value of {name}: nothing was given", hint=f"factory secret set {name} --file FILE"
        )
    return value


def _told(facts: dict[str, Any], as_json: bool) -> None:
    if facts["route"] == "offer":
        import json

        click.echo(json.dumps(facts["offer"]))
        for note in facts["notes"]:
            say(f"note: {note}")
        say("to be proposed by the daemon's user: pipe it into `factory secret propose` there")
        return
    emit("secret", facts, as_json=as_json, text=_text)
    if facts["route"] == "person":
        say("it counts after an admin approved it there; until then the version before it is used")


def _text(facts: Any) -> str:
    lines = [f"{row['name']}: version {row['version']}, for {', '.join(row['formulas'])}" for row in facts["secrets"]]
    lines.append(f"proposed: {facts['url']}" if facts["url"] else "nothing to change")
    return "\n".join([*lines, *(f"note: {note}" for note in facts["notes"])])
