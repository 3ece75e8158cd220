"""A second reader of the ledger, written from vault-security.md and not from the product: dulwich and tomllib,
nothing of
``factory``. Where it and ``factory vault audit`` disagree, one of them is wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo

from tests.unit.vault.keys.ed25519 import good_signature

NEXT = {
    None: {"SEEN", "VERIFIED", "REFUSED"},
    "SEEN": {"VERIFIED", "REFUSED"},
    "VERIFIED": {"CLAIMED", "REVOKED"},
    "CLAIMED": {"CLAIMED", "STARTED", "PARKED", "REVOKED"},
    "STARTED": {"DONE", "FAILED", "UNKNOWN"},
    "UNKNOWN": {"FENCED"},
    "FENCED": {"DONE", "VERIFIED", "PARKED"},
    "PARKED": {"DONE", "ABANDONED"},
    "DONE": set(), "FAILED": set(), "REFUSED": set(), "REVOKED": set(), "ABANDONED": set(),
}  # fmt: skip
"""State of an action -> kinds of entries that may be next; LATE may always be next to something."""
OVER = {"DONE", "FAILED", "REFUSED", "REVOKED", "ABANDONED"}
GENERAL = {"GENESIS", "TRUST", "KEY_ADD", "KEY_REVOKE", "FREEZE", "UNFREEZE", "RESTORED"}
KEYS = ["v", "id", "seq", "kind", "epoch", "run", "digest", "at", "by", "prev", "evidence"]
RISK = {"low": 1, "medium": 2, "high": 3}
NAMES = re.compile(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])(\+([2-9]|[1-9][0-9][0-9]?))?")
SIGNATURE = re.compile(r"-----BEGIN SSH SIGNATURE-----[A-Za-z0-9+/=\s]+-----END SSH SIGNATURE-----")


@dataclass
class Action:
    """Where one action stands."""

    state: str | None = None
    epoch: int = 0
    run: str = ""
    digest: str = ""
    target: str = ""
    begun: bool = False


@dataclass
class Reader:
    """Reads one repo. ``faults``: (number of the entry, words)."""

    repo: Repo
    formulas: dict[str, bytes]
    keys: list[str] = field(default_factory=list)
    """Named by hand, for a ledger that says nothing of keys."""
    faults: list[tuple[int, str]] = field(default_factory=list)
    actions: dict[str, Action] = field(default_factory=dict)
    versions: list[dict[str, Any]] = field(default_factory=list)
    """Evidence of GENESIS and every TRUST so far."""
    frozen: bool = False
    hosts: frozenset[str] = frozenset()
    """Host, type and key of each that may sign."""
    past: list[tuple[dict[str, Any], frozenset[str]]] = field(default_factory=list)
    """Every entry that may stand there, with who could sign the push it came with."""
    trusted: dict[str, Any] = field(default_factory=dict)
    """The last TRUST."""
    known: dict[bytes, dict[str, tuple[int, bytes]]] = field(default_factory=dict)
    """Trees that were read."""

    def read(self) -> list[tuple[int, str]]:
        """Everything that is wrong."""
        chain = list(reversed(list(self.line(b"refs/heads/ledger"))))
        self.main = list(reversed([c.id.decode() for c in self.line(b"refs/heads/main")]))
        self.order = list(self.main)
        self.auto = [c.id.decode() for c in self.line(b"refs/heads/auto")]
        entries = [self.entry(number, one, chain[number - 1] if number else None) for number, one in enumerate(chain)]
        self.main += self.once_main(entries)
        for number, entry in enumerate(entries):
            if entry is None or not self.follow(number, entry, chain):
                break
            self.judge(number, entry)
        self.key_changes()
        self.signatures(chain, entries)
        return sorted(self.faults)

    def wrong(self, number: int, words: str) -> None:
        self.faults.append((number, words))

    # ---- git -------------------------------------------------------------------------------------------------------

    def line(self, ref: bytes) -> Iterator[Commit]:
        """A branch and its first parents, newest first."""
        oid = self.repo.refs.read_ref(ref)
        while oid is not None:
            commit = self.repo[oid]
            assert isinstance(commit, Commit)
            yield commit
            oid = commit.parents[0] if commit.parents else None

    def once_main(self, entries: list[dict[str, Any] | None]) -> list[str]:
        """Commits that were main until one, for which the vault was frozen, put them behind its other parent: those
        that an entry before that FREEZE speaks of. Where such an entry speaks of the line that is main now, it was."""
        spoken: dict[bytes, int] = {}
        frozen: dict[bytes, int] = {}
        about = {"VERIFIED": "merge", "TRUST": "commit", "GENESIS": "commit"}
        for number, entry in enumerate(entries):
            if entry is not None and entry["kind"] in about:
                spoken.setdefault(str(entry["evidence"].get(about[entry["kind"]])).encode(), number)
            said = entry["evidence"].get("commits") if entry is not None and entry["kind"] == "FREEZE" else None
            for oid in said if isinstance(said, list) else []:
                frozen.setdefault(str(oid).encode(), number)
        out: set[bytes] = set()
        todo = [oid.encode() for oid in self.order if oid.encode() in frozen]
        while todo:
            cut = todo.pop()
            parents, number = self.commit(cut.decode()).parents, frozen[cut]
            for other in parents[1:]:
                now, then = self.steps(parents[0], self.ancestors(other)), self.steps(other, self.ancestors(parents[0]))
                if not any(spoken.get(oid, number) < number for oid in now):
                    out |= {oid for oid in then if spoken.get(oid, number) < number}
                    todo += [oid for oid in then if oid in frozen]
        return [oid.decode() for oid in out]

    def steps(self, oid: bytes | None, without: set[bytes]) -> list[bytes]:
        """A commit and its first parents that are not among those."""
        found = []
        while oid is not None:
            if oid not in without:
                found.append(oid)
            parents = self.commit(oid.decode()).parents
            oid = parents[0] if parents else None
        return found

    def files(self, tree: bytes | None, prefix: str = "") -> dict[str, tuple[int, bytes]]:
        """Every file of a tree: path -> (mode, id)."""
        found: dict[str, tuple[int, bytes]] = {}
        for name, (mode, oid) in self.items(tree).items():
            if mode == 0o040000:
                found |= self.files(oid, f"{prefix}{name}/")
            else:
                found[prefix + name] = (mode, oid)
        return found

    def changed(self, old: bytes | None, new: bytes | None, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
        """Files that differ between two trees: path, (mode, id) before and after; equal folders are not looked into."""
        if old == new:
            return
        before, after = self.items(old), self.items(new)
        for name in sorted(before.keys() | after.keys()):
            a, b = before.get(name), after.get(name)
            if a == b:
                continue
            trees = [x[1] if x is not None and x[0] == 0o040000 else None for x in (a, b)]
            if any(trees):
                yield from self.changed(trees[0], trees[1], f"{prefix}{name}/")
            a, b = (None if x is not None and x[0] == 0o040000 else x for x in (a, b))
            if a != b:
                yield prefix + name, a, b

    def items(self, tree: bytes | None) -> dict[str, tuple[int, bytes]]:
        if tree is None:
            return {}
        if tree not in self.known:
            made = self.repo[tree]
            assert isinstance(made, Tree)
            rows = made.iteritems()
            self.known[tree] = {name.decode("utf-8", "surrogateescape"): (mode, oid) for name, mode, oid in rows}
        return self.known[tree]

    def data(self, commit: str, path: str) -> bytes | None:
        at: bytes | None = self.commit(commit).tree
        for part in path.split("/")[:-1]:
            mode, at = self.items(at).get(part, (0, None))
            if mode != 0o040000:
                return None
        mode, oid = self.items(at).get(path.rpartition("/")[2], (0, None))
        found = self.repo[oid] if oid is not None else None
        return found.data if isinstance(found, Blob) and mode in (0o100644, 0o100755, 0o120000) else None

    def commit(self, oid: str) -> Commit:
        found = self.repo[oid.encode()]
        assert isinstance(found, Commit)
        return found

    def ancestors(self, oid: bytes) -> set[bytes]:
        seen, todo = set(), [oid]
        while todo:
            one = todo.pop()
            if one not in seen:
                seen.add(one)
                todo += self.repo[one].parents  # type: ignore[attr-defined]
        return seen

    def common(self, ours: str, theirs: str) -> str | None:
        """The newest commit that both have, in histories as simple as those of an ops repo."""
        have, todo = self.ancestors(ours.encode()), [theirs.encode()]
        while todo:
            one = todo.pop(0)
            if one in have:
                return one.decode()
            todo += self.repo[one].parents  # type: ignore[attr-defined]
        return None

    def merge(self, base: bytes | None, ours: bytes | None, theirs: bytes | None) -> dict[str, tuple[int,
    bytes]] | None:
        """The files after merging three trees, None where two sides changed the same file."""
        a, b, c = self.files(base), self.files(ours), self.files(theirs)
        out = {}
        for path in a.keys() | b.keys() | c.keys():
            was, mine, other = a.get(path), b.get(path), c.get(path)
            if mine != other and was not in (mine, other):
                return None
            kept = other if was == mine else mine
            if kept is not None:
                out[path] = kept
        return out

    def merges_cleanly(self, commit: Commit) -> bool:
        ours, theirs = (parent.decode() for parent in commit.parents)
        base = self.common(ours, theirs)
        if base is None:
            return False
        trees = [self.commit(oid).tree for oid in (base, ours, theirs)]
        return self.merge(*trees) == self.files(commit.tree)

    # ---- entries ---------------------------------------------------------------------------------------------------

    def entry(self, number: int, commit: Commit, before: Commit | None) -> dict[str, Any] | None:
        """The one entry that a commit adds, or None with a fault."""
        if commit.parents != ([] if before is None else [before.id]):
            self.wrong(number, "its parent")
        changes = list(self.changed(before.tree if before is not None else None, commit.tree))
        if len(changes) != 1 or changes[0][1] is not None or changes[0][2][0] != 0o100644:
            self.wrong(number, "not one added file")
            return None
        path, _, (_, blob) = changes[0]
        data = self.repo[blob].data  # type: ignore[attr-defined]
        try:
            entry = tomllib.loads(data.decode())
            good = list(entry) == KEYS and self.written(entry) == data and len(data) <= 65536
            name = f"e/{entry['id']}/{entry['seq']:08d}-{entry['kind']}.toml"
            known = entry["kind"] in GENERAL if entry["id"] == "_" else entry["kind"] in {"LATE",
            *set().union(*NEXT.values())}
            named = entry["id"] == "_" or NAMES.fullmatch(entry["id"])
            good = good and name == path and known and bool(named) and entry["v"] == 1
            good = good and bool(re.fullmatch("[0-9a-f]{32}", entry["run"])) and 0 <= entry["epoch"] <= 10**6
            good = good and isinstance(entry["at"], datetime) and entry["at"].utcoffset() == UTC.utcoffset(None)
        except (ValueError, KeyError, TypeError, AttributeError):
            good = False
        if not good:
            self.wrong(number, f"{path} is no entry")
            return None
        return entry

    def written(self, values: dict[str, Any]) -> bytes:
        """The only way to write it."""
        rows = [f"{key} = {self.value(value)}" for key, value in values.items() if not isinstance(value, dict)]
        for key, table in values.items():
            if isinstance(table, dict):
                rows += ["", f"[{key}]"] + [f"{k} = {self.value(v)}" for k, v in table.items()]
        return ("\n".join(rows) + "\n").encode()

    def value(self, value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, int):
            return str(value)
        if isinstance(value, datetime):
            return value.strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(value, list):
            return "[" + ", ".join(map(self.value, value)) + "]"
        if isinstance(value, str):
            return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'
        raise ValueError(value)

    def follow(self, number: int, entry: dict[str, Any], chain: list[Commit]) -> bool:
        """Whether it may be next; if so, it is."""
        why = self.why_not(number, entry, chain)
        if why:
            self.wrong(number, why)
            return False
        kind, id = entry["kind"], entry["id"]
        before = self.hosts
        if kind == "GENESIS" and entry["evidence"].get("dispatcher_ssh"):
            before = self.hosts = frozenset({f"{entry['by'].split('/')[0]} {entry['evidence']['dispatcher_ssh']}"})
        self.past.append((entry, before))
        if id == "_":
            if kind == "TRUST":
                self.trusted = entry
            if kind in ("GENESIS", "TRUST"):
                self.versions.append(entry["evidence"])
            elif kind == "KEY_ADD":
                self.hosts |= {str(entry["evidence"].get("host_key"))}
            elif kind == "KEY_REVOKE":
                self.hosts -= {str(entry["evidence"].get("host_key"))}
            elif kind in ("FREEZE", "UNFREEZE"):
                self.frozen = kind == "FREEZE"
        elif kind != "LATE":
            action = self.actions.setdefault(id, Action())
            self.before = Action(**vars(action))
            if kind == "VERIFIED" and not action.target:
                action.target = entry["evidence"].get("target", "")
            action.digest = action.digest or entry["digest"]
            action.state, action.epoch, action.run = kind, entry["epoch"], entry["run"]
            action.begun = action.begun or kind == "STARTED"
        return True

    def why_not(self, number: int, entry: dict[str, Any], chain: list[Commit]) -> str:
        kind, id = entry["kind"], entry["id"]
        if entry["seq"] != number:
            return "its number"
        tips = {chain[number - 1].id.decode() if number else "", self.previous if number else ""}
        if entry["prev"] not in tips:
            return "what it was written on"
        self.previous: str = entry["prev"]
        if (kind == "GENESIS") != (number == 0):
            return "GENESIS is the first entry and no other"
        if id == "_":
            if kind.startswith("KEY_"):
                through = bool(self.trusted) and self.trusted["prev"] == entry["prev"]
                through = through and self.trusted["evidence"].get("commit") == entry["evidence"].get("commit")
                there = str(entry["evidence"].get("host_key")) in self.hosts
                return "" if through and there == (kind == "KEY_REVOKE") else "a key that no TRUST brings"
            frozen = (kind == "UNFREEZE" and not self.frozen) or (kind == "FREEZE" and self.frozen)
            return "no next one" if frozen or (kind == "TRUST" and entry["epoch"] != len(self.versions)) else ""
        action = self.actions.get(id, Action())
        if self.frozen and kind in ("VERIFIED", "CLAIMED", "STARTED"):
            return "frozen"
        if kind == "LATE":
            return "" if action.state else "late for nothing"
        if kind not in NEXT[action.state]:
            return f"{kind} after {action.state}"
        grows = kind in ("CLAIMED", "FENCED")
        if entry["epoch"] != action.epoch + grows:
            return "its epoch"
        if grows and entry["run"] == action.run:
            return "its nonce was used"
        if (action.state, kind) in {("CLAIMED", "STARTED"), ("STARTED", "DONE"),
        ("STARTED", "FAILED")} and entry["run"] != action.run:
            return "another run"
        busy = [o for key, o in self.actions.items() if key != id and o.target == action.target
                and (o.state == "CLAIMED" or (o.begun and o.state not in OVER))]  # fmt: skip
        return "two at once on one target" if kind == "CLAIMED" and busy else ""

    def signatures(self, chain: list[Commit], entries: list[dict[str, Any] | None]) -> None:
        start = 0
        for number, entry in enumerate(entries):
            following = entries[number + 1] if number + 1 < len(entries) else None
            if entry is not None and following is not None and entry["prev"] == following["prev"]:
                continue
            digests = []
            for at in range(start, number + 1):
                changes = list(self.changed(chain[at - 1].tree if at else None, chain[at].tree))
                after = [new for _, _, new in changes if new is not None]
                data = self.repo[after[0][1]].data if len(changes) == 1 and after else b""  # type: ignore[attr-defined]
                digests.append(hashlib.sha256(data).hexdigest())
            root, tip = (chain[0].id.decode(), chain[start - 1].id.decode()) if start else ("", "")
            told = json.dumps([root, tip, digests], separators=(",", ":")).encode()
            found, who = SIGNATURE.search(chain[number].message.decode()), self.signers(start)
            if who and (found is None or not good_signature(found[0], b"ledger@1", told, who)):
                self.wrong(number, "its signature")
            start = number + 1

    def signers(self, start: int) -> list[str]:
        """The keys that may sign a push beginning there; those named by hand only up to the first that is changed."""
        hosts = self.past[start][1] if start < len(self.past) else self.hosts
        changed = [entry for entry, _ in self.past[:start] if entry["kind"].startswith("KEY_")]
        return [line.split(" ", 1)[1] for line in hosts] + ([] if changed else self.keys)

    def key_changes(self) -> None:
        """What follows each TRUST, against the file at its commit."""
        for number, (entry, before) in enumerate(self.past):
            commit = entry["evidence"].get("commit")
            if entry["kind"] != "TRUST" or commit not in self.main:
                continue
            file = tomllib.loads((self.data(commit, "vault/secrets/recipients.toml") or b"").decode())
            wanted = {f"{host} {key}" for host, key in file.get("host_keys", {}).items()} or before
            said: dict[str, set[str]] = {"KEY_ADD": set(), "KEY_REVOKE": set()}
            for at, (later, _) in enumerate(self.past[number + 1 :], number + 1):
                if later["kind"] not in said:
                    break
                line = str(later["evidence"].get("host_key"))
                said[later["kind"]].add(line)
                if (line in wanted) != (later["kind"] == "KEY_ADD"):
                    self.wrong(at, "a key that the file says otherwise of")
            if wanted - before - said["KEY_ADD"] or before - wanted - said["KEY_REVOKE"]:
                self.wrong(number, "a key was left out")

    # ---- evidence --------------------------------------------------------------------------------------------------

    def judge(self, number: int, entry: dict[str, Any]) -> None:
        looks = {"GENESIS": self.version, "TRUST": self.trust, "VERIFIED": self.verified, "STARTED": self.started}
        try:
            for words in looks[entry["kind"]](entry) if entry["kind"] in looks else ():
                self.wrong(number, words)
        except (KeyError, TypeError, ValueError, AttributeError):
            self.wrong(number, "evidence that cannot be read, or speaks of what is not there")

    def controlled(self, oid: str) -> str:
        """Digest of the controlled set as ``git ls-tree -r -z`` lists it."""
        exact, below = ("factory.toml", "vault/policy.toml"), ("vault/secrets", "formulas", "agents", "generators")
        rows = [
            f"{mode:06o} {'commit' if mode == 0o160000 else 'blob'} {blob.decode()}\t{path}\0".encode()
            for path, (mode, blob) in sorted(self.files(self.commit(oid).tree).items())
            if path in exact or path in below or path.startswith(tuple(f"{folder}/" for folder in below))
        ]
        return hashlib.sha256(b"".join(rows)).hexdigest()

    def policy(self, e: dict[str, Any]) -> dict[str, Any] | None:
        data = self.data(e["commit"], "vault/policy.toml")
        if data is None or hashlib.sha256(data).hexdigest() != e["policy_digest"]:
            return None
        return tomllib.loads(data.decode())

    def version(self, entry: dict[str, Any]) -> Iterator[str]:
        e = entry["evidence"]
        if e["commit"] not in self.main:
            yield "not on main"
            return
        policy = self.policy(e)
        if policy is None or policy["version"] != e["policy_version"]:
            yield "its policy"
        if self.controlled(e["commit"]) != e["controlled"]:
            yield "its controlled set"

    def trust(self, entry: dict[str, Any]) -> Iterator[str]:
        yield from self.version(entry)
        e, before = entry["evidence"], self.versions[-2]
        if e["commit"] not in self.main:
            return
        commit, policy, old = self.commit(e["commit"]), self.policy(e), self.policy(before)
        if len(commit.parents) != 2 or not self.merges_cleanly(commit):
            yield "no clean merge"
        if before["commit"] == e["commit"] or before["commit"].encode() not in self.ancestors(e["commit"].encode()):
            yield "not newer"
        elif self.controlled(commit.parents[0].decode()) != self.controlled(before["commit"]):
            yield "tainted"
        if policy is None or old is None:
            return
        if e["policy_digest"] != before["policy_digest"] and policy["version"] <= old["version"]:
            yield "a rollback"
        wait = timedelta(hours=old.get("cooling_hours", 0))
        if wait and e["policy_digest"] != before["policy_digest"]:
            begun, given, late = self.past[0][0]["at"], e["approved_at"], entry["at"] + timedelta(seconds=120)
            if given > late or (given - begun >= timedelta(days=1) and late - given < wait):
                yield "it did not wait"
        may = set(old["admins"])
        touched = [path for path, _, _ in self.changed(self.commit(commit.parents[0].decode()).tree, commit.tree)]
        if not any(p in ("factory.toml", "vault/policy.toml") or p.startswith("vault/secrets/") for p in touched):
            may |= set(old["approvers"])
        yield from self.people(e["approvers"], may, 1)

    def people(self, approvers: list[int], may: set[int], need: int) -> Iterator[str]:
        if len(set(approvers)) < need or not set(approvers) <= may - set(self.versions[0]["bots"]):
            yield "its approvers"

    def started(self, entry: dict[str, Any]) -> Iterator[str]:
        if entry["evidence"].get("trust") not in [e["commit"] for e in self.versions]:
            yield "its rules"

    def verified(self, entry: dict[str, Any]) -> Iterator[str]:
        e = entry["evidence"]
        line = {"refs/heads/main": self.main, "refs/heads/auto": self.auto}.get(e["base"], [])
        if e["merge"] not in line:
            yield "not on its branch"
            return
        commit, name = self.commit(e["merge"]), entry["id"].partition("+")[0]
        path = f"vault/actions/{name}.toml"
        if len(commit.parents) != 2 or commit.parents[1].decode() != e["head"] or not self.merges_cleanly(commit):
            yield "its merge"
            return
        changes = list(self.changed(self.commit(commit.parents[0].decode()).tree, commit.tree))
        if [(p, a, b and b[0]) for p, a, b in changes] != [(path, None, 0o100644)]:
            yield "its merge adds something else"
            return
        data = self.data(e["merge"], path) or b""
        if hashlib.sha256(data).hexdigest() != e["blob_sha256"]:
            yield "its file"
            return
        action = tomllib.loads(data.decode())
        content = self.written({"formula": action["formula"], "params": action["params"]})
        said = {"runs": 1, "every_hours": 0} | {k: action[k] for k in action if k in e}
        said |= {"content": hashlib.sha256(content).hexdigest(), "formula": action["formula"]}
        if any(e[key] != value for key, value in said.items()):
            yield "not what the file says"
        rules = next((v for v in self.versions if v["commit"] == e["trust"]), None)
        policy = self.policy(rules) if rules is not None else None
        if policy is None or rules is None or (rules["policy_digest"], policy["version"]) != (e["policy_digest"],
        e["policy_version"]):
            yield "its rules"
            return
        yield from self.tier(entry, action, data, policy)

    def tier(self, entry: dict[str, Any], action: dict[str, Any], data: bytes, policy: dict[str, Any]) -> Iterator[str]:
        e = entry["evidence"]
        rule = policy["formulas"].get(action["formula"])
        if rule is None or rule["digest"] != e["formula_digest"]:
            yield "its formula"
            return
        risk = RISK.get(e["tier"], 0)
        if not risk or (e["base"] == "refs/heads/auto" and risk > 1):
            yield "its tier"
            return
        own = self.data(e["trust"], f"formulas/{action['formula'].partition('@')[0]}.toml")
        text = own if own is not None else self.formulas.get(action["formula"].partition("@")[0], b"")
        need = 1
        if hashlib.sha256(text).hexdigest() == rule["digest"]:
            formula = tomllib.loads(text.decode())["vault"]
            need = formula.get("admins", 1)
            if risk < self.least(e, action, formula, rule):
                yield "its tier is too low"
            turn = int(entry["id"].partition("+")[2] or 1)
            what = {
                "v": 1, "forge": self.versions[0]["forge"], "repo": self.versions[0]["repo"], "base": e["base"],
                "turn": turn,
                "path": f"vault/actions/{action['id']}.toml", "blob_sha256": e["blob_sha256"],
                "formula": action["formula"],
                "formula_digest": rule["digest"], "policy_version": e["policy_version"],
                "policy_digest": e["policy_digest"],
            }  # fmt: skip
            told = json.dumps(what, sort_keys=True, separators=(",", ":")).encode()
            if entry["digest"] != (self.before.digest or hashlib.sha256(told).hexdigest()):
                yield "its digest"
        if risk == 1:
            if e["approvers"]:
                yield "approvers of a low one"
        else:
            may = set(policy["admins"]) | (set(policy["approvers"]) if risk == 2 else set())
            yield from self.people(e["approvers"], may, need)

    def least(self, e: dict[str, Any], action: dict[str, Any], formula: dict[str, Any], rule: dict[str, Any]) -> int:
        """The tier that no approval lowers: what formula, request and both policies say."""
        letter = formula.get("class", "D")
        votes = [RISK[action["blast_radius"]], RISK[formula.get("floor", "low")], RISK[rule["tier"]], {"A": 1,
        "D": 3}.get(letter, 2)]
        votes.append(2 if action["secrets"] else 1)
        visible = {"create_tag", "create_release", "upload_asset", "publish_site", "promote_file"}
        votes.append(2 if visible & set(formula.get("effects", [])) else 1)
        hosts = [h for h in formula.get("hosts", []) if not h.endswith(" policy")]
        methods = {m for h in formula.get("hosts", []) if h.endswith(" policy") for m in h.split()[0].split(",")}
        asked = {m for h in hosts for m in h.split()[0].split(",")}
        asked |= {m for h in rule.get("hosts", []) for m in h.split()[0].split(",")} & methods
        votes.append(2 if asked - {"GET", "HEAD"} else 1)
        if e["base"] == "refs/heads/main":
            commit = self.commit(e["merge"])
            base = self.common(*(parent.decode() for parent in commit.parents))
            held = self.ancestors(base.encode()) if base is not None else set()
            older = next((v for v in reversed(self.versions) if v["commit"].encode() in held), None)
            policy = self.policy(older) if older is not None else None
            other = policy["formulas"].get(action["formula"]) if policy is not None else None
            votes.append(RISK[other["tier"]] if other is not None else 3)
        return max(votes)
