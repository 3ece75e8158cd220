"""``factory vault move-out|move-in``: the vault's processes, keys and tokens as another user of this machine."""

from __future__ import annotations

import sys

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, say


@click.command("move-out")
@click.option("--received", metavar="NUMBER", help="The other user has it (move-in said NUMBER): remove it here.")
@click.option("--cancel", is_flag=True, help="It stays here after all; only while nobody has taken it in.")
@json_option
def move_out(received: str | None, cancel: bool, as_json: bool) -> None:
    """Hand the vault to a home of its own, which another user owns: write it to stdout, for `factory vault move-in`.

    From then on nothing of the vault starts here. What was here goes with --received, once the other side has said the
    number: until then the same move-out again writes the same. What is written holds keys: only ever into a pipe.
    """
    from factory.app import vault_moving
    from factory.errors import UsageError

    if received is not None and cancel:
        raise UsageError("moving the vault out: --received or --cancel, not both")
    if received is None and not cancel:
        if sys.stdout.isatty():
            raise UsageError(
                "moving the vault out: it holds keys, and this is a terminal",
                hint="factory vault move-out | sudo -u VAULT-USER env FACTORY_HOME=... factory vault move-in",
            )
        sys.stdout.buffer.write(vault_moving.give(deployment()))
        sys.stdout.buffer.flush()
        return
    facts = vault_moving.forget(deployment(), received) if received else vault_moving.cancel(deployment())
    words = "nothing of the vault is left here" if received else "the vault stays here"
    emit("vault-moved-out", facts, as_json=as_json, text=lambda f: f"{f['home']}: {words}; it runs: {f['runs']}")


@click.command("move-in")
@json_option
def move_in(as_json: bool) -> None:
    """Take the vault in from stdin: into a home that is made here for it alone, or back into the one it left.

    Prints a number. With it the other user says: factory vault move-out --received NUMBER.
    """
    from factory.app.vault_moving import take
    from factory.config.home import factory_home
    from factory.errors import UsageError

    if sys.stdin.isatty():
        hint = "as the other user: factory vault move-out | sudo -u ... factory vault move-in"
        raise UsageError("taking the vault in: nothing comes in", hint=hint)
    facts = take(factory_home(), sys.stdin.buffer.read())
    emit("vault-moved-in", facts, as_json=as_json, text=lambda f: str(f["number"]))
    say(f"the vault is in {facts['home']}; as the other user: factory vault move-out --received {facts['number']}")
    say("then, as this user: factory up --detach")
