"""What the demo's vault action came to, read back from the ledger and the forge, and whether that is right. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TRIED = ("CLAIMED", "STARTED", "UNKNOWN", "FENCED", "VERIFIED")
"""What may stand between VERIFIED and DONE, more than once where a dispatcher died."""


@dataclass(frozen=True)
class ActionFact:
    """The action, as ledger, ops repo and forge tell it afterwards."""

    id: str
    tier: str
    ledger: tuple[str, ...]
    """Kinds of its entries, in order."""
    epochs: tuple[int, ...]
    """Of the STARTED entries."""
    approved_by: tuple[str, ...]
    approved_head: str
    merged_head: str
    wanted_commit: str
    """What the action says is to be released."""
    tag_commit: str
    """What the tag is on; empty: there is none."""
    releases: int
    """Releases of the tag."""
    assets: tuple[str, ...]
    result: Mapping[str, str]
    told: str
    """``state`` in vault/fired/<id>.toml; empty: it is not written."""


def doubts(facts: Sequence[ActionFact], approver: str) -> tuple[str, ...]:
    """Everything that is not as the demo promises. Empty: one release was approved, and made once."""
    if len(facts) != 1:
        return (f"{len(facts)} vault actions, not one",)
    (fact,) = facts
    name, found = f"vault action {fact.id}", []
    kinds = fact.ledger
    if fact.tier != "high":
        found.append(f"{name} is {fact.tier or 'of no tier'}, not high")
    if kinds[-1:] != ("DONE",):
        found.append(f"{name} ends with {kinds[-1] if kinds else 'nothing'}, not DONE")
    order = [kinds.index(kind) for kind in ("VERIFIED", "STARTED", "DONE") if kind in kinds]
    if len(order) < 3 or order != sorted(order):
        found.append(f"{name} was not verified, then started, then done: {', '.join(kinds)}")
    if len(set(fact.epochs)) != len(fact.epochs):
        found.append(f"{name} started twice in one epoch")
    between = set(kinds[kinds.index("VERIFIED") : -1]) if "VERIFIED" in kinds else set()
    if between - set(TRIED):
        found.append(f"{name} went through {', '.join(sorted(between - set(TRIED)))}")
    if approver not in fact.approved_by or fact.approved_head != fact.merged_head:
        found.append(f"{name}: {approver} did not approve exactly the head that was merged")
    if not fact.tag_commit or fact.tag_commit != fact.wanted_commit:
        found.append(f"{name}: the tag is on {fact.tag_commit[:12] or 'nothing'}, not on {fact.wanted_commit[:12]}")
    if fact.releases != 1 or len(fact.assets) != 1:
        found.append(f"{name}: {fact.releases} releases with {len(fact.assets)} files, not one with one")
    if fact.told != "done":
        found.append(f"{name}: vault/fired says {fact.told or 'nothing'}, not done")
    return tuple(found)
