"""``factory vault fire|freeze|settle|simulate|unfreeze|begin-anew``: what an operator does at the dispatcher's host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option, say, token_option


@click.command()
@click.argument("id")
@project_option
@json_option
def fire(id: str, project: str | None, as_json: bool) -> None:
    """Have the dispatcher look at action ID now instead of at its next poll.

    Nothing starts that would not start by itself: approval, merge and verification are as always.
    """
    from factory.app.vault_finishing import fire as wake

    facts = wake(deployment(), id, project=project)

    def text(f: Any) -> str:
        heard = "the dispatcher looks now" if f["woken"] else "no dispatcher runs on this host: factory up --detach"
        return f"{f['id']}: {f['stands']}\n  {heard}"

    emit("vault-fire", facts, as_json=as_json, text=text)
    if not facts["woken"]:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--policy", required=True, type=click.Path(path_type=Path), help="The other policy file.")
@click.option("--since", default="90d", help="How far back: 90d, 36h, 2w.")
@project_option
@json_option
def simulate(policy: Path, since: str, project: str | None, as_json: bool) -> None:
    """What would have gone another way under another policy: tiers, approvers, refusals, waiting.

    The same table is a comment on each pull request that changes vault/policy.toml.
    """
    from factory.app.vault_simulating import simulated

    facts = simulated(deployment(), policy, since, project=project)
    for problem in facts["problems"]:
        say(f"note: {problem}")
    emit("vault-simulation", facts, as_json=as_json, text=lambda f: str(f["text"]))


@click.command()
@click.argument("id")
@click.option("--done", "outcome", flag_value="done", help="It was done: nothing is repeated.")
@click.option("--abandoned", "outcome", flag_value="abandoned", help="It is given up; ask anew to have it done.")
@click.option("--reason", required=True, help="What you found; the ledger keeps it.")
@token_option
@project_option
@json_option
def settle(
    id: str, outcome: str | None, reason: str, token_file: Path | None, project: str | None, as_json: bool
) -> None:
    """Say how the interrupted action ID ended: one that nobody but a person can look at. For admins."""
    from factory.app.issues import token_from
    from factory.app.vault_settling import Said
    from factory.app.vault_settling import settle as record
    from factory.errors import UsageError

    if outcome is None:
        raise UsageError(f"settling {id}: how did it end?", hint="--done, or --abandoned to have it asked for anew")
    said = Said(reason, token_from(token_file))
    facts = record(deployment(), id, said, done=outcome == "done", project=project)
    emit("vault-settled", facts, as_json=as_json, text=lambda f: f"{f['id']}: {f['kind']}, by {f['by']}'s word")


@click.command()
@click.option("--why", "--reason", "why", required=True, help="What you saw; the ledger keeps it.")
@token_option
@project_option
@json_option
def freeze(why: str, token_file: Path | None, project: str | None, as_json: bool) -> None:
    """Emergency brake: nothing of the vault starts any more, at once. For admins and approvers.

    What runs already gets nothing further done outside: the broker and each effect ask the ledger first. It stays so
    over restarts, until an admin says: factory vault unfreeze. While the forge does not answer, this host stops alone,
    and tells the ledger as soon as it can; exit code 1 says so.
    """
    from factory.app.issues import token_from
    from factory.app.vault_settling import Said
    from factory.app.vault_settling import freeze as stop

    facts = stop(deployment(), Said(why, token_from(token_file)), project=project)

    def text(f: Any) -> str:
        on = "then an admin says: factory vault unfreeze --reason ..."
        if not f["told"]:
            return (
                f"the vault of {f['project']} is frozen on this host: nothing starts here any more\n"
                f"  the ledger is not told yet, so other hosts do not know: {f['trouble']}\n"
                f"  this host tells it as soon as the forge answers; {on}"
            )
        head = f"it was frozen already: {f['was']}" if f["was"] else f"frozen by {f['by']}'s word"
        return f"the vault of {f['project']}: {head}\n  nothing starts any more. Look at what is wrong; {on}"

    emit("vault-frozen", facts, as_json=as_json, text=text)
    if not facts["told"]:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--reason", required=True, help="Why it may go on; the ledger keeps it.")
@click.option("--older", is_flag=True, help="The ledger was restored from a backup, and shall count.")
@token_option
@project_option
@json_option
def unfreeze(reason: str, older: bool, token_file: Path | None, project: str | None, as_json: bool) -> None:
    """Let a frozen vault go on, after you looked why it froze. For admins.

    With --older every approval that was given so far is void: what still waits has to be approved again.
    """
    from factory.app.issues import token_from
    from factory.app.vault_settling import Said
    from factory.app.vault_settling import unfreeze as go_on

    facts = go_on(deployment(), Said(reason, token_from(token_file)), older=older, project=project)

    def text(f: Any) -> str:
        void = "; every earlier approval is void" if f["approvals_void"] else ""
        again = "\n  restart the factory: factory down, then factory up --detach" if f["approvals_void"] else ""
        return f"the vault of {f['project']} goes on, by {f['by']}'s word{void}\n  it was frozen: {f['was']}{again}"

    emit("vault-unfrozen", facts, as_json=as_json, text=text)


@click.command("begin-anew")
@click.option("--commit", required=True, help="The commit of the ops repo's main whose policy names the new admins.")
@click.option("--reason", required=True, help="Why nobody could approve it; the ledger keeps it.")
@click.option("--admin-token-file", type=click.Path(path_type=Path), help="A token of the forge's admin; not stored.")
@project_option
@json_option
def begin_anew(
    commit: str, reason: str, admin_token_file: Path | None, project: str | None, as_json: bool
) -> None:
    """Begin the vault's ledger anew when all its admins are lost. For the operator of this host and the forge's admin.

    Everything that was asked and approved before is void, and nothing that was done is done again. The old ledger is
    kept as a branch of its own. Afterwards restart the factory: factory down, factory up --detach.
    """
    from datetime import UTC, datetime

    from factory.app.issues import token_from
    from factory.app.vault_refounding import begin_anew as found

    facts = found(
        deployment(), commit=commit, reason=reason, now=datetime.now(UTC), admin_token=token_from(admin_token_file),
        project=project,
    )  # fmt: skip

    def text(f: Any) -> str:
        return (
            f"the vault of {f['project']} begins anew; keep this number elsewhere: {f['root']}\n"
            f"  the ledger before it is kept as {f['kept']}; {f['refused']} actions of it are refused from now on\n"
            "  restart the factory: factory down, then factory up --detach"
        )

    emit("vault-begun-anew", facts, as_json=as_json, text=text)
