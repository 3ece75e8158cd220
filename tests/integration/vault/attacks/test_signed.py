"""Signatures made as ``factory vault sign`` makes them, found and judged by a dispatcher, on a forge that is there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from factory.app.deployment import Deployment
from factory.app.vault_audit import audit_ledger
from factory.app.vault_signing import Request, open_request, sign, signed_by
from factory.config.model import HostConfig
from factory.errors import PolicyDenied, UsageError
from factory.vault import authority
from factory.vault.keys import sshsig
from factory.vault.keys.approving import NAMESPACE, Block, new_nonce, signed_bytes
from factory.vault.keys.hostkeys import host_key, make_keys
from tests.contract.conftest import Site
from tests.integration.vault.attacks.blind import Blind
from tests.integration.vault.attacks.keep import APPROVER, FACTORY, FOUNDER, OUTSIDER, VAULT, Asked, Keep
from tests.integration.vault.attacks.raid import effects
from tests.integration.vault.attacks.register import Seen, attack
from tests.integration.vault.house import LETTERS, formula_bytes

SIGNED = 'require_signature = ["high"]\n'


class Signing(Keep):
    """A keep whose policy wants signatures, whose dispatcher has ``allowed_signers``, and a person's host beside it."""

    def settle(self) -> None:
        """Formulas in the ops repo (nothing is packaged for these names), keys, a deployment that knows the repo."""
        host = HostConfig(self.root / "host", "h", self.site.url, False, None, 1, (str(self.ops),), "none")
        self.deployment = Deployment(host)
        make_keys(self.deployment.state, "h")
        key = host_key(self.host.state)
        key.parent.mkdir(parents=True, exist_ok=True)
        for name in (key.name, f"{key.name}.pub"):
            shutil.copy(host_key(self.deployment.state).with_name(name), key.with_name(name))
        self.edit({f"formulas/{name}.toml": formula_bytes(name) for name in LETTERS})
        self.dispatch().turn()
        self.deployment.keep_token("factory-bot", self.site.tokens[self.site.login(FACTORY)])
        self.keys = {who: self.root / "keys" / who for who in (FOUNDER, APPROVER, OUTSIDER)}
        made = {self.ids[who]: sshsig.make_key(key, who) for who, key in self.keys.items()}
        lines = [f'{number} namespaces="{NAMESPACE}" {key}' for number, key in made.items()]
        self.allowed = self.host.state / "vault" / "allowed_signers"
        for folder in (self.allowed.parent, self.deployment.state / "vault"):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "allowed_signers").write_text("\n".join(lines[:2]) + "\n")

    def request(self, asked: Asked) -> Request:
        return open_request(self.deployment, asked.id or str(asked.number))

    def sign_as(self, who: str, asked: Asked) -> dict[str, object]:
        return sign(self.request(asked), self.site.client(who), self.keys[who])

    def ended(self, asked: Asked) -> str:
        """Approved, merged, looked at: how it ended."""
        self.review(asked)
        self.merged(asked)
        for _ in range(3):
            self.dispatch().turn()
        state = self.dispatch().ledger.state(asked.id)
        return str(state.evidence.get("code", state.kind))


@pytest.fixture(scope="module")
def keep(town: tuple[Site, Path | None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signing]:
    made = Signing(town[0], tmp_path_factory.mktemp("signing"), town[1], more=SIGNED)
    made.settle()
    with closing(made.deployment):
        yield made


def test_signed_by_an_admin_it_starts_and_unsigned_it_does_not(keep: Signing) -> None:
    unsigned = keep.ask(keep.action("gamma"))
    assert keep.ended(unsigned) == "signature-missing"
    asked = keep.ask(keep.action("gamma"))
    facts = keep.sign_as(FOUNDER, asked)
    assert (facts["counts_here"], facts["needed"], facts["account"]) == (True, True, keep.ids[FOUNDER])
    assert str(facts["allow"]).startswith(f'{keep.ids[FOUNDER]} namespaces="{NAMESPACE}" ssh-ed25519 ')
    assert signed_by(keep.request(asked)) == {keep.ids[FOUNDER]}
    assert keep.ended(asked) == "DONE"
    assert effects(keep, asked.id) == 1


def test_what_the_policy_wants_no_signature_for_needs_none(keep: Signing) -> None:
    asked = keep.ask(keep.action("beta"))
    assert not keep.request(asked).needed
    assert keep.ended(asked) == "DONE"


def test_somebody_who_is_no_admin_cannot_sign_for_one(keep: Signing) -> None:
    asked = keep.ask(keep.action("gamma"))
    with pytest.raises(PolicyDenied, match="as an admin"):
        keep.sign_as(APPROVER, asked)
    nonce, statement = new_nonce(), keep.request(asked).statement
    for who, number in ((APPROVER, keep.ids[APPROVER]), (APPROVER, keep.ids[FOUNDER]), (OUTSIDER, keep.ids[OUTSIDER])):
        told = sshsig.sign(keep.keys[who], NAMESPACE, signed_bytes(statement, number, nonce))
        keep.site.client(VAULT).comment(keep.ops, asked.number, Block(number, nonce, told).write("Signed."))
    assert keep.ended(asked) == "signature-missing"


def test_a_signature_counts_whoever_posts_it(keep: Signing) -> None:
    asked = keep.ask(keep.action("gamma"))
    nonce = new_nonce()
    data = signed_bytes(keep.request(asked).statement, keep.ids[FOUNDER], nonce)
    block = Block(keep.ids[FOUNDER], nonce, sshsig.sign(keep.keys[FOUNDER], NAMESPACE, data))
    keep.site.client(VAULT).comment(keep.ops, asked.number, block.write("From the admin, by way of a bot."))
    assert keep.ended(asked) == "DONE"


def test_attack_15_a_signature_copied_to_another_request(keep: Signing) -> None:
    first = keep.ask(keep.action("gamma"))
    keep.sign_as(FOUNDER, first)
    text = keep.site.client(FOUNDER).comments(keep.ops, first.number)[-1].body
    other = keep.ask(keep.action("gamma"))
    keep.site.client(FOUNDER).comment(keep.ops, other.number, text)
    assert signed_by(keep.request(other)) == frozenset()
    assert keep.ended(other) == "signature-missing"
    assert keep.ended(first) == "DONE"


def test_a_changed_policy_voids_it(keep: Signing) -> None:
    asked = keep.ask(keep.action("gamma"))
    keep.sign_as(FOUNDER, asked)
    looser = {"vault/policy.toml": keep.policy(2, more=f"{SIGNED}remember_days = 5\n")}
    keep.edit(looser, signed=lambda change: keep.sign_as(FOUNDER, change))
    keep.dispatch().turn()
    assert len(keep.dispatch().ledger.trust) == 3
    assert signed_by(keep.request(asked)) == frozenset()
    keep.sign_as(FOUNDER, asked)
    assert keep.ended(asked) == "DONE", "signed anew"


def test_a_key_that_is_taken_off_the_host_signs_no_more(keep: Signing) -> None:
    asked = keep.ask(keep.action("gamma"))
    keep.sign_as(FOUNDER, asked)
    text = keep.allowed.read_text()
    keep.allowed.write_text(text.split("\n", 1)[1])
    try:
        assert keep.ended(asked) == "signature-missing"
    finally:
        keep.allowed.write_text(text)


def test_what_cannot_be_signed_is_said(keep: Signing) -> None:
    for id in ("nothing-like-it", "../etc", ""):
        with pytest.raises(UsageError):
            open_request(keep.deployment, id)
    auto = keep.ask(keep.action("alpha"), "auto")
    with pytest.raises(PolicyDenied, match="nobody has to approve"):
        keep.request(auto)
    action = keep.action("gamma")
    late = keep.ask(action, data=action.write().replace(b"v = 1\n", b"v = 1\nx = 1\n"))
    with pytest.raises(PolicyDenied, match="would be refused"):
        keep.request(late)
    asked = keep.ask(keep.action("beta"))
    assert keep.ended(asked) == "DONE"
    with pytest.raises(UsageError, match="no request of that name waits"):
        keep.request(asked)


def test_the_ledger_that_came_of_it_is_audited_from_a_cold_clone(keep: Signing, tmp_path: Path) -> None:
    facts = audit_ledger(keep.deployment)
    assert facts["faults"] == ()
    assert facts["entries"] == keep.dispatch().ledger.count
    assert (facts["signatures"], facts["signed"]) == (True, facts["batches"] - 1), "all but GENESIS, written here"
    assert facts["kinds"]["DONE"] == facts["kinds"]["STARTED"]
    assert facts["unchecked"] == ()
    own = tmp_path / "own"
    sshsig.make_key(own, "x")
    strict = audit_ledger(keep.deployment, keys=[own.with_name("own.pub")], root="0" * 40)
    assert {fault["code"] for fault in strict["faults"]} == {"not-signed", "bad-signature", "other-root"}
    asked = audit_ledger(keep.deployment, keys=[host_key(keep.deployment.state).with_suffix(".pub")])
    assert [(fault["seq"], fault["code"]) for fault in asked["faults"]] == [(0, "not-signed")]
    with pytest.raises(UsageError, match=r"give|no public key"):
        audit_ledger(keep.deployment, keys=[own])


@attack(54, "An approval in the database, of a policy that wants no signatures", forge="allows",
        vault="signature-missing", check="a change of the policy is as high as what it decides")  # fmt: skip
def test_attack_54_signatures_switched_off_without_one(
    town: tuple[Site, Path | None], tmp_path: Path, off: Blind
) -> Seen:
    keep = Signing(town[0], tmp_path, town[1], more=SIGNED)
    keep.settle()
    with closing(keep.deployment):
        unsigned = {"vault/policy.toml": keep.policy(2, more="")}
        keep.edit(unsigned)  # its approval is what who broke into the forge would write
        dispatcher = keep.dispatch()
        dispatcher.turn()
        assert [entry.evidence["policy_version"] for entry in dispatcher.ledger.trust] == [1, 1]
        assert "admin's signature" in dispatcher.program.said
        asked = keep.ask(keep.action("gamma"))
        assert keep.ended(asked) == "signature-missing"
        off.patch.setattr(authority, "oath", lambda *_: b"")
        forged = frozenset({keep.ids[FOUNDER]})
        keep.signed_by(lambda statement, pulls: frozenset() if statement else forged)
        dispatcher.turn()
        assert len(dispatcher.ledger.trust) == 3
        assert keep.ended(keep.ask(keep.action("gamma"))) == "DONE"
    return Seen("allows", "signature-missing")


def test_a_change_is_shown_before_it_is_signed_and_only_what_the_vault_goes_by(keep: Signing) -> None:
    branch = "edit/shown"
    keep.write(FACTORY, branch, {"vault/policy.toml": keep.policy(9, more=f"{SIGNED}remember_days = 7\n")}, base="main")
    number = keep.site.client(FACTORY).create_pull(keep.ops, head=branch, base="main", title="x", body="").number
    request = open_request(keep.deployment, str(number))
    assert (request.name, request.needed) == (f"pull request {number}", True)
    assert "  vault/policy.toml" in request.screen.split("\n")
    assert "+remember_days = 7" in request.screen
    action = str(keep.ask(keep.action("gamma")).number)
    for wrong, why in (("99999", "no such pull request"), (action, "nothing that the")):
        with pytest.raises(UsageError, match=why):
            open_request(keep.deployment, wrong)
