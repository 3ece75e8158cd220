"""The whole ledger looked at again, from git objects alone: append-only, each entry may follow, its evidence is true.

Nothing of the forge is asked. What only the forge knows (who reviewed) cannot be found again here; what was said of it
must at least have been allowed. Whether entries carry their host's signature is told by whoever hands in the check;
whose signature counts at which point, the ledger says itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from factory.git.hardened import Commit, Git
from factory.vault.canonical import Refused, json_bytes, sha256
from factory.vault.ledger import Entry, Ledger, read
from factory.vault.people.batch import messages
from factory.vault.people.evidence import KEY_KINDS, Fault, Told, check_entry, check_keys, gather

BRANCH = "refs/heads/ledger"
MAX_ENTRY = 64 * 1024
_SIGNED = re.compile(r"-----BEGIN SSH SIGNATURE-----\n[A-Za-z0-9+/=\n]+-----END SSH SIGNATURE-----")

Check = Callable[[Sequence[tuple[str, bytes, tuple[str, ...]]]], Sequence[bool]]
"""(signature, what was signed, public keys) of many batches -> whether each is by one of its keys."""


@dataclass(frozen=True)
class Mark:
    """What a host remembers of the ledger: its first commit, a tip, how many entries there were."""

    root: str
    tip: str
    count: int


@dataclass(frozen=True)
class Audit:
    """What was found. ``faults`` empty: the ledger is what it says."""

    root: str = ""
    tip: str = ""
    entries: int = 0
    actions: int = 0
    kinds: Mapping[str, int] = field(default_factory=dict)
    batches: int = 0
    signed: int = 0
    """Pushes that carry a signature which was checked."""
    reproduced: int = 0
    """Verdicts (VERIFIED, TRUST, GENESIS) whose evidence was found again."""
    frozen: str = ""
    faults: tuple[Fault, ...] = ()
    unchecked: tuple[str, ...] = ()
    """What could not be looked at, and why."""


@dataclass(frozen=True)
class _Row:
    """One commit of the ledger with its entry, where it could be read."""

    commit: Commit
    data: bytes
    entry: Entry | None


def audit(
    git: Git, packaged: Callable[[str], bytes | None], *, check: Check | None = None, keys: Sequence[str] = (),
    own: Sequence[str] = (), root: str = "", mark: Mark | None = None,
) -> Audit:  # fmt: skip
    """Look at everything in a repo that holds the branches ``ledger``, ``main`` and ``auto``. Raises GitTrouble.

    ``packaged``: formulas of this version by name; ``check`` None: signatures are not looked at. A push must be signed
    by a key that the ledger says is in force there. ``keys``: public keys that a person named; they count beside it up
    to the first KEY_ADD or KEY_REVOKE. ``own``: this host's, which are counted and not demanded where neither ledger
    nor person names one. ``root``: the first commit there must be; empty: any."""
    tip = git.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{BRANCH}^{{commit}}", codes=(0, 1))
    if not tip:
        return Audit(faults=(Fault(-1, BRANCH, "no-ledger", "there is no such branch"),))
    history = git.history(tip)
    faults, rows = _structure(git, history)
    ledger, told, wrong = _fold(rows)
    faults += [*wrong, *_remembered(history, mark)]
    if root and not history[0].oid.startswith(root):
        faults.append(Fault(0, history[0].oid[:12], "other-root", f"the ledger should begin with {root[:12]}"))
    batches, signed = _batches(rows), 0
    if check is not None:
        texts = messages(git, tip)
        signatures = [_SIGNED.search(texts.get(rows[batch.last].commit.oid, "")) for batch in batches]
        bars = _bars(told, ledger, batches, keys, own)
        wrong, signed = _signatures(batches, [found[0] if found else "" for found in signatures], bars, check)
        faults += wrong
    objects = gather(git, [row.entry for row in rows if row.entry is not None], packaged)
    reproduced, faults = 0, [*faults, *check_keys(told, objects)]
    for one in told:
        found = check_entry(one, objects)
        faults += found
        reproduced += not found and one.entry.kind in ("VERIFIED", "TRUST", "GENESIS")
    kinds: dict[str, int] = {}
    for row in rows:
        if row.entry is not None:
            kinds[row.entry.kind] = kinds.get(row.entry.kind, 0) + 1
    return Audit(
        root=history[0].oid, tip=tip, entries=len(history), actions=len(ledger.states),
        kinds=dict(sorted(kinds.items())), batches=len(batches), signed=signed,
        reproduced=reproduced, frozen=ledger.frozen,
        faults=tuple(sorted(dict.fromkeys(faults), key=lambda fault: fault.seq)), unchecked=tuple(objects.unchecked),
    )  # fmt: skip


def _structure(git: Git, history: Sequence[Commit]) -> tuple[list[Fault], list[_Row]]:
    """Append-only: each commit has one parent, the one before it, and adds one plain file that is an entry."""
    faults, rows = [], []
    names = [commit.changes[0].blob if len(commit.changes) == 1 else "0" * 40 for commit in history]
    blobs: list[bytes | None] = []
    for at in range(0, len(names), 5000):
        blobs += git.read(names[at : at + 5000], MAX_ENTRY)
    for number, (commit, data) in enumerate(zip(history, blobs, strict=True)):
        where, before = commit.oid[:12], history[number - 1].oid if number else ""
        if commit.parents != ((before,) if number else ()):
            faults.append(Fault(number, where, "not-append-only", "its only parent is not the commit before it"))
        entry = None
        if len(commit.changes) != 1 or (commit.changes[0].status, commit.changes[0].mode) != ("A", "100644"):
            words = f"it does not add one plain file: {_changed(commit)}"
            faults.append(Fault(number, where, "not-append-only", words))
        else:
            try:
                entry = read(commit.changes[0].path.decode("ascii", "replace"), data or b"")
            except Refused as refused:
                faults.append(Fault(number, where, "bad-entry", refused.words))
        rows.append(_Row(commit, data or b"", entry))
    return faults, rows


def _changed(commit: Commit) -> str:
    told = [f"{c.status} {c.mode} {c.path.decode('ascii', 'replace')[:80]}" for c in commit.changes[:3]]
    return ", ".join(told) + (f" and {len(commit.changes) - 3} more" if len(commit.changes) > 3 else "") or "nothing"


def _fold(rows: Sequence[_Row]) -> tuple[Ledger, list[Told], list[Fault]]:
    """The entries in order by the ledger's own rules; after the first that may not follow, nothing is known."""
    ledger, told = Ledger(), list[Told]()
    for number, row in enumerate(rows):
        if row.entry is None:
            return ledger, told, []
        before, keys = ledger.state(row.entry.id), ledger.keys
        try:
            ledger.apply(row.entry, row.commit.oid)
        except Refused as refused:
            words = f"{refused.words}; what comes after it was not judged"
            return ledger, told, [Fault(number, row.commit.oid[:12], "does-not-follow", words)]
        told.append(Told(row.entry, before, len(ledger.trust), keys if number else ledger.keys))
    return ledger, told, []


def _remembered(history: Sequence[Commit], mark: Mark | None) -> list[Fault]:
    """Against what this host saw on the ledger before: it may have grown, never have changed."""
    if mark is None:
        return []
    commits = [commit.oid for commit in history]
    if commits[0] != mark.root or mark.count > len(commits) or commits[mark.count - 1] != mark.tip:
        words = f"this host saw {mark.count} entries up to {mark.tip[:12]}; they are not all there as they were"
        return [Fault(len(commits) - 1, commits[-1][:12], "ledger-gone", words)]
    return []


@dataclass(frozen=True)
class _Batch:
    """Entries pushed together: they name the same commit before them."""

    first: int
    last: int
    data: bytes
    """What their host signed."""


def _batches(rows: Sequence[_Row]) -> list[_Batch]:
    batches, start, root = [], 0, rows[0].commit.oid
    for number, row in enumerate(rows):
        following = rows[number + 1].entry if number + 1 < len(rows) else None
        if row.entry is not None and following is not None and following.prev == row.entry.prev:
            continue
        before = rows[start - 1].commit.oid if start else ""
        digests = [sha256(one.data) for one in rows[start : number + 1]]
        batches.append(_Batch(start, number, json_bytes([root if start else "", before, digests])))
        start = number + 1
    return batches


@dataclass(frozen=True)
class _Bar:
    """Whose signature a push may carry; ``must``: one of them it must."""

    keys: tuple[str, ...]
    must: bool
    revoked: tuple[str, ...] = ()
    """Keys that were in force before, as the ledger names them."""


def _bars(
    told: Sequence[Told], ledger: Ledger, batches: Sequence[_Batch], keys: Sequence[str], own: Sequence[str]
) -> list[_Bar]:
    """Each push under the keys in force where it begins; what could not be folded under those in force last."""
    bars, ever, by_hand, at = [], set[str](), True, 0
    for batch in batches:
        for one in told[at : batch.first]:
            by_hand &= one.entry.kind not in KEY_KINDS
            ever |= one.keys
        at = batch.first
        lines = told[at].keys if at < len(told) else ledger.keys
        named = [line.partition(" ")[2] for line in sorted(lines)] + (list(keys) if by_hand else [])
        allowed = tuple(dict.fromkeys(named)) or (tuple(own) if by_hand else ())
        bars.append(_Bar(allowed, bool(named), tuple(sorted(ever - lines))))
    return bars


def _signatures(
    batches: Sequence[_Batch], signatures: Sequence[str], bars: Sequence[_Bar], check: Check
) -> tuple[list[Fault], int]:
    rows = list(zip(signatures, batches, bars, strict=True))
    good = iter(check([(text, batch.data, bar.keys) for text, batch, bar in rows if text]))
    faults, signed = [], 0
    for text, batch, bar in rows:
        where = f"entries {batch.first} to {batch.last}" if batch.last > batch.first else f"entry {batch.first}"
        if text and next(good):
            signed += 1
        elif text and bar.must:
            whose = [line for line in bar.revoked if check([(text, batch.data, (line.partition(" ")[2],))])[0]]
            by = f"the key of {whose[0].partition(' ')[0]}, which was revoked, signed it" if whose else ""
            words = by or "as it stands, no key of this vault signed it"
            faults.append(Fault(batch.last, where, "revoked-key" if whose else "bad-signature", words))
        elif bar.must:
            faults.append(Fault(batch.last, where, "not-signed", "it carries no signature"))
    return faults, signed
