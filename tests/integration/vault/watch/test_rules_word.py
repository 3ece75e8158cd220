"""Rules about a person's word: asked for each time, kept nowhere, and an admin's where a frozen vault goes on."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from click.testing import CliRunner

from factory.app import vault_settling
from factory.app.vault_opening import Vault
from factory.app.vault_settling import Said, unfreeze
from factory.cli.main import cli
from factory.errors import PolicyDenied
from factory.vault.action import Tier
from factory.vault.people.settling import Word
from tests.integration.vault.attacks.register import Seen, rule
from tests.integration.vault.watch.conftest import House

NOWHERE = "cannot: no code of the factory writes it down"
GOES_ON = "it happens: the vault goes on"
SCOPES = ("write:repository", "write:issue", "read:user")


def holding(folder: Path, token: str) -> list[str]:
    """Files in which it stands, as it is or in hex."""
    forms = (token.encode(), token.encode().hex().encode())
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [str(path) for path in files if any(form in path.read_bytes() for form in forms)]


@rule("The factory stores no person's token: approving asks for it each time", vault="it is nowhere", off=NOWHERE,
      check="a token is read for one command; one that is lent at the forge's own machine is taken back")  # fmt: skip
def test_rule_a_persons_token_is_kept_nowhere(watched: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Seen:
    home = watched.deployment.home
    monkeypatch.setenv("FACTORY_HOME", str(home))
    token = watched.admin.create_token("founder", name=secrets.token_hex(4), scopes=SCOPES)
    path = "/users/founder/tokens"
    before = {row["name"] for row in watched.admin.send("GET", path, doing="test")}
    file = tmp_path / "token"
    file.write_text(token)
    for more in (["--token-file", str(file)], []):
        asked = watched.ask(Tier.MEDIUM)
        done = CliRunner().invoke(cli, ["vault", "approve", asked.id, "--yes", *more], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert token not in done.output
    assert holding(tmp_path, token) == [str(file)], "the search would find it"
    assert holding(home, token) == []
    assert {row["name"] for row in watched.admin.send("GET", path, doing="test")} == before
    return Seen("-", "it is nowhere", NOWHERE)


@rule("A frozen vault goes on by an admin's word, and by nobody else's", forge="allows", vault="it stays frozen",
      off=GOES_ON, check="who says it is listed as an admin by the policy in force")  # fmt: skip
def test_rule_only_an_admin_unfreezes(watched: House, monkeypatch: pytest.MonkeyPatch) -> Seen:
    name = f"colleague-{secrets.token_hex(3)}"
    watched.admin.create_user(name, email=f"{name}@example.invalid", password=secrets.token_urlsafe(16))
    watched.admin.set_collaborator(watched.ops, name, "write")
    said = Said("it is fine", watched.admin.create_token(name, name="x", scopes=SCOPES))

    watched.write("FREEZE", "somebody must look")
    with pytest.raises(PolicyDenied, match="as an admin"):
        unfreeze(watched.deployment, said)
    assert watched.ledger().frozen == "somebody must look"

    def anybody(vault: Vault, doing: str, said: Said) -> Word:
        return Word(name, 1, said.reason, vault.now, "host")

    monkeypatch.setattr(vault_settling, "word_of", anybody)
    unfreeze(watched.deployment, said)
    return Seen("allows", "it stays frozen", "" if watched.ledger().frozen else GOES_ON)
