"""``factory vault mirror bring-back``: what the forge's ledger lost comes back from the mirror, by an admin's word.

Only the dispatcher's account may push the ledger, so it is done on its host. All of it is one push, and the vault is
frozen in the same one: nothing can start between. What had started or was done stands there as before, so it does not
run again; every earlier approval is void; an admin lets the vault go on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from factory.app.deployment import Deployment
from factory.app.dispatcher import mark_copy
from factory.app.places import vault_folder, vault_home
from factory.app.vault_audit import audited
from factory.app.vault_mirror import only
from factory.app.vault_mirroring import sides
from factory.app.vault_opening import Vault, bots, open_vault
from factory.app.vault_settling import Said, scratch, word_of
from factory.errors import Conflict, ForgeUnavailable, UsageError
from factory.git import objects
from factory.git.hardened import Git, GitTrouble
from factory.vault.canonical import Refused
from factory.vault.chain import Chain
from factory.vault.keys.hostkeys import HostKeys, host_key
from factory.vault.ledger import Entry, Ledger
from factory.vault.people.reading import LedgerReader, in_force
from factory.vault.people.rules import rules_at
from factory.vault.people.settling import Word, brought_back
from factory.vault.ports import Unclear
from factory.vault.watch import marks, mirroring
from factory.vault.watch.mirroring import LEDGER
from factory.vault.watch.wake import poke

UNSIGNED = frozenset({"not-signed", "bad-signature", "revoked-key"})


@dataclass(frozen=True)
class _Found:
    """``repo`` holds both while they are looked at; ``forge`` and ``best``: the tips; ``shared``: how many entries they
    have in common; ``straight``: the forge's is the beginning of the other, so the very same commits come back."""

    repo: Path
    forge: str
    best: str
    shared: int
    straight: bool

    @property
    def lost(self) -> list[Entry]:
        reader = LedgerReader()
        reader.read(self.repo, self.best)
        return [entry for entry, _ in reader.entries[self.shared :]]


def bring_back(
    deployment: Deployment, said: Said, *, unsigned: bool = False, project: str | None = None
) -> dict[str, Any]:
    """Write what the ledger lost on it again. ``unsigned``: also entries that no host named by the ledger signed.

    Raises UsageError (nothing is missing, no mirror), PolicyDenied (no admin's word), Conflict (another ledger, entries
    that may not be there, a ledger that moved on), ForgeError."""
    _, ops, mirror = only(deployment, project)
    vault = open_vault(deployment, project=project)
    doing = f"bringing back the ledger of {ops} from {mirror.url}"
    place, folder = sides(deployment, ops, mirror), vault_folder(deployment.state, str(ops))
    with mirroring.together(place) as (repo, forge, there), scratch(deployment) as work:
        found = _found(doing, repo, forge, there, marks.tip(folder / marks.MARK))
        # What the mirror has is newer: which key is in force there is the last word on it.
        sign = HostKeys(deployment.state, lambda pulls: (), lambda: far.ledger.keys).sign
        bare = work / "repo.git"
        far = Chain(Git(bare, str(repo)), work / "far.json", sign)
        near = Chain(Git(bare, place.forge.url, place.forge.token), work / "near.json", sign)
        try:
            ledger = far.sync()
            if not unsigned:
                _signed(doing, deployment.state, far.git, found.shared)
            count, word = ledger.count - found.shared, _word(vault, ledger, doing, said)
            left = _written(found, far, near, word)
            # What stands on the forge now is what this host has seen of it.
            Chain(near.git, folder / marks.MARK, sign).sync(accept=True)
            marks.counts_now(folder / marks.MARK, mark_copy(deployment, folder))
        except Refused as refused:
            raise Conflict(f"{doing}: {refused.words}", hint="factory vault mirror check") from None
        except (Unclear, GitTrouble) as error:
            raise ForgeUnavailable(f"{doing}: {error}", hint="the same again") from None
    poke(vault_home(deployment.state))
    return {
        "project": str(vault.project), "by": word.login, "reason": said.reason, "from": found.forge,
        "brought_back": count - len(left), "same_commits": found.straight, "ledger": found.best,
        "left_out": [f"{entry.id} {entry.kind}" for entry in left],
    }  # fmt: skip


def _found(doing: str, repo: Path, forge: str, there: str | None, seen: str) -> _Found:
    """What there is to come back: what the mirror has, or, where it is more, what this host saw and still holds."""
    best = there or ""
    if seen and objects.exists(repo, seen) and (not best or objects.is_ancestor(repo, best, seen)):
        best = seen
    if not best or objects.is_ancestor(repo, best, forge):
        raise UsageError(f"{doing}: nothing is missing on the forge", hint="factory vault mirror check")
    base = objects.merge_base(repo, forge, best)
    if base is None:
        raise Conflict(f"{doing}: the two do not begin with the same entry", hint="factory vault mirror check")
    if best != objects.read_ref(repo, LEDGER):
        objects.update_ref(repo, LEDGER, best, objects.read_ref(repo, LEDGER))
    return _Found(repo, forge, best, objects.count_commits(repo, base), base == forge)


def _signed(doing: str, state: Path, git: Git, shared: int) -> None:
    """The mirror is a machine that others may write to: what it brings must be from a host of this vault."""
    own = host_key(state).with_suffix(".pub")
    audit, looked = audited(git, state, [own] if own.exists() else [])
    hint = "look at them at the mirror; --unsigned takes them as they are"
    if not looked:
        raise Conflict(f"{doing}: signatures cannot be looked at: ssh-keygen is not installed", hint=hint)
    wrong = [fault for fault in audit.faults if fault.code in UNSIGNED and fault.seq >= shared]
    if wrong or not audit.signed:
        where = ", ".join(fault.where for fault in wrong[:3]) or "anything there"
        raise Conflict(f"{doing}: no host that the ledger names signed {where}", hint=hint)


def _word(vault: Vault, ledger: Ledger, doing: str, said: Said) -> Word:
    """Judged by the newest policy that either ledger names and that is here."""
    commit = in_force(ledger, vault.copy)
    if commit is not None:
        vault = replace(vault, rules=rules_at(vault.copy, commit, bots(vault.deployment, vault.project)))
    return word_of(vault, doing, said)


def _written(found: _Found, far: Chain, near: Chain, word: Word) -> list[Entry]:
    """Write them; those that could not be. ``far`` is at the tip of what comes back. Raises as ``Chain.append``."""
    lost = [] if found.straight else found.lost
    chain = far if found.straight else near
    if found.straight:
        far.git = near.git  # what it writes follows on the very commits that were lost, and goes to the forge with them
    else:
        near.sync()
    written = {(entry.id, entry.kind, entry.run) for entry in chain.append(brought_back(chain.ledger, lost, word))}
    if not any(kind == "RESTORED" for _, kind, _ in written):
        raise Refused("ledger-gone", "the ledger moved on meanwhile; try the same again")
    return [entry for entry in lost if (entry.id, entry.kind, entry.run) not in written]
