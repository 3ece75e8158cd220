"""The verdict on one merged request: everything is looked at again, from git objects and reviews, and then decided.

Part of the trusted part. ``decide`` is pure: the same case gives the same verdict. It runs when the merge is first seen
and again before STARTED (vault-security.md, 3.8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factory.git.hardened import Commit
from factory.vault.action import FOLDER, ID, Action, Tier, read
from factory.vault.approval import Bench, judge
from factory.vault.canonical import MAX_BYTES, Refused, json_bytes, sha256, stamp
from factory.vault.formulas import VaultFormula
from factory.vault.policy import Policy, Ruling, check, ruling

if TYPE_CHECKING:
    from factory.vault.ports import PullFact, Settings


MAIN, AUTO = "main", "auto"


@dataclass(frozen=True)
class Case:
    """All that a verdict is made of."""

    id: str
    base: str
    """Branch it was merged into."""
    merge: Commit
    reachable: bool
    """Whether the merge is on that branch's first-parent history now."""
    tree: str
    expected_tree: str
    """What merging gives when we do it."""
    data: bytes | None
    at_head: bytes | None
    """The file in the merge, and in the head that was reviewed."""
    pulls: tuple[PullFact, ...]
    """With that head."""
    repo: int
    vault_bot: int
    bots: frozenset[int]
    formula: VaultFormula | None
    policy: Policy
    base_policy: Policy | None
    """In force where the request branched off."""
    settings: Settings
    seen: Mapping[str, Any]
    """Evidence of SEEN."""
    humans: frozenset[int]
    """Approvers that still exist and may write."""
    signers: frozenset[int]
    repeated: bool
    restored: datetime | None
    now: datetime


@dataclass(frozen=True)
class Verified:
    """The yes: what may be done and why."""

    action: Action
    formula: VaultFormula
    ruling: Ruling
    pull: PullFact
    approvers: tuple[int, ...]


def decide(case: Case) -> Verified:
    """Raises Refused with the first thing that is not as it must be."""
    action = content(case)
    pull = _pull(case)
    formula = case.formula
    if formula is None:
        raise Refused("unknown-formula", f"{action.formula} is not a formula of this vault")
    findings = check(action, formula, case.policy)
    if findings:
        raise Refused(findings[0].code, f"{findings[0].key}: {findings[0].message}")
    if formula.unique and case.repeated:
        raise Refused("duplicate", "the same content ran already, and this formula does it once")
    decision = ruling(action, formula, case.policy, case.base_policy, repeated=case.repeated)
    if case.base == AUTO and decision.tier is not Tier.LOW:
        raise Refused("wrong-branch", f"it is {decision.tier.word}: {decision.reasons[0]}; {AUTO} is for low only")
    approvers: tuple[int, ...] = ()
    if decision.tier is not Tier.LOW:
        approvers = _approved(case, pull, decision.tier, formula.admins)
    if case.now >= action.expires:
        raise Refused("expired", f"it expired at {stamp(action.expires)}")
    if case.settings.wrong:
        raise Refused("settings-wrong", f"the forge is not set as it must be: {case.settings.wrong}")
    now: dict[str, Any] = {"generation": case.settings.generation, "settings": case.settings.digest,
                           "since": case.settings.since}  # fmt: skip
    seen = case.seen or now
    same = all(seen.get(key) == now[key] for key in ("generation", "settings"))
    if not same or seen.get("since", case.now) > pull.opened:
        what = case.settings.changed or "branch rules, people or settings"
        raise Refused("settings-changed", f"the ops repo is not set as it was when this was opened: {what[:300]}")
    return Verified(action, formula, decision, pull, approvers)


def content(case: Case) -> Action:
    """The action that exactly this merge added, and nothing else (R2). Raises Refused."""
    if len(case.merge.parents) != 2:
        raise Refused("not-a-merge", "the commit that added it is not the merge of a pull request")
    if not case.reachable:
        raise Refused("not-on-branch", f"its merge is not on {case.base} any more")
    if len(case.merge.changes) != 1:
        raise Refused("extra-paths", f"the merge changes {len(case.merge.changes)} files, not one")
    change = case.merge.changes[0]
    if change.status != "A" or change.mode != "100644":
        raise Refused("not-an-addition", f"the merge does not add a plain file ({change.status}, mode {change.mode})")
    name = change.path.removeprefix(FOLDER.encode()).removesuffix(b".toml").decode("ascii", "replace")
    if not ID.fullmatch(name) or change.path != f"{FOLDER}{name}.toml".encode() or name != case.id:
        raise Refused("bad-name", "the file's name is not that of an action")
    if not case.tree or case.tree != case.expected_tree:
        raise Refused("wrong-merge", "the merge holds something else than merging that head gives")
    if case.data is None:
        raise Refused("too-large", f"the file has more than {MAX_BYTES} bytes")
    if case.data != case.at_head:
        raise Refused("head-moved", "the file in the merge is not the one at the head that was reviewed")
    return read(case.data, f"{name}.toml")


def _pull(case: Case) -> PullFact:
    """The one pull request whose recorded head was merged; a number in a text is never followed."""
    there = [pull for pull in case.pulls if pull.head_sha == case.merge.parents[1] and pull.base == case.base]
    own = [pull for pull in there if pull.head_repo == case.repo and pull.flow == 0]
    if there and not own:
        raise Refused("foreign-head", "it comes from a fork, or was pushed for review without a branch")
    mine = [pull for pull in own if pull.poster == case.vault_bot]  # whoever proposes the same head is in nobody's way
    if own and not mine:
        raise Refused("foreign-poster", f"account {own[0].poster} posted it, not the vault's")
    if len(mine) != 1:
        raise Refused("no-pull-request", f"{len(mine)} pull requests into {case.base} have the merged head, not one")
    return mine[0]


def _approved(case: Case, pull: PullFact, tier: Tier, need: int) -> tuple[int, ...]:
    everybody = case.policy.admins | case.policy.approvers
    bench = Bench(case.policy.bench(tier), pull.contributors | case.bots | {pull.poster}, everybody, need)
    times = [moment for moment in (pull.pushed, pull.moved, case.restored) if moment is not None]
    verdict = judge(pull.reviews, case.merge.parents[1], max(times), bench)
    if verdict.code:
        raise Refused(verdict.code, verdict.words)
    gone = set(verdict.people) - case.humans
    if gone:
        raise Refused("approver-gone", f"account {min(gone)} no longer exists, is not active or has lost its rights")
    if tier in case.policy.signed and len(case.signers & case.policy.admins) < need:
        raise Refused("signature-missing", f"a {tier.word} action needs an admin's signature: `factory vault sign`")
    return verdict.people


def identity(
    forge: str, repo: int, base: str, action: Action, data: bytes, formula: VaultFormula, policy: Policy, turn: int
) -> dict[str, Any]:
    """What exactly is approved: content in its context (attack 15). ``turn`` counts the runs of a repeated action."""
    return {"v": 1, "forge": forge, "repo": repo, "base": f"refs/heads/{base}", "path": action.path, "turn": turn,
            "blob_sha256": sha256(data), "formula": formula.key, "formula_digest": formula.digest,
            "policy_version": policy.version, "policy_digest": policy.digest}  # fmt: skip


def statement(what: Mapping[str, Any], root: str, expires: datetime) -> bytes:
    """What an admin signs: canonical JSON. One signature is for all runs of a repeated action."""
    return json_bytes({**what, "turn": 1, "type": "vault-approve", "ledger_root": root, "expires": stamp(expires)})
