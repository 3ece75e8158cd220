"""What a dispatcher looks at: added action files, changes of the controlled set, and all that a verdict is made of.

Part of the trusted part. Git objects are read here; what only the forge knows is asked of it; nothing is written.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from factory.git.hardened import Commit, Git
from factory.vault.action import FOLDER, ID, Action, read
from factory.vault.authority import CONTROLLED, Authority, bots, in_force, trust
from factory.vault.canonical import MAX_BYTES, Refused, Unclear, json_bytes, must, named, sha256, stamp
from factory.vault.formulas import MAX_FORMULA, VaultFormula
from factory.vault.formulas import read as read_formula
from factory.vault.ledger import Ledger
from factory.vault.verify import AUTO, MAIN, Case, Verified, decide, identity, statement

if TYPE_CHECKING:
    from factory.vault.ports import Forge, Keys, Runner, Sentinel


SKEW_S, OWN = 120, "formulas"


@dataclass(frozen=True)
class Handed:
    """What the trusted part is given."""

    git: Git
    forge: "Forge"
    sentinel: "Sentinel"
    runner: "Runner"
    keys: "Keys"
    packaged: Callable[[str], bytes | None]
    """Bytes of a packaged formula by name."""
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic


class Gather:
    """``tips``: refs of the ops repo as last seen, after the first ``known`` entries of the ledger; their objects are
    here. ``alarms``: what a person should know."""

    def __init__(self, handed: Handed, ledger: Ledger) -> None:
        self._h, self.ledger = handed, ledger
        self.tips: Mapping[str, str] = {}
        self.known = 0
        self.alarms: dict[str, str] = {}
        self.standing: dict[str, str] = {}
        """Of those, what holds until ``main`` or the version in force is another one."""
        self.cooling = False
        """Whether one of them only waits for its time, and is to be looked at again."""
        self.merges: dict[str, tuple[str, Commit]] = {}
        """Added action files by id: branch and the commit that added them first, as the ledger has it where it does."""
        self._scanned = {MAIN: "", AUTO: ""}

    def scan(self) -> list[str]:
        """Ids of action files that were added and of which the ledger says nothing yet; edits of old ones are told."""
        for base in (MAIN, AUTO):
            tip, since = self.tips.get(f"refs/heads/{base}", ""), self._scanned[base]
            if not tip or tip == since:
                continue
            if since and not self._h.git.is_ancestor(since, tip):  # git would leave merges out, and ours are gone
                self.merges, since = {n: m for n, m in self.merges.items() if m[0] != base}, ""
            for commit in self._h.git.history(tip, since, FOLDER.rstrip("/")):
                for change in commit.changes:
                    if not change.path.startswith(FOLDER.encode()) or change.path == FOLDER.encode() + b".gitkeep":
                        continue
                    name = change.path.removeprefix(FOLDER.encode()).decode("ascii", "replace").removesuffix(".toml")
                    if not ID.fullmatch(name) or not change.path.endswith(b".toml"):
                        name = f"bad-{sha256(change.path)[:16]}"  # refused by that name
                    if change.status == "A":
                        oid = str(self.ledger.state(name).verified.get("merge", commit.oid))
                        hidden = oid != commit.oid and self._h.git.is_ancestor(oid, tip)  # by swapped parents
                        first = self._h.git.history(oid, f"{oid}^1")[0] if hidden else commit
                        self.merges.setdefault(name, (base, first))
                    else:
                        self.alarms[name] = f"{commit.oid[:12]} changes a merged action file; that has no effect"
            self._scanned[base] = tip
        return [name for name in self.merges if self.ledger.state(name).kind in ("NEW", "SEEN")]

    def trusted(self, main: str) -> list[tuple[str, Mapping[str, Any]]]:
        """TRUST with its evidence for the oldest change since the version in force that counts, and what it adds or
        revokes of the hosts' keys; the others are told."""
        self.standing.clear()
        self.cooling = False
        for commit in self._h.git.history(main, str(self.ledger.trust[-1].evidence["commit"]), *CONTROLLED):
            try:
                pulls = self._h.forge.pulls(commit.parents[1]) if len(commit.parents) == 2 else ()
                found = trust(commit, pulls, self.ledger, self._h.git, self.pinned("repo"), self._h.keys, self.now)
                gone = frozenset(found["approvers"]) - self._h.forge.humans(frozenset(found["approvers"]))
                must(not gone, "approver-gone", f"{named(gone)} is not active or has lost its rights")
                return [("TRUST", found), *self._h.keys.changes(self._h.git, commit.oid, self.ledger.keys)]
            except Refused as refused:
                self.cooling |= (cools := refused.code == "cooling")
                words = f"does not count{' yet' * cools}: {refused.words}"
                self.standing[commit.oid[:12]] = f"its change of the controlled set {words}"
        self.alarms.update(self.standing)
        return []

    def rewritten(self) -> bool:
        """Whether ``main`` does not hold any more what the ledger saw merged into it."""
        ref, judged = f"refs/heads/{MAIN}", [s for s in self.ledger.states.values() if s.judged > self.ledger.thawed]
        known = sorted((s.judged, e["merge"]) for s in judged if (e := s.verified or s.evidence).get("base") == ref)
        oids = [str(self.ledger.trust[-1].evidence["commit"]), *(oid for _, oid in known[-20:])]
        return not self._h.git.is_ancestor(*oids, self.tips.get(ref, "") or "HEAD")

    def pinned(self, key: str) -> int:
        """An id that GENESIS names."""
        return int(self.ledger.genesis.evidence[key]) if self.ledger.genesis else 0

    def merge(self, id: str) -> tuple[str, Commit]:
        """Branch and commit that added it. Raises Refused where no branch has it, Unclear where we may not see it yet:
        another dispatcher judged it after we looked."""
        found = self.merges.get(id.partition("+")[0])
        if found is None and self.ledger.state(id).judged >= self.known:
            raise Unclear("its merge was not seen here yet")
        if found is None:
            raise Refused("not-on-branch", f"no commit of {MAIN} or {AUTO} adds it")
        return found

    def place(self, id: str) -> dict[str, str]:
        """The same, for an entry."""
        base, commit = self.merges.get(id.partition("+")[0], ("", Commit("", (), ())))
        return {"merge": commit.oid, "head": commit.parents[1] if len(commit.parents) > 1 else "",
                "base": f"refs/heads/{base}"}  # fmt: skip

    def request(self, id: str) -> tuple[Action, VaultFormula]:
        """The action that was merged under this id, and its formula as the policy names it now. Raises Refused."""
        name = id.partition("+")[0]
        data = self._h.git.read([f"{self.merge(id)[1].oid}:{FOLDER}{name}.toml"], MAX_BYTES)[0]
        action = read(data or b"", f"{name}.toml")
        return action, self.formula(action.formula, in_force(self.ledger, self._h.git))

    def verify(self, id: str) -> tuple[Verified, dict[str, Any], str]:
        """The verdict as of now, with its evidence and digest. Raises Refused, Unclear."""
        name, _, turn = id.partition("+")
        base, commit = self.merge(id)
        git, authority = self._h.git, in_force(self.ledger, self._h.git)
        policy, tip = authority.policy, self.tips.get(f"refs/heads/{base}", "")
        first, head = (*commit.parents, "", "")[:2]
        data, at_head = git.read([f"{oid}:{FOLDER}{name}.toml" for oid in (commit.oid, head or commit.oid)], MAX_BYTES)
        try:
            action, formula = self.request(id)
        except Refused as refused:
            must(refused.code != "formula-override", refused.code, refused.words)
            action, formula = None, None  # ``decide`` says what else is wrong with it
        pulls = self._h.forge.pulls(head) if head else ()
        what: dict[str, Any] = {}
        signers: frozenset[int] = frozenset()
        if action is not None and formula is not None:
            forge = str(self.ledger.genesis.evidence["forge"]) if self.ledger.genesis else ""
            what = identity(forge, self.pinned("repo"), base, action, data or b"", formula, policy, int(turn or 1))
            if policy.signed:
                told = statement(what, self.ledger.root, action.expires)
                signers = self._h.keys.signers(told, tuple(pull.number for pull in pulls))
        branch_off = git.pure("merge-base", first, head, codes=(0, 1, 128)) if base == MAIN and head else ""
        settings = self._h.sentinel.settings()
        verified = decide(Case(
            id=name, base=base, merge=commit, reachable=git.is_ancestor(commit.oid, tip),
            tree=git.pure("rev-parse", f"{commit.oid}^{{tree}}"),
            expected_tree=git.merged_tree(first, head) if head else "",
            data=data, at_head=at_head, pulls=pulls, repo=self.pinned("repo"),
            vault_bot=self.pinned("vault_bot"), bots=bots(self.ledger), formula=formula, policy=policy,
            base_policy=in_force(self.ledger, git, branch_off).policy if branch_off else policy,
            settings=settings, seen=self.ledger.state(name).seen,
            humans=self._h.forge.humans(frozenset(r.user for p in pulls for r in p.reviews if r.state == "APPROVED")),
            signers=signers, repeated=action is not None and self._repeated(name, action.content, policy.remember_days),
            restored=self.ledger.restored, now=self.now()))  # fmt: skip
        a, f = verified.action, verified.formula
        evidence = {
            **self.place(id), "pull": verified.pull.number, "blob_sha256": sha256(data or b""), "formula": f.key,
            "formula_digest": f.digest, "class": f.effect_class, "minutes": f.minutes, "policy_version": policy.version,
            "policy_digest": policy.digest, "trust": authority.commit, "settings": settings.digest,
            "tier": verified.ruling.tier.word, "reasons": verified.ruling.reasons, "approvers": verified.approvers,
            "target": a.target, "requester": a.requester, "content": a.content, "unblocks": a.unblocks,
            "runs": a.runs, "every_hours": a.every_hours, "not_before": a.not_before, "expires": a.expires}  # fmt: skip
        return verified, evidence, sha256(json_bytes(what))

    def now(self) -> datetime:
        """The later of the forge's clock and ours (attack 51). Raises Unclear when they differ too much."""
        here, there = self._h.clock(), self._h.forge.now()
        if abs((here - there).total_seconds()) > SKEW_S:
            raise Unclear(f"this host's clock says {stamp(here)}, the forge's {stamp(there)}: set them right")
        return max(here, there)

    def formula(self, key: str, authority: Authority) -> VaultFormula:
        """The file that the policy names: the ops repo's own, else the packaged one. Raises Refused."""
        name = key.partition("@")[0]
        own, ours = self._h.git.read([f"{authority.commit}:{OWN}/{name}.toml"], MAX_FORMULA)[0], self._h.packaged(name)
        formula = read_formula(own if own is not None else ours or b"")
        must(formula.key == key, "unknown-formula", f"{key} is not here; {formula.key} is")
        must(own is None or ours in (None, own) or f'overrides = "{sha256(ours or b"")}"'.encode() in own.split(b"\n"),
             "formula-override", f"formulas/{name}.toml was written to replace another version of the packaged one")
        return formula

    def _repeated(self, name: str, content: str, days: int) -> bool:
        return any(s.verified.get("content") == content and s.started and s.started > self._h.clock() - timedelta(days)
                   for s in self.ledger.states.values() if s.id.partition("+")[0] != name)  # fmt: skip
