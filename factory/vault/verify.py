"""The verdict on one merged request: everything is looked at again, from git objects and reviews, and then decided.

Part of the trusted part. ``decide`` is pure: the same case gives the same verdict. It runs when the merge is first seen
and again before STARTED (vault-security.md, 3.8).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from factory.git.hardened import Commit
from factory.vault.action import FOLDER, ID, Action, Tier, read
from factory.vault.approval import Bench, judge
from factory.vault.canonical import MAX_BYTES, Refused, json_bytes, must, named, sha256, stamp
from factory.vault.formulas import VaultFormula
from factory.vault.policy import FormulaRule, Policy, Ruling, check, ruling

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
    """Whether that branch holds the merge now; it was on its first-parent history when it was first seen."""
    tree: str
    expected_tree: str
    """What merging gives when we do it."""
    data: bytes | None
    at_head: bytes | None
    """The file in the merge, and in the head that was reviewed."""
    pulls: "tuple[PullFact, ...]"
    """With that head."""
    repo: int
    vault_bot: int
    bots: frozenset[int]
    formula: VaultFormula | None
    policy: Policy
    base_policy: Policy | None
    """In force where the request branched off."""
    settings: "Settings"
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
    pull: "PullFact"
    approvers: tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """A start: what the runner is told, after STARTED is on the ledger."""

    id: str
    """The ledger's name of it: the action's id, with ``+2`` and so on for a repeated one."""
    epoch: int
    run: str
    idem_key: str
    tier: Tier
    action: Action
    formula: VaultFormula
    rule: FormulaRule
    policy: Policy
    trust: str
    """Commit of the ops repo whose controlled set counts: secrets are read there."""
    probe: bool = False
    """Only ask whether it was done already; have no effect."""
    deadline: float = float("inf")
    """On this host's monotonic clock: whoever has not begun the first effect by then may not begin it any more."""


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
    once = not formula.unique or not case.repeated
    must(once, "duplicate", "the same content ran already, and this formula does it once")
    decision = ruling(action, formula, case.policy, case.base_policy, repeated=case.repeated)
    low, why = decision.tier is Tier.LOW, f"it is {decision.tier.word}: {'; '.join(decision.reasons[:1])}"
    must(case.base != AUTO or low, "wrong-branch", f"{why}; {AUTO} is for low only")
    approvers = () if low else _approved(case, pull, decision.tier, formula.admins)
    must(case.now < action.expires, "expired", f"it expired at {stamp(action.expires)}")
    must(not case.settings.wrong, "settings-wrong", f"the forge is not set as it must be: {case.settings.wrong}")
    s = case.settings
    seen = case.seen or {"generation": s.generation, "settings": s.digest, "since": s.since}
    same = (seen.get("generation"), seen.get("settings")) == (s.generation, s.digest)
    what = (s.changed or "branch rules, people or settings")[:300]
    must(same and seen.get("since", case.now) <= pull.opened, "settings-changed",
         f"the ops repo is not set as it was when this was opened, or nobody watched it since: {what}")  # fmt: skip
    return Verified(action, formula, decision, pull, approvers)


def content(case: Case) -> Action:
    """The action that exactly this merge added, and nothing else (R2). Raises Refused."""
    must(len(case.merge.parents) == 2, "not-a-merge", "the commit that added it is not the merge of a pull request")
    must(case.reachable, "not-on-branch", f"its merge is not on {case.base} any more")
    must(len(case.merge.changes) == 1, "extra-paths", f"the merge changes {len(case.merge.changes)} files, not one")
    change = case.merge.changes[0]
    must((change.status, change.mode) == ("A", "100644"), "not-an-addition",
         f"the merge does not add a plain file ({change.status}, mode {change.mode})")  # fmt: skip
    name = change.path.removeprefix(FOLDER.encode()).removesuffix(b".toml").decode("ascii", "replace")
    good = ID.fullmatch(name) and change.path == f"{FOLDER}{name}.toml".encode() and name == case.id
    must(good, "bad-name", "the file's name is not that of an action")
    same = case.tree and case.tree == case.expected_tree
    must(same, "wrong-merge", "the merge holds something else than merging that head gives")
    must(case.data is not None, "too-large", f"the file has more than {MAX_BYTES} bytes")
    must(case.data == case.at_head, "head-moved", "the file in the merge is not the one at the head that was reviewed")
    return read(case.data or b"", f"{name}.toml")


def _pull(case: Case) -> "PullFact":
    """The one pull request whose recorded head was merged; a number in a text is never followed."""
    there = [pull for pull in case.pulls if pull.head_sha == case.merge.parents[1] and pull.base == case.base]
    own = [pull for pull in there if pull.head_repo == case.repo and pull.flow == 0]
    must(own or not there, "foreign-head", "it comes from a fork, or was pushed for review without a branch")
    mine = [pull for pull in own if pull.poster == case.vault_bot]  # whoever proposes the same head is in nobody's way
    must(mine or not own, "foreign-poster", f"{named({pull.poster for pull in own})} posted it, not the vault's")
    why = f"{len(mine)} pull requests into {case.base} have the merged head, not one"
    must(len(mine) == 1, "no-pull-request", why)
    return mine[0]


def _approved(case: Case, pull: "PullFact", tier: Tier, need: int) -> tuple[int, ...]:
    people = approved(pull, case.policy, tier, pull.contributors | case.bots, case.restored, need)
    gone = set(people) - case.humans
    must(not gone, "approver-gone", f"{named(gone)} no longer exists, is not active or has lost its rights")
    signed = tier not in case.policy.signed or len(case.signers & case.policy.admins) >= need
    must(signed, "signature-missing", f"a {tier.word} action needs an admin's signature: `factory vault sign`")
    return people


def approved(pull: "PullFact", policy: Policy, tier: Tier, barred: frozenset[int], since: datetime | None,
             need: int = 1) -> tuple[int, ...]:  # fmt: skip
    """Whose approval of what stands at its head counts by this policy: not that of ``barred``, nor of who posted it,
    nor one given before ``since``. Raises Refused when they are not enough."""
    bench = Bench(policy.bench(tier), barred | {pull.poster}, policy.bench(Tier.MEDIUM), need)
    verdict = judge(pull.reviews, pull.head_sha, max(filter(None, (pull.pushed, pull.moved, since))), bench)
    must(not verdict.code, verdict.code, verdict.words)
    return verdict.people


def identity(forge: str, repo: int, base: str, action: Action, data: bytes, formula: VaultFormula, policy: Policy,
             turn: int) -> dict[str, Any]:  # fmt: skip
    """What exactly is approved: content in its context (attack 15). ``turn`` counts the runs of a repeated action."""
    return {"v": 1, "forge": forge, "repo": repo, "base": f"refs/heads/{base}", "path": action.path, "turn": turn,
            "blob_sha256": sha256(data), "formula": formula.key, "formula_digest": formula.digest,
            "policy_version": policy.version, "policy_digest": policy.digest}  # fmt: skip


def statement(what: Mapping[str, Any], root: str, expires: datetime) -> bytes:
    """What an admin signs: canonical JSON. One signature is for all runs of a repeated action."""
    return json_bytes({**what, "turn": 1, "type": "vault-approve", "ledger_root": root, "expires": stamp(expires)})
