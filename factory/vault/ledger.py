"""The ledger as values: its entries, and what they say of every action. The state machine stands in one table.

Part of the trusted part. One entry is one file ``e/<id>/<seq>-<KIND>.toml`` on branch ``ledger``; entries are only ever
added. Folding the same entries gives the same states anywhere; an entry that may not follow is refused by whoever
reads it, so a forged one changes nothing but the alarm (vault-security.md, 3.2 to 3.4).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from factory.vault.action import ID, Tier
from factory.vault.canonical import Refused, load, must, toml, wrong

ALL = "_"
"""In place of an id: the entry is about the whole vault."""
AFTER: Mapping[str, frozenset[str]] = {kind: frozenset(states.split()) for kind, states in {
    "SEEN": "NEW", "VERIFIED": "NEW SEEN FENCED", "REFUSED": "NEW SEEN", "CLAIMED": "VERIFIED CLAIMED",
    "STARTED": "CLAIMED", "DONE": "STARTED FENCED PARKED", "FAILED": "STARTED", "UNKNOWN": "STARTED",
    "FENCED": "UNKNOWN", "PARKED": "CLAIMED FENCED", "ABANDONED": "PARKED", "REVOKED": "VERIFIED CLAIMED",
}.items()}  # fmt: skip
"""Which states an entry of a kind may follow; LATE follows any."""
WHOLE = ("GENESIS", "TRUST", "KEY_ADD", "KEY_REVOKE", "FREEZE", "UNFREEZE", "RESTORED")
FINAL = frozenset({"REFUSED", "DONE", "FAILED", "ABANDONED", "REVOKED"})
COLD = frozenset({"VERIFIED", "CLAIMED", "STARTED"})
"""Kinds that no entry may have while the vault is frozen: nothing begins."""
_FORM = {"v": range(1, 2), "id": re.compile(rf"{ALL}|{ID.pattern}(?:\+(?:[2-9]|[1-9][0-9]{{1,2}}))?"),
         "seq": range(10**8), "kind": str, "epoch": range(10**6 + 1), "run": re.compile(r"[0-9a-f]{32}"), "digest": str,
         "at": datetime, "by": str, "prev": str, "evidence": dict}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """One line of the vault's history. ``run`` is a random nonce, so no two entries are ever the same commit."""

    kind: str
    id: str
    run: str
    by: str
    at: datetime
    epoch: int = 0
    digest: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    prev: str = ""

    @property
    def path(self) -> str:
        return f"e/{self.id}/{self.seq:08d}-{self.kind}.toml"

    def write(self) -> bytes:
        return toml({
            "v": 1, "id": self.id, "seq": self.seq, "kind": self.kind, "epoch": self.epoch, "run": self.run,
            "digest": self.digest, "at": self.at, "by": self.by, "prev": self.prev, "evidence": self.evidence,
        })  # fmt: skip


def read(path: str, data: bytes) -> Entry:
    """The entry in a file of the ledger. Raises Refused ``bad-entry``: also for a kind of a newer version."""
    try:
        values = load(data, limit=64 * 1024)
        bad = wrong(values, _FORM)
        entry = Entry(**{key: value for key, value in values.items() if key != "v"})
        known = entry.kind in WHOLE if entry.id == ALL else entry.kind in AFTER or entry.kind == "LATE"
        must(not bad and known and entry.path == path and entry.write() == data, "bad-entry",
             "; ".join(bad) or "it is not an entry of this version")  # fmt: skip
    except (Refused, TypeError, ValueError) as error:
        raise Refused("bad-entry", f"{path[:120]}: {str(error)[:200]}") from None
    return entry


@dataclass(frozen=True)
class State:
    """What the ledger says of one action."""

    id: str
    kind: str = "NEW"
    epoch: int = 0
    run: str = ""
    by: str = ""
    at: datetime | None = None
    seq: int = -1
    digest: str = ""
    claims: int = 0
    judged: int = -1
    """Number of the entry that first said VERIFIED or REFUSED."""
    started: datetime | None = None
    """When it first started."""
    verified: Mapping[str, Any] = field(default_factory=dict)
    """Evidence of the first verification: tier, target, formula..."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    """Of the last entry."""

    @property
    def final(self) -> bool:
        return self.kind in FINAL


class Ledger:
    """The fold of all entries up to ``tip``; ``root`` is the first commit."""

    def __init__(self) -> None:
        self.root, self.tip, self.count, self.frozen, self.thawed = "", "", 0, "", -1
        self._prev = ""  # entries pushed together name the same tip
        self.states: dict[str, State] = {}
        self.genesis: Entry | None = None
        self.trust: list[Entry] = []
        """GENESIS and every TRUST, oldest first."""
        self.keys: frozenset[str] = frozenset()
        """Whose signatures count from here on, ``HOST TYPE KEY``: GENESIS and KEY_ADD without KEY_REVOKE."""
        self.restored: datetime | None = None
        """Approvals older than this are void."""

    def state(self, id: str) -> State:
        return self.states.get(id, State(id))

    def why_not(self, entry: Entry) -> str:
        """Why the entry may not be next; empty: it may."""
        if (entry.kind == "GENESIS") != (self.genesis is None):
            return "the ledger begins with one GENESIS"
        if entry.id == ALL:
            last, said = (self.trust or [entry])[-1], entry.evidence
            old, new = (v if isinstance(v := e.get("policy_version"), int) else 0 for e in (last.evidence, said))
            same = ("TRUST", entry.prev, said.get("commit")) == (last.kind, last.prev, last.evidence.get("commit"))
            known = str(said.get("host_key")) in self.keys
            good = {"FREEZE": not self.frozen, "UNFREEZE": bool(self.frozen), "KEY_ADD": same and not known,
                    "KEY_REVOKE": same and known, "TRUST": entry.epoch == len(self.trust) and new >= old}  # fmt: skip
            return "" if good.get(entry.kind, True) else f"{entry.kind} {entry.epoch} does not follow"
        state = self.state(entry.id)
        if self.frozen and entry.kind in COLD:
            return f"the vault is frozen: {self.frozen}"
        if entry.kind == "LATE":
            return "" if entry.id in self.states else "nothing is known of it"
        if state.kind not in AFTER[entry.kind]:
            return f"{entry.kind} does not follow {state.kind}"
        if entry.epoch != state.epoch + (entry.kind in ("CLAIMED", "FENCED")):
            return f"epoch {entry.epoch} after {state.epoch}"
        own = state.kind in ("CLAIMED", "STARTED") and entry.kind in ("STARTED", "DONE", "FAILED")
        if own and entry.run != state.run:
            return f"{entry.kind} of another run"
        if entry.kind in ("CLAIMED", "FENCED") and entry.run == state.run:
            return "its nonce was used"
        return self.lane_taken(state) if entry.kind == "CLAIMED" else ""

    def apply(self, entry: Entry, commit: str) -> None:
        """Take the entry that stands in ``commit``. Raises Refused ``bad-entry`` when it may not be there."""
        why = self.why_not(entry)
        if why or entry.seq != self.count or entry.prev not in (self.tip, self._prev):
            raise Refused("bad-entry", f"{entry.path}: {why or 'not the next entry'}")
        self.root, self.tip, self.count, self._prev = self.root or commit, commit, self.count + 1, entry.prev
        if entry.kind == "GENESIS":
            host, ssh = entry.by.partition("/")[0], entry.evidence.get("dispatcher_ssh")
            self.genesis, self.keys = entry, frozenset({f"{host} {ssh}"} if ssh else ())
        if entry.kind in ("GENESIS", "TRUST"):
            self.trust.append(entry)
        elif entry.kind in ("KEY_ADD", "KEY_REVOKE"):
            self.keys ^= {str(entry.evidence.get("host_key"))}
        elif entry.kind in ("FREEZE", "UNFREEZE"):
            self.frozen = str(entry.evidence.get("words") or "by hand") if entry.kind == "FREEZE" else ""
            self.thawed = self.thawed if self.frozen else entry.seq
        elif entry.kind == "RESTORED":
            self.restored = entry.at
        elif entry.kind != "LATE":
            old = self.state(entry.id)
            self.states[entry.id] = replace(
                old, kind=entry.kind, epoch=entry.epoch, run=entry.run, by=entry.by, at=entry.at, seq=entry.seq,
                digest=old.digest or entry.digest, evidence=entry.evidence,
                judged=entry.seq if old.kind in ("NEW", "SEEN") and entry.kind != "SEEN" else old.judged,
                claims=0 if entry.kind == "VERIFIED" else old.claims + (entry.kind == "CLAIMED"),
                started=old.started or (entry.at if entry.kind == "STARTED" else None),
                verified=old.verified or (entry.evidence if entry.kind == "VERIFIED" else {}),
                seen=old.seen or (entry.evidence if entry.kind == "SEEN" else {}))  # fmt: skip

    def over_budget(self, evidence: Mapping[str, Any], limits: Mapping[str, int], now: datetime, claims: bool) -> str:
        """Which daily limit one more start would break, in words; ``limits``: by evidence key, as the policy says.
        ``claims``: what is claimed counts as if it had started."""
        lately = [s.verified for s in self.states.values() if (s.started and s.started > now - timedelta(days=1))
                  or (claims and s.kind == "CLAIMED")]  # fmt: skip
        return next((f"{limit} starts a day for {key} {evidence[key]}" for key, limit in limits.items()
                     if 0 <= limit <= sum(v.get(key) == evidence[key] for v in lately)), "")  # fmt: skip

    def lane_taken(self, state: State) -> str:
        """Which other action is under way, or not known to be over, on the same target, in words; empty: none."""
        target = state.verified.get("target")
        return next((f"{s.id} is under way on {target}" for s in self.states.values() if s.id != state.id
                     and s.verified.get("target") == target
                     and (s.kind == "CLAIMED" or (s.started and not s.final))), "")  # fmt: skip


def tier_of(state: State) -> Tier:
    return Tier.of(state.verified.get("tier")) or Tier.HIGH
