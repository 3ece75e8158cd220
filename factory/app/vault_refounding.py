"""All admins lost: the operator of the dispatcher's host begins the vault anew, citing the ledger that was.

Nobody is left whose approval could change who decides. What takes its place is the forge's admin, who puts the new
policy on ``main``, together with whoever holds this host. Nothing that was asked or approved before counts any more,
and nothing that was done is done again: each action that the old ledger knew stands refused on the new one.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from factory.app import projects
from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.dispatcher import mark_copy
from factory.app.founding import RULE, Founding
from factory.app.opsrepo import mirror
from factory.app.setup import admin_of
from factory.config.model import DEFAULT_ACCOUNTS
from factory.errors import Conflict, UsageError
from factory.git import objects
from factory.vault.canonical import plain
from factory.vault.chain import BRANCH
from factory.vault.ledger import ALL, Entry, Ledger
from factory.vault.watch import frozen, marks

CODE = "begun-anew"
"""With which the new ledger refuses what the old one knew."""


def begin_anew(
    deployment: Deployment, *, commit: str, reason: str, now: datetime, admin_token: str | None = None,
    project: str | None = None,
) -> dict[str, Any]:  # fmt: skip
    """A new GENESIS with the policy that stands at ``commit`` of main.

    Raises UsageError, ConfigInvalid (the policy is not valid), Conflict (the old ledger cannot be kept), ForgeError."""
    repo, ops = project_of(deployment, project)
    doing = f"beginning the vault of {repo} anew"
    known = projects.load(deployment.state, repo)
    if known is None or not reason.strip():
        raise UsageError(f"{doing}: the ledger keeps why", hint="--reason 'both admins left; see the minutes of May'")
    copy = mirror(deployment, ops, refresh=True)
    oid = objects.resolve_commit(copy, commit)
    main = objects.read_ref(copy, "refs/heads/main")
    if oid is None or main is None or not objects.is_ancestor(copy, oid, main):
        raise UsageError(f"{doing}: {commit[:40]} is no commit of main", hint="the merge that brought the new policy")
    with admin_of(deployment.host, admin_token) as admin:
        accounts = {**DEFAULT_ACCOUNTS, **known.accounts}
        ids = {login: user.id for login in set(accounts.values()) if (user := admin.user(login)) is not None}
        founding = Founding(deployment, ops, known.ops_id, accounts, ids)
        founding.policy_at(oid)
        words = plain(f"the operator of {deployment.host.host} says: {reason.strip()}")
        with founding.chain() as chain:
            ledger = chain.sync(accept=True)
            if not ledger.frozen:  # whoever still turns starts nothing from here on
                chain.append([_entry("FREEZE", ALL, deployment.host.host, now, {"words": words})])
            tip, kept = ledger.tip, f"was-{BRANCH}-{ledger.tip[:12]}"
            if not chain.git.push(tip, kept):
                raise Conflict(f"{doing}: the old ledger cannot be kept as the branch {kept}", hint="does it exist?")
        after = _after(ledger, deployment.host.host, now, words)
        rule = next((one for one in admin.protections(ops) if one.rule_name == RULE), None)
        admin.delete_protection(ops, RULE)
        try:
            admin.delete_branch(ops, BRANCH)
            _forget(deployment, founding, tip)
            root = founding.begin(oid, now, {"cites": tip, "words": words}, after)
        finally:
            if rule is not None:
                admin.set_protection(ops, rule)
    return {"project": str(repo), "root": root, "cites": tip, "kept": kept, "commit": oid, "reason": reason.strip(),
            "refused": sum(entry.kind == "REFUSED" for entry in after)}  # fmt: skip


def _entry(kind: str, id: str, host: str, now: datetime, evidence: dict[str, object]) -> Entry:
    at = now.astimezone(UTC).replace(microsecond=0)
    return Entry(kind, id, secrets.token_hex(16), f"{host}/operator", at, evidence=evidence)


def _after(old: Ledger, host: str, now: datetime, words: str) -> tuple[Entry, ...]:
    """What follows GENESIS: every earlier approval is void, and every action that was known is refused."""
    refused = [
        _entry("REFUSED", state.id, host, now, {"code": CODE, "words": f"on the ledger before it was {state.kind}"})
        for state in sorted(old.states.values(), key=lambda state: state.id)
        if state.kind not in ("NEW", "SEEN")
    ]
    # The forge tells whole seconds: what was approved in the rest of this one was approved before it, too.
    return (_entry("RESTORED", ALL, host, now + timedelta(seconds=1), {"words": words}), *refused)


def _forget(deployment: Deployment, founding: Founding, tip: str) -> None:
    """This host's memory of the old ledger, which the new one does not continue, is put aside."""
    for mark in (founding.folder / marks.MARK, *founding.folder.glob("fence*.json")):
        if mark.exists():
            mark.replace(mark.with_name(f"{mark.name}.was-{tip[:12]}"))
    mark_copy(deployment, founding.folder).unlink(missing_ok=True)
    frozen.clear(founding.folder)
