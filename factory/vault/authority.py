"""Which version of the controlled set counts: the policy, secrets, formulas and people, as GENESIS and TRUST say.

Part of the trusted part. What stands on ``main`` is not enough, and neither is that a change was approved: it must have
been approved by those listed in the version before it, and it must be all that differs from that version.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from factory.git.hardened import Commit, Git
from factory.vault.action import Tier
from factory.vault.canonical import Refused, Unclear, json_bytes, must, sha256, stamp
from factory.vault.ledger import Ledger
from factory.vault.policy import MAX_POLICY, PATH, Policy, read
from factory.vault.verify import approved

if TYPE_CHECKING:
    from factory.vault.ports import Keys, PullFact


CONTROLLED = ("factory.toml", "vault/policy.toml", "vault/secrets", "formulas", "agents", "generators")
FOR_ADMINS = (b"vault/policy.toml", b"vault/secrets", b"factory.toml")
"""Beginnings of paths that only an admin may let change, with a signature where the policy wants one for high."""
FOUNDING = timedelta(days=1)
"""After GENESIS. What is approved in that time waits for nothing: whoever founds a vault is still setting it up."""


_policy = lru_cache(8)(read)
"""The same bytes are the same policy, and one burst of requests reads it hundreds of times."""


@dataclass(frozen=True)
class Authority:
    """A version in force: its commit on ``main`` and its policy."""

    commit: str
    policy: Policy


def in_force(ledger: Ledger, git: Git, before: str = "") -> Authority:
    """The newest version; with ``before``, the newest that this commit contains. Raises Refused ``no-policy``,
    Unclear."""
    for entry in reversed(ledger.trust):
        commit = str(entry.evidence["commit"])
        if not before or git.is_ancestor(commit, before):
            data = git.read([f"{commit}:{PATH}"], MAX_POLICY)[0]
            if data is None:
                raise Unclear(f"{PATH} of {commit[:12]}, which is in force, is not here (yet)")
            same = sha256(data) == entry.evidence["policy_digest"]
            must(same, "no-policy", f"{PATH} at {commit[:12]} is not what the ledger says of it")
            return Authority(commit, _policy(data, bots(ledger)))
    raise Refused("no-policy", "no version of the policy is in force: the ledger has no GENESIS for this branch")


def bots(ledger: Ledger) -> frozenset[int]:
    """The factory's own accounts; they never approve."""
    return frozenset(ledger.genesis.evidence["bots"] if ledger.genesis else ())


def controlled(git: Git, commit: str) -> str:
    """Digest of the controlled set at a commit."""
    return sha256(git.run("ls-tree", "-r", "-z", "--full-tree", commit, "--", *CONTROLLED))


def oath(ledger: Ledger, controlled: str) -> bytes:
    """What an admin signs of a change of the controlled set, where the policy wants that for high: all that it leads
    to. Else a forged approval could do away with signatures first (attack 54)."""
    pinned = ledger.genesis.evidence if ledger.genesis else {}
    return json_bytes({"v": 1, "type": "vault-trust", "forge": pinned.get("forge"), "repo": pinned.get("repo"),
                       "ledger_root": ledger.root, "controlled": controlled})  # fmt: skip


def due(given: datetime, founded: datetime, policy: Policy) -> datetime:
    """From when on a change of this policy counts that was approved then. It waits so that somebody can object before
    anything is judged by it (attack 9)."""
    return given if given < founded + FOUNDING else given + timedelta(hours=policy.cooling_hours)


def trust(commit: Commit, pulls: "Sequence[PullFact]", ledger: Ledger, git: Git, repo: int, keys: "Keys",
          clock: Callable[[], datetime]) -> dict[str, Any]:  # fmt: skip
    """Evidence of a TRUST for this commit. Raises Refused with why the version before it stays in force; ``cooling``:
    nothing is in its way but time."""
    now = in_force(ledger, git)
    tree = f"{commit.oid}^{{tree}}"
    merged = len(commit.parents) == 2 and git.merged_tree(*commit.parents) == git.pure("rev-parse", tree)
    must(merged, "unexplained", "it is no merge of a pull request, or holds more than merging gives")
    same = controlled(git, commit.parents[0]) == controlled(git, now.commit)
    must(same, "tainted-base", "what it was merged into differs from the version in force already")
    mine = [p for p in pulls
            if (p.base, p.head_sha, p.head_repo, p.flow) == ("main", commit.parents[1], repo, 0)]  # fmt: skip
    must(len(mine) == 1, "no-pull-request", "no single pull request of this repo has that head")
    pull = mine[0]
    high = any(change.path.startswith(FOR_ADMINS) for change in commit.changes)
    # Who pushed it may approve it: a person's own change is proposed by the factory (DESIGN section 6).
    people = approved(pull, now.policy, Tier.HIGH if high else Tier.MEDIUM, bots(ledger), ledger.restored)
    data = git.read([f"{commit.oid}:{PATH}"], MAX_POLICY)[0]
    must(data is not None, "no-policy", f"it removes {PATH}")
    policy = read(data or b"", bots(ledger))
    newer = policy.digest == now.policy.digest or policy.version > now.policy.version
    must(newer, "policy-rollback", f"policy version {policy.version} does not follow {now.policy.version}")
    there = controlled(git, commit.oid)
    signed = not (high and Tier.HIGH in now.policy.signed) or now.policy.admins & keys.signers(
        oath(ledger, there), (pull.number,))  # fmt: skip
    must(signed, "signature-missing", f"it needs an admin's signature: `factory vault sign {pull.number}`")
    given = min(max(r.at for r in pull.reviews if (r.user, r.state) == (user, "APPROVED")) for user in people)
    after = given if policy.digest == now.policy.digest else due(given, ledger.trust[0].at, now.policy)
    must(after == given or clock() >= after, "cooling", f"approved; it counts from {stamp(after)} on")
    return {"commit": commit.oid, "policy_digest": policy.digest, "policy_version": policy.version,
            "controlled": there, "pull": pull.number, "approvers": people, "approved_at": given}  # fmt: skip
