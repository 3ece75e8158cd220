"""What a person writes to the ledger: how an interrupted action ended, that it is frozen, that it goes on. Pure.

The ledger's own rules judge these entries as any other; what is added here is who said it and why.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from factory.vault.canonical import plain
from factory.vault.ledger import ALL, Entry, Ledger, State


@dataclass(frozen=True)
class Word:
    """A person's word: their login and account id, why, when, and on which host they said it."""

    login: str
    account: int
    reason: str
    at: datetime
    host: str

    def evidence(self) -> dict[str, object]:
        return {"words": plain(f"{self.login} says: {self.reason}"), "account": self.account, "by_person": True}

    def entry(self, kind: str, state: State | None, evidence: dict[str, object] | None = None) -> Entry:
        return Entry(
            kind, state.id if state is not None else ALL, secrets.token_hex(16), f"{self.host}/person",
            self.at.astimezone(UTC).replace(microsecond=0), state.epoch if state is not None else 0,
            state.digest if state is not None else "", evidence or self.evidence(),
        )  # fmt: skip


def parked(ledger: Ledger, id: str) -> State | None:
    """The run of an action that waits for a person."""
    runs = [s for s in ledger.states.values() if s.id.partition("+")[0] == id and s.kind == "PARKED"]
    return min(runs, key=lambda state: state.seq, default=None)


def settled(state: State, word: Word, *, done: bool) -> Entry:
    """How a parked run ended, as a person found it: it was done, or it is given up."""
    return word.entry("DONE" if done else "ABANDONED", state)


def stopped(ledger: Ledger, word: Word) -> tuple[Entry, ...]:
    """Nothing starts any more; nothing to say where that is so already."""
    return () if ledger.frozen else (word.entry("FREEZE", None),)


def unfrozen(ledger: Ledger, word: Word, here: str = "") -> tuple[Entry, ...]:
    """A frozen vault goes on. ``here``: why only this host has it frozen, which the ledger is told, too."""
    told = (word.entry("FREEZE", None, {"words": here}),) if here and not ledger.frozen else ()
    return (*told, word.entry("UNFREEZE", None))


def restored(ledger: Ledger, word: Word) -> tuple[Entry, ...]:
    """An older ledger counts again: every approval before this moment is void, and then it goes on."""
    why = "the ledger was found older than this host had seen it"
    return (*_voided(ledger.frozen, word, why), word.entry("UNFREEZE", None))


def brought_back(ledger: Ledger, lost: Sequence[Entry], word: Word) -> tuple[Entry, ...]:
    """What a ledger lost, to be written on it again, and that every approval before this moment is void; it stays
    frozen. Of ``lost``, oldest first, only what is said of actions: which version of the controlled set counts, and
    what was frozen, nobody says again for others. What may not follow any more the ledger itself leaves out."""
    again = tuple(entry for entry in lost if entry.id != ALL)
    why = "entries that the ledger had lost were written on it again"
    # Nothing may be verified, claimed or started on a frozen ledger, nor be said to have been; all of it is one push.
    thaw = (word.entry("UNFREEZE", None),) if again and ledger.frozen else ()
    return (*thaw, *again, *_voided("" if thaw else ledger.frozen, word, why))


def _voided(frozen: str, word: Word, why: str) -> tuple[Entry, ...]:
    freeze = () if frozen else (word.entry("FREEZE", None, {**word.evidence(), "words": why}),)
    # The forge tells whole seconds: what was approved in the rest of this one was approved before it, too.
    after = replace(word, at=word.at + timedelta(seconds=1))
    return (*freeze, after.entry("RESTORED", None))
