"""What the ledger's entries say of git, looked up again: merges, files, policies, formulas, who may have approved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from factory.errors import ConfigInvalid
from factory.git import objects
from factory.git.hardened import Commit, Git
from factory.vault.action import FOLDER, Action, Tier
from factory.vault.action import read as read_action
from factory.vault.authority import FOR_ADMINS, controlled, due
from factory.vault.canonical import MAX_BYTES, Refused, json_bytes, sha256
from factory.vault.formulas import MAX_FORMULA, VaultFormula
from factory.vault.formulas import read as read_formula
from factory.vault.keys.listed import ADD, REVOKE, changed, listed
from factory.vault.ledger import Entry, State
from factory.vault.people.batch import blobs, merged, only_parents, trees
from factory.vault.people.lines import hidden
from factory.vault.policy import MAX_POLICY, PATH, Policy, ruling
from factory.vault.policy import read as read_policy
from factory.vault.verify import AUTO, MAIN, identity

KEY_KINDS = (ADD, REVOKE)
SKEW = timedelta(seconds=120)
"""How far the forge's clock, by which a change of the policy waits, may be ahead of the one that dates its entry."""
_SAID = ("target", "requester", "content", "unblocks", "runs", "every_hours", "not_before", "expires")


@dataclass(frozen=True)
class Fault:
    """One thing that is not as it must be. ``seq``: number of the entry, from 0; ``code`` is one of a fixed set."""

    seq: int
    where: str
    code: str
    words: str


@dataclass(frozen=True)
class Told:
    """An entry, what was known of its action before it, and how many versions of the controlled set there were then."""

    entry: Entry
    before: State
    versions: int
    keys: frozenset[str] = frozenset()
    """The hosts' keys in force before it; of GENESIS, those that it names."""


@dataclass
class Objects:
    """Everything of git that the evidence speaks of, read once."""

    git: Git
    packaged: Callable[[str], bytes | None]
    genesis: Mapping[str, Any] = field(default_factory=dict)
    commits: dict[str, dict[str, Commit]] = field(default_factory=dict)
    """Branch -> first-parent commits of it, and those that were until a merge hid them."""
    order: dict[str, int] = field(default_factory=dict)
    """Commit of main -> its place, of those on its first-parent history now."""
    trees: dict[str, str] = field(default_factory=dict)
    merged: dict[tuple[str, str], str] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    """Head of a merged request -> its only parent."""
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    versions: list[tuple[Entry, Policy | None]] = field(default_factory=list)
    """GENESIS and each TRUST with its policy, None where that is not what the entry says."""
    unchecked: list[str] = field(default_factory=list)
    _formulas: dict[tuple[str, str], VaultFormula | None] = field(default_factory=dict)

    def policy(self, commit: str, versions: int) -> Policy | None:
        """The policy of one of the first ``versions`` versions; None: that commit was not in force."""
        return next((p for entry, p in self.versions[:versions] if entry.evidence.get("commit") == commit), None)

    def base_policy(self, ours: str, theirs: str, versions: int) -> Policy | None:
        """The newest policy that was in what both have in common: where the request branched off."""
        base = self.parents.get(theirs)
        if base not in self.order or self.order[base] > self.order.get(ours, -1):
            base = objects.merge_base(self.git.repo, ours, theirs)  # not one commit on main: git must look for it
        for entry, policy in reversed(self.versions[:versions]):
            if base is not None and self._holds(base, str(entry.evidence.get("commit"))):
                return policy
        return None

    def older(self, commit: str, than: str) -> bool:
        """Whether a commit of main came before another one of it."""
        if commit in self.order and than in self.order:
            return self.order[commit] < self.order[than]
        return commit != than and commit in self.commits[MAIN] and objects.is_ancestor(self.git.repo, commit, than)

    def _holds(self, base: str, commit: str) -> bool:
        if commit not in self.commits[MAIN]:
            return False
        if base in self.order and commit in self.order:
            return self.order[commit] <= self.order[base]
        return objects.is_ancestor(self.git.repo, commit, base)

    def formula(self, commit: str, key: str, digest: str) -> VaultFormula | None:
        """The formula's file with that digest: the ops repo's own at the commit, or the one of this version."""
        if (key, digest) not in self._formulas:
            name = key.partition("@")[0]
            own = self.git.read([f"{commit}:formulas/{name}.toml"], MAX_FORMULA)[0]
            data = own if own is not None else self.packaged(name)
            found = None
            if data is not None and sha256(data) == digest:
                try:
                    found = read_formula(data)
                except Refused:
                    found = None  # told where it is missed
            if found is None:
                self.unchecked.append(f"{key}, digest {digest[:12]}: its file is neither in the ops repo nor packaged")
            self._formulas[key, digest] = found
        return self._formulas[key, digest]


def gather(git: Git, entries: Sequence[Entry], packaged: Callable[[str], bytes | None]) -> Objects:
    """Everything the evidence of these entries speaks of. Raises GitTrouble."""
    found = Objects(git, packaged)
    for branch in (MAIN, AUTO):
        there = git.text("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}", codes=(0, 1))
        found.commits[branch] = {commit.oid: commit for commit in (git.history(there) if there else [])}
    found.order = {oid: number for number, oid in enumerate(found.commits[MAIN])}
    found.commits[MAIN] |= hidden(git, list(found.commits[MAIN].values()), entries)
    genesis = next((entry for entry in entries if entry.kind == "GENESIS"), None)
    found.genesis = genesis.evidence if genesis is not None else {}
    bots = frozenset(_numbers(found.genesis.get("bots")))
    for entry in entries:
        if entry.kind in ("GENESIS", "TRUST"):
            found.versions.append((entry, _policy(git, entry, bots)))
    known = {**found.commits[MAIN], **found.commits[AUTO]}
    merges = [known[str(e.evidence.get("merge"))] for e in entries if str(e.evidence.get("merge")) in known]
    merges += [known[str(e.evidence.get("commit"))] for e in entries if str(e.evidence.get("commit")) in known]
    found.trees = trees(git, {merge.oid for merge in merges})
    found.merged = merged(git, {(m.parents[0], m.parents[1]) for m in merges if len(m.parents) == 2})
    found.parents = only_parents(git, [m.parents[1] for m in merges if len(m.parents) == 2])
    names = [f"{e.evidence.get('merge')}:{_path(e)}" for e in entries if e.kind == "VERIFIED"]
    found.files = blobs(git, [name for name in names if name.partition(":")[0] in known], MAX_BYTES)
    return found


def _numbers(value: object) -> list[int]:
    return [item for item in value if isinstance(item, int)] if isinstance(value, list | tuple) else []


def _path(entry: Entry) -> str:
    return f"{FOLDER}{entry.id.partition('+')[0]}.toml"


def _policy(git: Git, entry: Entry, bots: frozenset[int]) -> Policy | None:
    data = git.read([f"{entry.evidence.get('commit')}:{PATH}"], MAX_POLICY)[0]
    if data is None or sha256(data) != entry.evidence.get("policy_digest"):
        return None
    try:
        return read_policy(data, bots)
    except Refused:
        return None


def check_entry(told: Told, known: Objects) -> list[Fault]:
    """What is not true of this entry's evidence."""
    entry = told.entry
    look = {"VERIFIED": _verified, "TRUST": _trust, "GENESIS": _genesis, "STARTED": _started}.get(entry.kind)
    if look is None:
        return []
    return [Fault(entry.seq, entry.path, code, words) for code, words in look(told, known)]


def check_keys(told: Sequence[Told], known: Objects) -> list[Fault]:
    """That what follows each TRUST is exactly what its commit changes of the hosts' keys."""
    faults = []
    for number, one in enumerate(told):
        if one.entry.kind != "TRUST":
            continue
        commit, path = str(one.entry.evidence.get("commit")), one.entry.path
        after = takewhile(lambda later: later.entry.kind in KEY_KINDS, told[number + 1 :])
        said = {(later.entry.kind, str(later.entry.evidence.get("host_key"))): later.entry for later in after}
        try:
            there = commit in known.commits[MAIN]
            wanted = dict.fromkeys(changed(listed(known.git, commit), one.keys)) if there else {}
        except ConfigInvalid as error:
            faults.append(Fault(one.entry.seq, path, "host-keys", f"at {commit[:12]}: {error.message}"))
            continue
        for kind, line in wanted:
            if (kind, line) not in said:
                words = f"no {kind} of the key of {line.partition(' ')[0]} follows it, as its commit says"
                faults.append(Fault(one.entry.seq, path, "host-keys", words))
        for (kind, line), entry in said.items():
            if (kind, line) not in wanted:
                what = "adds" if kind == ADD else "revokes"
                words = f"it {what} the key of {line.partition(' ')[0][:40]}, which its commit does not"
                faults.append(Fault(entry.seq, entry.path, "host-keys", words))
    return faults


Wrong = Iterator[tuple[str, str]]


def _genesis(told: Told, known: Objects) -> Wrong:
    yield from _version(told.entry, known)


def _version(entry: Entry, known: Objects) -> Wrong:
    """Of GENESIS and TRUST: the commit is on main, policy and controlled set there are what the entry says."""
    e, commit = entry.evidence, str(entry.evidence.get("commit"))
    if commit not in known.commits[MAIN]:
        yield "no-commit", f"commit {commit[:12]} is not on {MAIN}'s first-parent history, nor was it by the ledger"
        return
    policy = next(p for other, p in known.versions if other is entry)
    if policy is None:
        yield "policy", f"{PATH} at {commit[:12]} is missing, not valid, or not what the entry says of it"
    elif policy.version != e.get("policy_version"):
        yield "policy", f"the policy there has version {policy.version}, not {e.get('policy_version')}"
    if controlled(known.git, commit) != e.get("controlled"):
        yield "controlled", f"the controlled set at {commit[:12]} is not what the entry says"


def _trust(told: Told, known: Objects) -> Wrong:
    entry = told.entry
    yield from _version(entry, known)
    commit = known.commits[MAIN].get(str(entry.evidence.get("commit")))
    before, policy = known.versions[told.versions - 2]
    now = known.versions[told.versions - 1][1]
    if commit is None:
        return
    yield from _merge(commit, known)
    start = str(before.evidence.get("commit"))
    if not known.older(start, commit.oid):
        yield "order", "it is not newer on main than the version before it"
    elif commit.parents and controlled(known.git, commit.parents[0]) != controlled(known.git, start):
        yield "tainted-base", "what it was merged into differs from the version before it"
    if policy is None or now is None:
        return
    if now.digest != policy.digest and now.version <= policy.version:
        yield "policy-rollback", f"policy version {now.version} does not follow {policy.version}"
    yield from _cooled(entry, known, policy, now)
    approvers = _numbers(entry.evidence.get("approvers"))
    listed = policy.admins | policy.approvers
    if any(change.path.startswith(FOR_ADMINS) for change in commit.changes):
        listed = policy.admins
    yield from _approvers(approvers, listed, known, 1)


def _cooled(entry: Entry, known: Objects, before: Policy, after: Policy) -> Wrong:
    """Whether it waited as long as the policy before it says. When it was approved only the forge knows: here it is
    what the dispatcher says it read there."""
    if not before.cooling_hours or before.digest == after.digest:
        return
    given = entry.evidence.get("approved_at")
    if not isinstance(given, datetime):
        yield "cooling", "it does not say when it was approved"
    elif not given <= entry.at + SKEW or entry.at + SKEW < due(given, known.versions[0][0].at, before):
        yield "cooling", f"the policy before it lets a change wait {before.cooling_hours} hours after its approval"


def _approvers(approvers: list[int], listed: frozenset[int], known: Objects, need: int) -> Wrong:
    strangers = set(approvers) - (listed - set(_numbers(known.genesis.get("bots"))))
    if strangers:
        yield "approver", f"account {min(strangers)} was not listed for it"
    if len(set(approvers)) < need:
        yield "approver", f"{len(set(approvers))} people approved it, {need} must"


def _merge(commit: Commit, known: Objects) -> Wrong:
    if len(commit.parents) != 2:
        yield "not-a-merge", f"{commit.oid[:12]} has {len(commit.parents)} parents"
    elif known.merged.get((commit.parents[0], commit.parents[1])) != known.trees.get(commit.oid, "-"):
        yield "wrong-merge", f"{commit.oid[:12]} holds something else than merging gives"


def _started(told: Told, known: Objects) -> Wrong:
    if known.policy(str(told.entry.evidence.get("trust")), told.versions) is None:
        yield "policy", "it started under rules that were not in force then"


def _verified(told: Told, known: Objects) -> Wrong:
    entry, e = told.entry, told.entry.evidence
    branch = str(e.get("base")).removeprefix("refs/heads/")
    commit = known.commits.get(branch, {}).get(str(e.get("merge")))
    if commit is None:
        words = f"merge {str(e.get('merge'))[:12]} is not on the first-parent history of {branch[:40]}"
        yield "no-commit", f"{words}, nor was it by the ledger"
        return
    wrong = list(_merge(commit, known))
    if not wrong and commit.parents[1] != e.get("head"):
        wrong.append(("head", f"the merge is of {commit.parents[1][:12]}, not of {str(e.get('head'))[:12]}"))
    changes = [(c.status, c.mode, c.path) for c in commit.changes]
    if changes != [("A", "100644", _path(entry).encode())]:
        wrong.append(("extra-paths", f"the merge does not add exactly {_path(entry)}"))
    yield from wrong
    if wrong:
        return
    data = known.files.get(f"{commit.oid}:{_path(entry)}") or b""
    if sha256(data) != e.get("blob_sha256"):
        yield "blob", "the file is not the one whose digest the entry has"
        return
    try:
        action = read_action(data, _path(entry).removeprefix(FOLDER))
    except Refused as refused:
        yield "action", f"the file is no action: {refused.words}"
        return
    yield from _said(action, e)
    policy = known.policy(str(e.get("trust")), told.versions)
    if policy is None or (policy.digest, policy.version) != (e.get("policy_digest"), e.get("policy_version")):
        yield "policy", "it was judged by rules that were not in force then"
        return
    yield from _judged(told, known, commit, action, data, policy, branch)


def _said(action: Action, e: Mapping[str, Any]) -> Wrong:
    for key in _SAID:
        said, there = e.get(key), getattr(action, key)
        if (tuple(said) if isinstance(said, list) else said) != there:
            yield "action", f"{key} is not what stands in the file"
    if e.get("formula") != action.formula:
        yield "action", "formula is not what stands in the file"


def _judged(
    told: Told, known: Objects, commit: Commit, action: Action, data: bytes, policy: Policy, branch: str
) -> Wrong:
    """Tier, approvers and digest, as far as policy and formula can be read."""
    e, tier = told.entry.evidence, Tier.of(told.entry.evidence.get("tier"))
    rule = policy.formulas.get(action.formula)
    if rule is None or rule.digest != e.get("formula_digest"):
        yield "formula", f"the policy does not name {action.formula} with that digest"
        return
    if tier is None or (branch == AUTO and tier is not Tier.LOW):
        yield "tier", f"{str(e.get('tier'))[:20]} is not a tier for {branch}"
        return
    formula = known.formula(str(e.get("trust")), action.formula, rule.digest)
    need = 1
    if formula is not None:
        base = known.base_policy(commit.parents[0], commit.parents[1], told.versions) if branch == MAIN else policy
        least = ruling(action, formula, policy, base, repeated=False)
        if tier < least.tier:
            yield "tier", f"it is at least {least.tier.word}: {least.reasons[0]}"
        need = formula.admins
        yield from _digest(told, known, branch, action, data, formula, policy)
    approvers = _numbers(e.get("approvers"))
    if tier is Tier.LOW:
        if approvers:
            yield "approver", "a low action has no approvers"
        return
    yield from _approvers(approvers, policy.bench(tier), known, need)


def _digest(
    told: Told, known: Objects, branch: str, action: Action, data: bytes, formula: VaultFormula, policy: Policy
) -> Wrong:
    """Its identity is that of the first verification; later ones keep it."""
    if told.before.digest:
        if told.entry.digest != told.before.digest:
            yield "digest", "it is not the digest that the action had before"
        return
    turn = told.entry.id.partition("+")[2]
    forge, repo = str(known.genesis.get("forge")), known.genesis.get("repo")
    what = identity(forge, repo if isinstance(repo, int) else 0, branch, action, data, formula, policy, int(turn or 1))
    if sha256(json_bytes(what)) != told.entry.digest:
        yield "digest", "it is not the digest of what was verified"
