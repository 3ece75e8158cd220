"""Writing to the ledger by a person's word, at the dispatcher's host: after it was checked that an admin says it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from factory.app.choosing import project_of
from factory.app.deployment import Deployment
from factory.app.dispatcher import mark_copy
from factory.app.people import as_person
from factory.app.places import vault_folder, vault_home
from factory.app.projects import account
from factory.app.vault_opening import Vault, open_vault
from factory.errors import Conflict, ForgeUnavailable, GitFailed, PolicyDenied, UsageError
from factory.git.hardened import Git, GitTrouble
from factory.vault.action import Tier
from factory.vault.canonical import Refused, plain
from factory.vault.chain import Chain
from factory.vault.keys.hostkeys import HostKeys
from factory.vault.ledger import Entry, Ledger
from factory.vault.people.settling import Word, parked, restored, settled, stopped, unfrozen
from factory.vault.people.telling import stands
from factory.vault.ports import Unclear
from factory.vault.watch import frozen, marks
from factory.vault.watch.wake import poke


@dataclass(frozen=True)
class Said:
    """What a person says, and their token; without one they are who set the project up here."""

    reason: str
    token: str | None = None


def settle(deployment: Deployment, id: str, said: Said, *, done: bool, project: str | None = None) -> dict[str, Any]:
    """Record how an interrupted action ended. Raises UsageError (it does not wait for that), PolicyDenied."""
    vault = open_vault(deployment, project=project)
    name = vault.find(id)
    doing = f"settling {name}"
    state = parked(vault.ledger, name)
    if state is None:
        known = [s for s in vault.ledger.states.values() if s.id.partition("+")[0] == name]
        where = stands(max(known, key=lambda s: s.seq)) if known else "is not on the ledger"
        raise UsageError(f"{doing}: it does not wait for a person: it {where}", hint=f"factory vault show {name}")
    word = word_of(vault, doing, said)
    (entry,) = _append(vault, doing, lambda ledger: (settled(ledger.state(state.id), word, done=done),))
    poke(vault_home(deployment.state))
    return {
        "id": state.id, "project": str(vault.project), "kind": entry.kind, "seq": entry.seq, "by": word.login,
        "reason": said.reason,
    }  # fmt: skip


def unfreeze(deployment: Deployment, said: Said, *, older: bool = False, project: str | None = None) -> dict[str, Any]:
    """Let a frozen vault go on. ``older``: the ledger is older than this host saw it (a restored backup), and shall
    count: every approval so far is void. Raises UsageError (nothing is frozen), PolicyDenied, Conflict."""
    vault = open_vault(deployment, project=project)
    doing = f"unfreezing the vault of {vault.project}"
    word = word_of(vault, doing, said)
    was, folder = vault.frozen, vault_folder(deployment.state, str(vault.ops))
    if not older and not was:
        raise UsageError(f"{doing}: it is not frozen", hint="factory vault list")
    here = frozen.words(folder)
    entries = _append(
        vault, doing, lambda ledger: restored(ledger, word) if older else unfrozen(ledger, word, here), accept=older
    )  # fmt: skip
    frozen.clear(folder)  # before anybody looks: it would be told to the ledger once more
    poke(vault_home(deployment.state))
    return {
        "project": str(vault.project), "by": word.login, "reason": said.reason, "was": was,
        "entries": [entry.kind for entry in entries], "approvals_void": older,
    }  # fmt: skip


def freeze(deployment: Deployment, said: Said, *, project: str | None = None) -> dict[str, Any]:
    """Have nothing of the vault start any more, by the word of anybody whom the policy lists.

    This host stops, then the ledger is told, which every other host and every run in flight asks. While the forge does
    not answer, nobody can be asked who says it: whoever may write here could stop this host anyhow, so it does stop,
    and its dispatcher tells the ledger when it can. ``told``: whether the ledger knows.

    Raises UsageError (no reason), PolicyDenied (not listed), ForgeRefused (not their token)."""
    doing = "freezing the vault"
    deployment.require_vault(doing)
    repo, ops = project_of(deployment, project)
    doing, reason = f"{doing} of {repo}", _reason(doing, said)
    folder, host, now = vault_folder(deployment.state, str(ops)), deployment.host.host, datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    was, by, trouble = frozen.words(folder), "", ""
    try:
        vault = open_vault(deployment, project=project)
        word = word_of(vault, doing, said, approver=True)
        was, by = was or vault.ledger.frozen, word.login
        frozen.keep(folder, str(word.evidence()["words"]), now)
        try:
            _append(vault, doing, lambda ledger: stopped(ledger, word))
        except Conflict:  # the dispatcher of this host was first to tell the ledger what is kept here, or another entry
            _append(vault, doing, lambda ledger: stopped(ledger, word))
        if frozen.words(folder) == word.evidence()["words"]:
            frozen.clear(folder)  # the ledger knows it now
    except (ForgeUnavailable, GitFailed, Conflict) as error:
        frozen.keep(folder, plain(f"somebody on {host} says: {reason}"), now)
        trouble = error.message
    poke(vault_home(deployment.state))
    return {"project": str(repo), "by": by, "reason": reason, "was": was, "told": not trouble, "trouble": trouble}


def _reason(doing: str, said: Said) -> str:
    if not said.reason.strip():
        raise UsageError(f"{doing}: the ledger keeps why", hint="--reason 'I looked: the release is there'")
    return said.reason.strip()


def word_of(vault: Vault, doing: str, said: Said, *, approver: bool = False) -> Word:
    """The person's word, if they are an admin by the policy in force; with ``approver`` one of those will do, too."""
    reason = _reason(doing, said)
    with as_person(vault.deployment, vault.founder(), said.token) as person:
        who = person.me()
    policy = vault.rules.policy
    if policy is None:
        raise PolicyDenied(f"{doing}: {vault.rules.problems[0]}", hint="factory check")
    listed = policy.bench(Tier.MEDIUM if approver else Tier.HIGH)
    if who.id not in listed:
        what = "an admin or an approver" if approver else "an admin"
        raise PolicyDenied(
            f"{doing} as {who.login}: the policy in force does not list account {who.id} as {what}",
            hint=f"it lists {' and '.join(vault.rules.names(listed))}",
        )
    return Word(who.login, who.id, reason, vault.now, vault.deployment.host.host)


def _append(
    vault: Vault, doing: str, make: Callable[[Ledger], Sequence[Entry]], *, accept: bool = False
) -> tuple[Entry, ...]:
    """Write entries with the dispatcher's account. Raises Conflict where the ledger does not take them any more."""
    state, ops = vault.deployment.state, vault.ops
    remote = vault.deployment.remote(account(state, ops, "dispatcher"), ops)
    folder = vault_folder(state, str(ops))
    with scratch(vault.deployment) as place:
        keys = HostKeys(state, lambda pulls: (), lambda: chain.ledger.keys)
        git = Git(place / "repo.git", remote.url, remote.token)
        chain = Chain(git, folder / marks.MARK, keys.sign)
        try:
            ledger = chain.sync(accept=accept)
            wanted = make(ledger)
            written = chain.append(wanted)
        except Refused as refused:
            hint = "if it was restored on purpose: factory vault unfreeze --older --reason ..."
            raise Conflict(f"{doing}: {refused.words}", hint=hint if refused.code == "ledger-gone" else None) from None
        except (Unclear, GitTrouble) as error:
            raise ForgeUnavailable(f"{doing}: {error}") from None
    if accept:
        marks.counts_now(folder / marks.MARK, mark_copy(vault.deployment, folder))
    if len(written) < len(wanted):
        raise Conflict(f"{doing}: the ledger moved on meanwhile", hint="look again: factory vault list")
    return written


@contextmanager
def scratch(deployment: Deployment) -> Iterator[Path]:
    """A folder for as long as the body lasts."""
    folder = deployment.host.cache / "scratch"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="factory-settling-", dir=folder) as place:
        yield Path(place)
