"""``factory vault sign``: a person's own signature over a request, where the policy asks for more than an approval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from factory.cli.here import deployment
from factory.cli.output import emit, inert, json_option, project_option, say


@click.command()
@click.argument("id")
@click.option("--key", type=click.Path(path_type=Path), help="Your SSH key; one with -sk is asked for touch and PIN.")
@click.option("--token-file", type=click.Path(path_type=Path), help="Your own token; it is not stored.")
@click.option("--yes", is_flag=True, help="Do not ask; the facts are printed all the same.")
@project_option
@json_option
def sign(id: str, key: Path | None, token_file: Path | None, yes: bool, project: str | None, as_json: bool) -> None:
    """Sign the waiting request ID as it stands, and post the signature on its pull request.

    ID may be the number of a pull request that changes the policy or the vault's secrets: where high needs a signature,
    so do these.

    Shows the computed facts first. A signature is no approval: approve on the forge as well. It must be there before
    the request is merged.
    """
    import os

    from factory.app.issues import token_from
    from factory.app.vault_signing import default_key, open_request, sign, signed_by, signing_as
    from factory.errors import UsageError

    request = open_request(deployment(), id, project=project)
    chosen = key or default_key(Path.home())
    if chosen is None or not chosen.is_file():
        why = f"{chosen} is not there" if chosen else "there is no key in ~/.ssh"
        raise UsageError(f"signing {id}: {why}", hint="pass --key FILE; `ssh-keygen -t ed25519-sk` makes one")
    for line in request.screen.split("\n"):
        say(inert(line))
    say("")
    already = signed_by(request)
    if already:
        say(f"signed already by account {', '.join(map(str, sorted(already)))}")
    if not request.needed:
        say("the policy asks for no signature here; one does no harm")
    if not yes:
        click.confirm(f"Sign exactly this with {chosen}?", abort=True, err=True)
    with signing_as(request, token_from(token_file)) as person:
        facts = sign(request, person, chosen, agent=os.environ.get("SSH_AUTH_SOCK", ""))
    emit("vault-signature", facts, as_json=as_json, text=_text)


def _text(facts: Any) -> str:
    lines = [f"signed by {facts['signer']} with {facts['key']}: {facts['url']}"]
    if not facts["counts_here"]:
        lines.append("this host does not know the key: where the dispatcher runs, add to state/vault/allowed_signers:")
        lines.append(f"  {facts['allow'] or '(the line of its .pub file, after your account id)'}")
    lines.append(f"a signature is no approval; approve there: {facts['approve']}")
    return "\n".join(lines)
