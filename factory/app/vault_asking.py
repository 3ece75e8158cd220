"""A person asks for a vault action: the same file, branch and pull request as an agent's wish, posted by the vault's
account, so that the person may approve it themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory.app.deployment import Deployment
from factory.app.opsrepo import factory_signature
from factory.app.projects import account
from factory.app.vault_opening import Vault, open_vault
from factory.app.vault_showing import facts_about
from factory.daemon.ports import VaultRequests
from factory.errors import PolicyDenied, UsageError
from factory.forge.values import ItemState
from factory.git import objects
from factory.vault.action import REQUESTER, Tier, check
from factory.vault.people.request import Draft, Unfit, Wish, action_id, branch_of, draft, path_of, said

MOST = 100
"""Times that one person may ask for the very same thing on one day."""


@dataclass(frozen=True)
class Order:
    """What a person said on the command line."""

    formula: str
    parameters: Mapping[str, str]
    reason: str = ""
    unblocks: tuple[str, ...] = ()
    blast_radius: str = "low"
    hours: int = 0
    runs: int = 1
    every_hours: int = 0


def request(deployment: Deployment, order: Order, login: str, *, project: str | None = None) -> dict[str, Any]:
    """Propose the action; asking for the same again while it waits finds it. Raises PolicyDenied with everything that
    is wrong with it, UsageError, ForgeError."""
    vault = open_vault(deployment, project=project)
    if not REQUESTER.fullmatch(f"person:{login}"):
        raise UsageError(f"asking as {login[:60]!r}: that is no account's name")
    made = _drafted(vault, order, login)
    there = vault.pull(made.action.id)
    if there is None or there.state is not ItemState.OPEN:
        _propose(vault, made)
        del vault.__dict__["pulls"]  # it was opened since
    told = facts_about(vault, made.action.id)
    return {**told, "new": there is None}


def _drafted(vault: Vault, order: Order, login: str) -> Draft:
    doing = f"asking for {order.formula[:60]}"
    tier = Tier.of(order.blast_radius)
    if tier is None:
        raise UsageError(f"{doing}: {order.blast_radius!r} is no tier", hint="low, medium or high")
    name = order.formula.partition("@")[0]
    parameters = sorted(order.parameters.items())
    for turn in range(1, MOST + 1):
        key = f"person:{login} {parameters} {order.runs} {order.every_hours} {turn}"
        id = action_id(vault.now, name, key)
        there = vault.pull(id)
        if (there is None or there.state is ItemState.OPEN) and id not in vault.ledger.states:
            break
    else:
        raise UsageError(f"{doing}: you asked for exactly this {MOST} times today", hint="factory vault list")
    wish = Wish(
        order.formula, order.parameters, f"person:{login}", key, _since(vault, id), order.reason, order.unblocks, tier,
        order.hours, order.runs, order.every_hours, commits=_commits(vault, order),
    )  # fmt: skip
    known = vault.known() if there is None else None
    try:
        return draft(wish, vault.rules, known)
    except Unfit as unfit:
        problems = "".join(f"\n  {said(finding)}" for finding in unfit.findings)
        raise PolicyDenied(f"{doing}: the vault does not take it:{problems}", hint=_hint(vault, name)) from None


def _since(vault: Vault, id: str) -> datetime:
    """From when on it may run: now, or when an earlier try of the same wish began that was cut off after its push."""
    head = objects.read_ref(vault.copy, f"refs/heads/{branch_of(id)}")
    data = objects.read_file(vault.copy, head, path_of(id)) if head is not None else None
    action = check(data, f"{id}.toml")[0] if data is not None else None
    return vault.now if action is None else action.not_before


def _hint(vault: Vault, name: str) -> str:
    formula = vault.rules.formula(name)
    if formula is None:
        return "`factory formula list` shows what there is"
    shape = " ".join(f"{key}=..." if param.required else f"[{key}=...]" for key, param in formula.params.items())
    return f"factory vault request {formula.name} {shape}".rstrip()


def _commits(vault: Vault, order: Order) -> dict[str, str]:
    """Branches and tags of the project that stand where the formula takes a commit, as they are now."""
    formula = vault.rules.formula(order.formula)
    wanted = {
        order.parameters[key] for key, param in (formula.params if formula else {}).items()
        if param.type == "commit" and key in order.parameters
    }  # fmt: skip
    if not wanted:
        return {}
    refs = vault.forge.ls_refs(vault.project, ("refs/heads/", "refs/tags/"))
    found = {}
    for name in wanted:
        commit = refs.get(f"refs/heads/{name}") or refs.get(f"refs/tags/{name}")
        if commit is not None:
            found[name] = commit
    return found


def _propose(vault: Vault, made: Draft) -> None:
    deployment, ops = vault.deployment, vault.ops
    ours = account(deployment.state, ops, "vault")
    requests = VaultRequests(
        lambda: vault.copy, lambda login: deployment.remote(login, ops), lambda: factory_signature(vault.now)
    )
    requests.propose(ours, made.branch, made.base, made.action.path, made.text, made.message)
    deployment.forge(ours).create_pull(ops, head=made.branch, base=made.base, title=made.title, body=made.body)
