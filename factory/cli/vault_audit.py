"""``factory vault audit``: is the record of the vault whole, and is what it says of git true?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, json_option, project_option


@click.command()
@click.option("--host-key", "keys", multiple=True, type=click.Path(path_type=Path),
              help="Public key (.pub) of one more host that wrote the ledger before hosts could join.")  # fmt: skip
@click.option("--root", default="", help="The ledger's first commit, as `factory init` printed it.")
@project_option
@json_option
def audit(keys: tuple[Path, ...], root: str, project: str | None, as_json: bool) -> None:
    """Clone the ops repo anew, look at every entry of the ledger and its evidence. Exit code 1 when something is wrong.

    Append-only, states that may follow, signatures by hosts' keys in force; merges computed again, digests of files,
    policies and formulas. Who reviewed is known to the forge alone: here it is only seen whether those people could
    have.
    """
    from factory.app.vault_audit import audit_ledger

    facts = audit_ledger(deployment(), project=project, keys=keys, root=root)
    emit("vault-audit", facts, as_json=as_json, text=_text)
    if facts["faults"]:
        raise click.exceptions.Exit(1)


def _text(facts: Any) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["kinds"].items())
    span = f"from {facts['root'][:12]} to {facts['tip'][:12]}"
    lines = [
        f"{facts['ops']}: {facts['entries']} entries about {facts['actions']} actions, {span}",
        f"  {kinds or 'nothing'}",
        f"  verdicts found again in git: {facts['reproduced']}",
        f"  pushes signed by a known host: {facts['signed']} of {facts['batches']}",
    ]
    if not facts["signatures"]:
        lines.append("  signatures were not looked at: ssh-keygen is not installed")
    lines += [f"  frozen: {facts['frozen']}"] if facts["frozen"] else []
    lines += [f"  not looked at: {words}" for words in facts["unchecked"]]
    lines += [f"{fault['code']}: {fault['where']}: {fault['words']}" for fault in facts["faults"]]
    count = len(facts["faults"])
    return "\n".join([*lines, "the ledger is what it says" if not count else f"{count} fault{'s' * (count != 1)}"])
