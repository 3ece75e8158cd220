"""The vault's secrets from the command line: what is there and who can read it; changes as pull requests to approve."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.app.choosing import founder_of, project_of
from factory.app.deployment import Deployment
from factory.app.editing import MAIN, share
from factory.app.opsrepo import mirror
from factory.app.secret_offer import offered
from factory.errors import FactoryError, UsageError
from factory.forge.values import RepoName
from factory.git import objects
from factory.vault.canonical import Refused
from factory.vault.keys import agekey, sshsig
from factory.vault.keys.changing import Change, Place, put, reseal, take_away
from factory.vault.keys.errors import KeyMissing
from factory.vault.keys.hostkeys import forget_old, host_key, next_key, wanted
from factory.vault.keys.shelf import Kept, Shelf, look
from factory.vault.people.reading import BRANCH, LedgerReader
from factory.vault.policy import MAX_POLICY, PATH, Policy, read


@dataclass(frozen=True)
class Secrets:
    """The secrets of one project's ops repo, as they stand on ``main`` now."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    place: Place
    wanted: Mapping[str, tuple[str, ...]]
    """Secret -> formulas that the policy gives it to."""
    policy: Policy | None = None
    policy_trouble: str = ""
    ledger_trouble: str = ""
    """Why the ledger does not say whose signatures count on it."""

    @property
    def shelf(self) -> Shelf:
        return self.place.shelf


def open_secrets(deployment: Deployment, *, project: str | None = None) -> Secrets:
    """Raises UsageError (which project?), ForgeError."""
    repo, ops = project_of(deployment, project)
    copy = mirror(deployment, ops, refresh=True)
    commit = objects.read_ref(copy, MAIN)
    if commit is None:
        raise UsageError(f"reading the secrets of {ops}: it has no branch main", hint="factory doctor")
    shelf = look(deployment.state, copy, commit)
    text = objects.read_file(copy, commit, PATH, MAX_POLICY + 1)
    try:
        lines, wrong = LedgerReader().read(copy, objects.read_ref(copy, BRANCH)).keys, ""
    except Refused as refused:
        lines, wrong = frozenset(), refused.words
    in_force = dict(line.split(" ", 1) for line in lines if " " in line)
    place = Place(deployment.state, deployment.host.host, copy, shelf, _own_host_key(deployment), in_force)
    if text is None:
        return Secrets(deployment, repo, ops, place, {}, None, f"there is no {PATH}", wrong)
    try:
        policy = read(text)
    except Refused as refused:
        return Secrets(deployment, repo, ops, place, {}, None, f"{PATH}: {refused.words}", wrong)
    return Secrets(deployment, repo, ops, place, _wanted(policy), policy, "", wrong)


def _own_host_key(deployment: Deployment) -> str:
    """Public half of the key with which this host is to sign the ledger; empty where there is none that can be used."""
    try:
        return wanted(deployment.state)
    except FactoryError:
        return ""  # `factory doctor` says what is wrong with it


def _wanted(policy: Policy) -> dict[str, tuple[str, ...]]:
    rules = policy.formulas
    names = {name for rule in rules.values() for name in rule.secrets}
    return {name: tuple(sorted(key for key, rule in rules.items() if name in rule.secrets)) for name in names}


def listed(secrets: Secrets) -> dict[str, Any]:
    """Every secret that is there or that the policy names: who can read it, what may have it, what is wrong."""
    names = sorted({kept.name for kept in secrets.shelf.secrets} | set(secrets.wanted))
    recipients = secrets.shelf.recipients
    return {
        "project": str(secrets.project),
        "ops": str(secrets.ops),
        "commit": secrets.shelf.commit,
        "host": secrets.place.host,
        "host_keys": _own_keys(secrets),
        "dispatchers": dict(recipients.dispatchers),
        "recovery": dict(recipients.recovery),
        "signing": dict(recipients.host_keys or secrets.place.in_force),
        "signing_now": dict(secrets.place.in_force),
        "own_signing": secrets.place.host_key,
        "joins_with": _joins_with(secrets),
        "trouble": "; ".join(
            part for part in (secrets.shelf.trouble, secrets.policy_trouble, secrets.ledger_trouble) if part
        ),
        "secrets": [_row(secrets, name) for name in names],
    }


def _joins_with(secrets: Secrets) -> str:
    """What to say where another host can read the secrets, for this one to join; empty where it has joined."""
    own, recipients = _own_keys(secrets), secrets.shelf.recipients
    readers, signing = recipients.dispatchers, recipients.host_keys or secrets.place.in_force
    host, ssh = secrets.place.host, secrets.place.host_key
    signs = not signing or not ssh or signing.get(host) in (ssh, _key_before(secrets.deployment))
    joined = signs and (not readers or readers.get(host) in own)
    if not own or joined:
        return ""
    return f"factory secret rotate --all --host '{host}={f'{own[0]} {ssh}'.strip()}'"


def _key_before(deployment: Deployment) -> str:
    """Public half of the key with which this host signs until the one to come is in force; empty: there is none."""
    try:
        return sshsig.public_of(host_key(deployment.state)) if host_key(deployment.state).exists() else ""
    except FactoryError:
        return ""  # `factory doctor` says what is wrong with it


def _own_keys(secrets: Secrets) -> list[str]:
    try:
        return list(agekey.public(secrets.place.state))
    except KeyMissing:
        return []


def _row(secrets: Secrets, name: str) -> dict[str, Any]:
    kept = secrets.shelf.find(name) or Kept(name, None, "the policy names it, but it is not there", "secret-missing")
    recipients, label = secrets.shelf.recipients, kept.label
    wanted = secrets.wanted.get(name, ())
    keys = label.keys if label is not None else ()
    allowed = label.formulas if label is not None else ()
    missing = sorted(set(recipients.keys) - set(keys)) if label is not None else []
    return {
        "name": name,
        "version": label.version if label is not None else None,
        "formulas": list(allowed),
        "policy": list(wanted),
        "not_for": sorted(set(wanted) - set(allowed)) if label is not None else [],
        "keys": list(keys),
        "readers": [recipients.holder(key) for key in keys],
        "cannot_read": [recipients.holder(key) for key in missing],
        "readable_here": not kept.trouble,
        "code": kept.code,
        "trouble": kept.trouble,
        "doubt": kept.doubt,
        "used": bool(wanted),
    }


def set_secret(secrets: Secrets, name: str, value: bytes, formulas: Collection[str]) -> dict[str, Any]:
    """Propose a value; without ``formulas`` for those that the policy, or else its label, names. Raises UsageError
    outside the vault's own home, where it has one."""
    secrets.deployment.require_vault(f"setting the secret {name[:64]}")
    kept = secrets.shelf.find(name)
    known = kept.label.formulas if kept is not None and kept.label is not None else ()
    return _proposed(secrets, put(secrets.place, name, value, formulas or secrets.wanted.get(name) or known))


def rotate_secret(secrets: Secrets, name: str, value: bytes) -> dict[str, Any]:
    """Propose another value for a secret that is there, for the same formulas. Raises UsageError when it is not."""
    secrets.deployment.require_vault(f"rotating the secret {name[:64]}")
    kept = secrets.shelf.find(name)
    if kept is None or kept.label is None:
        raise UsageError(f"rotating the secret {name[:64]}: there is none with a label", hint="factory secret list")
    return _proposed(secrets, put(secrets.place, name, value, kept.label.formulas))


def reseal_secrets(
    secrets: Secrets, *, add: Mapping[str, str], hosts: Mapping[str, str], drop: Collection[str], new_key: bool
) -> dict[str, Any]:
    """Propose all secrets again, to other keys, and other hosts to sign the ledger."""
    secrets.deployment.require_vault("encrypting the secrets anew")
    return _proposed(secrets, reseal(secrets.place, add=add, hosts=hosts, drop=drop, new_key=new_key))


def remove_secret(secrets: Secrets, name: str) -> dict[str, Any]:
    """Propose to keep a secret no more."""
    return _proposed(secrets, take_away(secrets.place, name, secrets.wanted.get(name, ())))


def drop_old_keys(secrets: Secrets) -> dict[str, Any]:
    """Forget keys of this host that nothing on ``main`` is encrypted to any more, not while a secret has no label; and
    the one that signed the ledgers, once another does so on all of them. A host has its keys for all its projects."""
    secrets.deployment.require_vault("dropping old keys")
    every = of_this_host(secrets)
    dropped = list(agekey.keep(secrets.place.state, sorted(needed(every))))
    return {"project": str(secrets.project), "dropped": [*dropped, *_forgotten_host_key(every)]}


def of_this_host(secrets: Secrets) -> tuple[Secrets, ...]:
    """Those of every project here, the given ones first. Raises ForgeError."""
    deployment = secrets.deployment
    others = [str(project) for project, _ in deployment.projects() if project != secrets.project]
    return (secrets, *(open_secrets(deployment, project=project) for project in others))


def needed(every: Sequence[Secrets]) -> frozenset[str]:
    """Keys that some secret is encrypted to. Raises UsageError while nobody knows that of one."""
    for one in every:
        for kept in one.shelf.secrets:
            if kept.label is None:
                raise UsageError(
                    f"dropping old keys: nobody knows which key {kept.name} of {one.project} needs",
                    hint=f"factory secret list --project {one.project}",
                )
    labels = [kept.label for one in every for kept in one.shelf.secrets if kept.label is not None]
    return frozenset(key for label in labels for key in label.keys)


def new_key_counts(every: Sequence[Secrets]) -> bool:
    """Whether all ledgers that name keys take what this host's next one signs."""
    new = every[0].place.host_key
    return all(not one.place.in_force or new in one.place.in_force.values() for one in every)


def _forgotten_host_key(every: Sequence[Secrets]) -> list[str]:
    state = every[0].deployment.state
    if not next_key(state).exists() or not new_key_counts(every):
        return []
    old = forget_old(state)
    return [old] if old else []


def _proposed(secrets: Secrets, change: Change) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "project": str(secrets.project),
        "ops": str(secrets.ops),
        "route": "none",
        "number": None,
        "url": None,
        "secrets": [
            {"name": label.name, "version": label.version, "formulas": list(label.formulas),
             "readers": [change.recipients.holder(key) for key in label.keys]}
            for label in change.secrets
        ],
        "notes": list(change.notes),
    }  # fmt: skip
    if not change.edits:
        return facts
    if secrets.deployment.host.runs == "vault":
        return facts | {"route": "offer", "offer": offered(secrets.ops, secrets.place, change)}
    login = founder_of(secrets.deployment, secrets.project)
    return facts | share(
        secrets.deployment, secrets.ops, list(change.edits), change.title, login, slug=change.slug, body=change.body,
        replaces=True,
    )  # fmt: skip
