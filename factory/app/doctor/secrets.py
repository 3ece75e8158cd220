"""Who can decrypt what, and whose signatures count: the vault's keys as this host has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from factory.app.deployment import Deployment
from factory.app.doctor.finding import Finding, note, ok, problem
from factory.app.vault_secrets import Secrets, listed, needed, new_key_counts, of_this_host, open_secrets
from factory.errors import FactoryError, UsageError
from factory.forge.values import RepoName
from factory.vault.action import Tier
from factory.vault.keys import sshsig
from factory.vault.keys.approving import NAMESPACE, roll
from factory.vault.keys.hostkeys import host_key, next_key

AREA = "vault"
ADD_RECOVERY = "factory secret rotate --all --recovery NAME=age1... (age-keygen makes one; keep it off this host)"
HOW_TO_SIGN = (
    'each admin: ssh-keygen -t ed25519-sk -O verify-required; add the line `ACCOUNT-ID namespaces="' + NAMESPACE + '" '
    'KEYTYPE KEY` to state/vault/allowed_signers here; then require_signature = ["high"] in vault/policy.toml'
)


def look(deployment: Deployment, project: RepoName) -> Iterator[Finding]:
    """This host's keys, each secret of the project, the signatures its policy asks for. Raises ForgeError."""
    secrets = open_secrets(deployment, project=str(project))
    facts = listed(secrets)
    yield from _keys(deployment, secrets, facts)
    if facts["trouble"] and secrets.shelf.trouble:
        yield problem(AREA, "recipients", secrets.shelf.trouble, "factory edit vault/secrets/recipients.toml")
    for row in facts["secrets"]:
        yield from _secret(row)
    if facts["secrets"] and not facts["recovery"] and len(facts["dispatchers"]) < 2:
        yield note(AREA, "recovery", "only this host can read the secrets: with its disk they are lost", ADD_RECOVERY)
    yield from _signatures(deployment, secrets)


def _keys(deployment: Deployment, secrets: Secrets, facts: dict[str, Any]) -> Iterator[Finding]:
    own = facts["host_keys"]
    if not own:
        if facts["secrets"]:
            again = "put state/vault/age.key from your backup back, or set every secret anew: factory secret set NAME"
            yield problem(AREA, "age key", "this host has none that can be used", again)
        return
    registered = facts["dispatchers"].get(facts["host"])
    if facts["secrets"] and registered not in own:
        yield note(AREA, "age key", f"{facts['host']} is not among the readers", "factory secret rotate --all")
    else:
        yield ok(AREA, "age key", f"{own[0]}")
    if len(own) > 1:
        yield from _old(secrets, own[1:])
    try:
        if host_key(deployment.state).exists():
            yield _signing(facts, sshsig.public_of(host_key(deployment.state)))
            if next_key(deployment.state).exists():
                counts = facts["own_signing"] in facts["signing_now"].values()
                counts = counts and new_key_counts(of_this_host(secrets))
                waits = "factory vault list" if not counts else "factory secret rotate --drop-old"
                words = "the key before is still kept" if counts else "another one waits for an admin's approval"
                yield note(AREA, "next host key", words, waits)
        else:
            yield note(AREA, "host key", "none: the ledger's entries are not signed", "the same `factory init` again")
    except FactoryError as error:
        yield problem(AREA, "host key", error.message, error.hint)


def _old(secrets: Secrets, old: list[str]) -> Iterator[Finding]:
    """A host has its keys for all its projects."""
    try:
        kept = needed(of_this_host(secrets))
    except UsageError:
        return  # a secret without a label is told by itself; until then no key is an old one
    if any(key not in kept for key in old):
        yield note(AREA, "old age key", "no secret needs it any more", "factory secret rotate --drop-old")


def _signing(facts: dict[str, Any], own: str) -> Finding:
    """Whether what this host writes on the ledger counts as signed."""
    host, now = facts["host"], facts["signing_now"]
    if not now or now.get(host) in (own, facts["own_signing"]):
        return ok(AREA, "host key", now.get(host, own))
    if facts["signing"].get(host) == own:
        words = f"{own}: it is listed, and counts once a dispatcher has seen that an admin approved it"
        return note(AREA, "host key", words, "factory vault list")
    words = f"the ledger does not name {own} for {host}: `factory vault audit` finds fault with what this host writes"
    return problem(AREA, "host key", words, facts["joins_with"] or "factory secret list")


def _secret(row: dict[str, Any]) -> Iterator[Finding]:
    name = f"secret {row['name']}"
    again = f"factory secret rotate {row['name']}"
    who = f"version {row['version']}, for {', '.join(row['formulas'])}; read by {', '.join(row['readers'])}"
    if row["trouble"]:
        found = problem if row["used"] else note
        hint = "factory secret rotate --all, on a host that can read it" if row["code"] == "secret-not-ours" else None
        yield found(AREA, name, row["trouble"], hint or f"factory secret set {row['name']}")
    elif row["not_for"]:
        given = " ".join(f"--for {formula}" for formula in sorted({*row["not_for"], *row["formulas"]}))
        told = f"the policy gives it to {', '.join(row['not_for'])}; inside it says {', '.join(row['formulas'])}"
        yield problem(AREA, name, told, f"factory secret set {row['name']} {given}")
    elif row["used"]:
        yield ok(AREA, name, f"{who}; this host: yes")
    else:
        yield note(AREA, name, f"{who}; no formula of the policy uses it", f"factory secret remove {row['name']}")
    if row["doubt"]:
        yield problem(AREA, name, row["doubt"], again)
    if row["cannot_read"]:
        yield note(AREA, name, f"cannot be read by {', '.join(row['cannot_read'])}", "factory secret rotate --all")


def _signatures(deployment: Deployment, secrets: Secrets) -> Iterator[Finding]:
    policy, signers = secrets.policy, roll(deployment.state / "vault" / "allowed_signers")
    for line in signers.wrong:
        yield problem(AREA, "allowed_signers", f"{line}; the line counts for nothing", HOW_TO_SIGN)
    if policy is None:
        return
    known = {signer.account for signer in signers.signers} & policy.admins
    if Tier.HIGH not in policy.signed:
        yield note(AREA, "signatures", "high actions need none: who rules the forge could approve them", HOW_TO_SIGN)
    if policy.signed and not known:
        words = f"the policy asks for them; no key of its admins ({_ids(policy.admins)}) is known here: nothing starts"
        yield problem(AREA, "signatures", words, HOW_TO_SIGN)
    elif policy.signed:
        missing = policy.admins - known
        less = f"; no key of account {_ids(missing)} is known here" if missing else ""
        yield ok(AREA, "signatures", f"asked for, with keys of account {_ids(frozenset(known))}{less}")


def _ids(accounts: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(accounts)))
