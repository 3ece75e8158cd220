"""``factory notify``: how people are told outside the forge that something needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, moment, say, table


@click.group()
def notify() -> None:
    """Tell people outside the forge what needs them: a request that waits for approval, a vault that is frozen.

    Each thing is told once. A message has the facts and a link to its page on the forge; nothing is approved by it.
    """


@notify.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(["ntfy", "slack", "mattermost", "telegram"]))
@click.option("--file", "source", type=click.Path(path_type=Path, allow_dash=True),
              help="Where its address or token stands; - is stdin. Without it: a prompt, or stdin.")  # fmt: skip
@click.option("--chat", default="", help="Telegram: the chat's number, or @name of a public channel.")
@click.option("--api", default="", help="Telegram: a Bot API server of yours instead of Telegram's.")
@click.option("--no-test", is_flag=True, help="Set it without sending a message.")
@json_option
def add(name: str, kind: str, source: Path | None, chat: str, api: str, no_test: bool, as_json: bool) -> None:
    """Tell people on a channel, by a name of your choice. A test message is sent; where that fails nothing is set.

    What lets one write there is read from a file, stdin or a prompt and kept in state/notify (0600): of ntfy the
    topic's address, with an access token on a second line where it takes one; of Slack and Mattermost the incoming
    webhook's address; of Telegram the bot's token.
    """
    from datetime import UTC, datetime

    from factory.app.notify_channels import added

    secret = _secret(name, kind, source)
    facts = added(deployment(), name, kind, secret, datetime.now(UTC), chat=chat, api=api, test=not no_test)
    _note(facts)
    emit("notify-added", facts, as_json=as_json, text=lambda f: f"{f['name']}: {f['place']} is told" + (
        "; the test message arrived" if f["tested"] else "; not tested"))  # fmt: skip


@notify.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The channels of this host: what they told, what waits, what is wrong. Exit code 1 when something is."""
    from factory.app.notify_channels import listed

    found = listed(deployment())
    emit("notify", {"channels": found}, as_json=as_json, text=_text)
    for one in found:
        _note(one)
    if any(one["trouble"] for one in found):
        raise click.exceptions.Exit(1)


@notify.command()
@click.argument("name")
@json_option
def test(name: str, as_json: bool) -> None:
    """Send a message on a channel now."""
    from datetime import UTC, datetime

    from factory.app.notify_channels import tested

    facts = tested(deployment(), name, datetime.now(UTC))
    _note(facts)
    emit("notify-tested", facts, as_json=as_json, text=lambda f: f"{f['name']}: the message arrived ({f['place']})")


@notify.command()
@click.argument("name")
@json_option
def remove(name: str, as_json: bool) -> None:
    """Tell nobody on a channel any more. Its secret is forgotten."""
    from factory.app.notify_channels import removed

    facts = removed(deployment(), name)
    emit("notify-removed", facts, as_json=as_json, text=lambda f: f"{f['name']}: {f['place']} is told no more")


def _secret(name: str, kind: str, source: Path | None) -> bytes:
    """What lets one write there. It is on no command line and in no environment variable."""
    import sys

    from factory.errors import UsageError
    from factory.notify.channel import MOST_BYTES, WANTED

    if source is None and sys.stdin.isatty():
        typed: str = click.prompt(f"{name}: {WANTED[kind].partition(';')[0]}", hide_input=True, err=True)
        if kind == "ntfy":
            typed += "\n" + click.prompt(
                "access token (empty: none)", default="", hide_input=True, show_default=False, err=True
            )
        return typed.encode()
    if source is None or str(source) == "-":
        secret = sys.stdin.buffer.read(MOST_BYTES + 1)
    else:
        try:
            secret = source.read_bytes()
        except OSError as error:
            raise UsageError(f"reading what opens {name} from {source}: {error.strerror}") from error
    if not secret.strip():
        raise UsageError(f"reading what opens {name}: nothing was given", hint=f"wanted is {WANTED[kind]}")
    return secret


def _note(facts: Any) -> None:
    if facts["clear"]:
        say(f"note: {facts['name']} is told over http: who sees the network can read it, and write there too")


def _text(facts: Any) -> str:
    if not facts["channels"]:
        return "nobody is told outside the forge; factory notify add NAME KIND"
    rows = [
        (one["name"], one["place"], moment(one["last"]) if one["last"] else "never", one["waiting"],
         one["trouble"] or "well")
        for one in facts["channels"]
    ]  # fmt: skip
    lines = [table(("NAME", "TELLS", "LAST", "WAITING", "STATE"), rows)]
    for one in facts["channels"]:
        lines += [f"{one['name']}: hint: {one['hint']}"] if one["hint"] else []
    return "\n".join(lines)
