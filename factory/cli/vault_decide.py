"""``factory vault approve|reject|done``: what only a person can say, after they saw the facts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, inert, json_option, project_option, say, token_option

if TYPE_CHECKING:
    from factory.app.vault_deciding import Decision


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID")
@token_option
@click.option("--yes", is_flag=True, help="Do not ask; the facts are printed all the same.")
@project_option
@json_option
def approve(ids: tuple[str, ...], token_file: Path | None, yes: bool, project: str | None, as_json: bool) -> None:
    """Approve the waiting request ID as it stands, with a review on the forge in your own name.

    Shows the computed facts first, then asks. The factory merges exactly this head with its next tick, and the
    dispatcher looks at everything again before it starts. One at a time: nothing above low is approved in bulk.
    """
    from factory.app.issues import token_from
    from factory.app.vault_deciding import approve as give
    from factory.app.vault_deciding import deciding_as, open_decision
    from factory.errors import PolicyDenied

    if len(ids) > 1:
        raise PolicyDenied(
            f"approving {len(ids)} requests at once: each is read and approved by itself",
            hint=f"factory vault approve {ids[0]}",
        )
    decision = open_decision(deployment(), ids[0], project=project)
    _show(decision)
    if not yes:
        click.confirm(f"Approve exactly this ({decision.pull.head_sha[:12]})?", abort=True, err=True)
    with deciding_as(decision, token_from(token_file)) as person:
        facts = give(decision, person)
    emit("vault-approval", facts, as_json=as_json, text=_approved)
    if facts["signature"]:
        say(f"note: its tier also needs your signature: factory vault sign {decision.id}")


def _approved(facts: Any) -> str:
    lines = [f"{facts['by']} approved {facts['id']} at {facts['head'][:12]}: {facts['url']}"]
    if not facts["official"]:
        lines.append("the forge does not count it as official: `factory doctor` says why")
    return "\n".join([*lines, "it is merged with the next tick, and starts when the dispatcher verified it"])


@click.command()
@click.argument("id")
@click.option("--reason", required=True, help="Why; whoever asked reads it.")
@token_option
@project_option
@json_option
def reject(id: str, reason: str, token_file: Path | None, project: str | None, as_json: bool) -> None:
    """Reject the waiting request ID, with a review on the forge in your own name. The factory closes it."""
    from factory.app.issues import token_from
    from factory.app.vault_deciding import deciding_as, open_decision
    from factory.app.vault_deciding import reject as say_no

    decision = open_decision(deployment(), id, project=project)
    with deciding_as(decision, token_from(token_file)) as person:
        facts = say_no(decision, person, reason)
    emit("vault-rejection", facts, as_json=as_json, text=lambda f: f"{f['by']} rejected {f['id']}: {f['url']}")


def _show(decision: Decision) -> None:
    """The screen of facts, on stderr: it is for the person, whatever the command prints."""
    from factory.vault.people.facts import text

    told = text(decision.facts) if decision.facts is not None else "\n".join(decision.wrong)
    for line in [decision.pull.url, *told.split("\n"), ""]:
        say(inert(line))


@click.command()
@click.argument("id")
@click.option("--choice", default="", help="Which option you took, where it offers some.")
@click.option("--as", "login", default="", help="Who did it. Default: who set the project up here.")
@project_option
@json_option
def done(id: str, choice: str, login: str, project: str | None, as_json: bool) -> None:
    """Check off vault/pending/ID.md: something only a person could do, and that is done now."""
    from factory.app.vault_finishing import done as finish

    facts = finish(deployment(), id, choice=choice, login=login, project=project)

    def text(f: Any) -> str:
        lines = [f"done by {f['by']}: {f['what']}" + (f" (option {f['choice']})" if f["choice"] else "")]
        lines += [f"  the factory will {f['then']}"] if f["then"] else []
        return "\n".join([*lines, *([f"  unblocks {f['unblocks']}"] if f["unblocks"] else [])])

    emit("vault-done", facts, as_json=as_json, text=text)
