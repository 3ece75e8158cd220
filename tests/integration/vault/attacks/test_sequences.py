"""No row of pull requests that were approved for low and medium loosens any later decision (attacks 9 and 24).

Requests, changes of the controlled set, time: in any order, approved by anybody but an admin. After each step every
probe is decided as a dispatcher would decide it then, and none is easier than it was in the beginning. Without a
process: it is a property of the functions that decide, over thousands of rows.
"""

from __future__ import annotations

import tempfile
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pygit2
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from factory.git.hardened import GitTrouble
from factory.vault import authority
from factory.vault.action import Action, Tier
from factory.vault.approval import Review
from factory.vault.authority import CONTROLLED, Authority, controlled, in_force, trust
from factory.vault.canonical import Refused, sha256
from factory.vault.formulas import VaultFormula
from factory.vault.formulas import read as read_formula
from factory.vault.keys import listed
from factory.vault.ledger import ALL, Entry, Ledger
from factory.vault.ports import PullFact
from factory.vault.verify import decide
from tests.integration.vault.attacks.register import Seen, attack
from tests.integration.vault.attacks.sample import HOUR, NOW, sample_action, sample_case
from tests.integration.vault.house import (
    ADMIN,
    APPROVER,
    DISPATCHER_BOT,
    FACTORY_BOT,
    OUTSIDER,
    VAULT_BOT,
    formula_bytes,
    policy_bytes,
)
from tests.integration.vault.quick import WHO, QuickGit, Store

FORMULAS = ("alpha", "beta", "gamma", "delta")
OTHERS = (APPROVER, OUTSIDER, VAULT_BOT, FACTORY_BOT, DISPATCHER_BOT)
"""Everybody but the admin."""
PEOPLE = st.sets(st.sampled_from(OTHERS))
NEW_TIERS = st.dictionaries(st.sampled_from(FORMULAS), st.sampled_from(["low", "medium", "high"]))
PATHS = ("README.md", "agents/dev.toml", "generators/x.j2", "vault/secrets/TOKEN.age", "vault/secrets", "factory.toml",
         "vault/actions/x.toml")  # fmt: skip


class Fast(QuickGit):
    """Without any process at all."""

    def run(self, *args: str, **more: Any) -> bytes:
        if args[0] != "ls-tree":
            return super().run(*args, **more)
        at, paths = args.index("--"), args[args.index("--") + 1 :]
        tree = self.store.repo[args[at - 1]].peel(pygit2.Tree)
        lines = [f"{oid}\t{path}" for path, oid in _files(tree) if any(f"{path}/".startswith(f"{p}/") for p in paths)]
        return "\0".join(lines).encode()

    def merged_tree(self, ours: str, theirs: str) -> str:
        index = self.store.repo.merge_commits(ours, theirs)
        return "" if index.conflicts else str(index.write_tree(self.store.repo))

    def is_ancestor(self, *commits: str) -> bool:
        *olds, new = commits
        return all(old == new or self._above(new, old) for old in olds)

    def commit(self, files: Mapping[str, bytes], *parents: str, tree: str = "") -> str:
        repo, at = self.store.repo, self._commit(parents[0]).tree if parents else None
        for path, data in files.items():
            at = repo[self._put(at, path.split("/"), repo.create_blob(data))].peel(pygit2.Tree)
        assert tree or at is not None
        oid = tree or str(at.id)  # type: ignore[union-attr]
        return str(repo.create_commit(None, WHO, WHO, "x", oid, list(parents)))


def _files(tree: pygit2.Tree, prefix: str = "") -> Iterable[tuple[str, str]]:
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            yield from _files(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", f"{entry.filemode:o} {entry.id}"


@dataclass(frozen=True)
class Probe:
    """A request as it could be merged any time: for a formula, approved by some, with more or less asked for."""

    formula: str
    by: tuple[int, ...]
    base: str
    more: tuple[tuple[str, Any], ...] = ()


PROBES = [
    *(Probe(formula, by, base) for formula in FORMULAS for base in ("main", "auto")
      for by in ((), (APPROVER,), (OUTSIDER,), (FACTORY_BOT,), (ADMIN,))),
    Probe("alpha", (APPROVER,), "main", (("secrets", ("TOKEN",)),)), Probe("beta", (APPROVER,), "main", (("runs", 3),)),
    Probe("alpha", (), "auto", (("secrets", ("TOKEN",)),)), Probe("none", (ADMIN,), "main"),
]  # fmt: skip


class Nobody:
    """``ports.Keys`` without any."""

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        return frozenset()

    def sign(self, data: bytes) -> str:
        return ""

    changes = staticmethod(listed.changes)


class Main(RuleBasedStateMachine):
    """The ops repo's main, the ledger over it, and what was decided in the beginning."""

    first_policy = policy_bytes()

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        pygit2.init_repository(self.folder.name, bare=True)
        self.git = Fast(Store(Path(self.folder.name)))
        self.main = self.git.commit({"vault/policy.toml": self.first_policy, "factory.toml": b"schema = 1\n"})
        self.ledger, self.now, self.number = Ledger(), NOW, 0
        self.write("GENESIS", ALL, {
            "forge": "f", "repo": 7, "owner": "o", "name": "n", "vault_bot": VAULT_BOT, "commit": self.main,
            "bots": [VAULT_BOT, FACTORY_BOT, DISPATCHER_BOT], "policy_version": 1,
            "policy_digest": sha256(self.first_policy), "controlled": controlled(self.git, self.main),
        })  # fmt: skip
        self.pulls: dict[str, PullFact] = {}
        """By the commit that merged it."""
        self.known: dict[tuple[Any, ...], tuple[int, str]] = {}
        """What was decided, by all that it depends on."""
        self.first = self.verdicts()
        assert {verdict[0] for verdict in self.first} == {0, Tier.LOW, Tier.MEDIUM, Tier.HIGH}

    def teardown(self) -> None:
        self.folder.cleanup()

    def write(self, kind: str, id: str, evidence: Mapping[str, Any], epoch: int = 0, run: str = "") -> None:
        self.number += 1
        name, tip = run or f"{self.number:032x}", f"{self.number:040x}"
        entry = Entry(kind, id, name, "h/1", self.now, epoch, "d", evidence, self.ledger.count, self.ledger.tip)
        self.ledger.apply(entry, tip)

    # ---- what a dispatcher would say ---------------------------------------------------------------------------------

    def verdicts(self) -> list[tuple[int, str]]:
        """Of every probe, as things stand."""
        rules, said = in_force(self.ledger, self.git), []
        for probe in PROBES:
            action = sample_action(probe.formula, expires=self.now + HOUR, not_before=self.now - HOUR,
                                   **dict(probe.more))  # fmt: skip
            key = (rules.commit, self.now, self.repeated(action), probe)
            if key not in self.known:
                self.known[key] = self.decided(probe, action, rules)
            said.append(self.known[key])
        return said

    def formula(self, name: str, rules: Authority) -> VaultFormula | None:
        """The ops repo's own, else the packaged one, as ``Gather.formula`` finds it."""
        own = self.git.read([f"{rules.commit}:formulas/{name}.toml"], 65536)[0]
        try:
            return read_formula(own if own is not None else formula_bytes(name) or b"")
        except Refused:
            return None

    def decided(self, probe: Probe, action: Action, rules: Authority) -> tuple[int, str]:
        """(0, code) for a refusal, else the tier it is let through at."""
        reviews = tuple(Review(n, user, "APPROVED", False, False, True, "b" * 40, self.now)
                        for n, user in enumerate(probe.by, 1))  # fmt: skip
        case = sample_case("gamma", action)
        pulls = (replace(case.pulls[0], reviews=reviews, base=probe.base, opened=self.now, pushed=self.now),)
        try:
            policy = rules.policy
            said = decide(replace(
                case, pulls=pulls, base=probe.base, now=self.now, formula=self.formula(probe.formula, rules),
                policy=policy, base_policy=policy, humans=frozenset(probe.by), repeated=self.repeated(action), seen={},
                settings=replace(case.settings, since=self.now - 48 * HOUR),
            ))  # fmt: skip
        except Refused as refused:
            return 0, refused.code
        return said.ruling.tier, ""

    def repeated(self, action: Action) -> bool:
        return any(state.verified.get("content") == action.content for state in self.ledger.states.values())

    # ---- what happens ------------------------------------------------------------------------------------------------

    def change(self, files: Mapping[str, bytes], by: Sequence[int], *, extra: Mapping[str, bytes] | None = None,
               straight: bool = False) -> None:  # fmt: skip
        """Proposed by the factory, approved by these, merged; or with other content; or pushed straight to main."""
        head = self.git.commit(files, self.main)
        tree = str(self.git.store.repo[self.git.commit(extra or {}, head)].peel(pygit2.Tree).id)
        made = self.git.commit({}, *((self.main,) if straight else (self.main, head)), tree=tree)
        self.main = made
        reviews = tuple(Review(n, user, "APPROVED", False, False, True, head, self.now) for n, user in enumerate(by, 1))
        self.pulls[made] = PullFact(self.number, FACTORY_BOT, "main", head, 7, 0, self.now, True,
                                    frozenset({FACTORY_BOT}), self.now, None, reviews)  # fmt: skip
        self.trusted()

    def trusted(self) -> None:
        """What a dispatcher trusts of what is on main, as of now."""
        since = str(self.ledger.trust[-1].evidence["commit"])
        for commit in self.git.history(self.main, since, *CONTROLLED):
            try:
                mine = tuple(pull for oid, pull in self.pulls.items() if oid == commit.oid)
                evidence = trust(commit, mine, self.ledger, self.git, 7, Nobody(), lambda: self.now)
                self.write("TRUST", ALL, evidence, len(self.ledger.trust))
            except (Refused, GitTrouble):
                continue

    @rule(hours=st.integers(1, 24 * 40))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)


class World(Main):
    """What anybody but an admin may bring about."""

    @rule(tiers=NEW_TIERS, version=st.integers(1, 5), by=PEOPLE, straight=st.booleans(),
          admins=st.sampled_from([[ADMIN], [APPROVER], [ADMIN, APPROVER, OUTSIDER]]))  # fmt: skip
    def propose_policy(
        self, tiers: dict[str, str], version: int, by: set[int], admins: list[int], straight: bool
    ) -> None:
        data = policy_bytes(version, tiers, rule='secrets = ["TOKEN"]\nmax_runs = 9\n')
        data = data.replace(f"admins = [{ADMIN}]".encode(), f"admins = {admins}".encode())
        self.change({"vault/policy.toml": data}, sorted(by), straight=straight)

    @rule(name=st.sampled_from(FORMULAS), by=PEOPLE, letter=st.sampled_from("ABCD"))
    def change_formula(self, name: str, by: set[int], letter: str) -> None:
        data = (formula_bytes(name) or b"").replace(b'class = "', f'class = "{letter}" #'.encode())
        self.change({f"formulas/{name}.toml": data}, sorted(by))

    @rule(path=st.sampled_from(PATHS), by=PEOPLE)
    def change_other(self, path: str, by: set[int]) -> None:
        there = {name for name, _ in _files(self.git.store.repo[self.main].peel(pygit2.Tree))}
        if not any(name.startswith(f"{path}/") or path.startswith(f"{name}/") for name in there):
            self.change({path: f"{self.number}\n".encode()}, sorted(by))

    @rule(tiers=NEW_TIERS, by=PEOPLE)
    def hide_a_policy_in_a_merge(self, tiers: dict[str, str], by: set[int]) -> None:
        looser = {"vault/policy.toml": policy_bytes(9, {**dict.fromkeys(FORMULAS, "low"), **tiers})}
        self.change({"agents/dev.toml": f"{self.number}\n".encode()}, sorted(by), extra=looser)

    @precondition(lambda self: len(self.ledger.states) < 6)
    @rule(name=st.sampled_from(FORMULAS[:2]))
    def run_an_action(self, name: str) -> None:
        action = sample_action(name, id=f"a{self.number}", params={"place": f"p{self.number % 3}"})
        tier = "low" if name == "alpha" else "medium"
        self.write("VERIFIED", action.id, {"content": action.content, "tier": tier, "target": action.id})
        run = f"{self.number + 1:032x}"
        self.write("CLAIMED", action.id, {}, 1, run)
        for kind in ("STARTED", "DONE"):
            self.write(kind, action.id, {}, 1, run)

    @invariant()
    def nothing_is_easier(self) -> None:
        for probe, before, now in zip(PROBES, self.first, self.verdicts(), strict=True):
            assert not (now[0] and not before[0]), f"{probe} was refused ({before[1]}) and is let through"
            assert not now[0] or now[0] >= before[0], f"{probe} was {before[0]!r} and is {now[0]!r}"


class Cooling(Main):
    """With admins among those who approve, in a vault of some days whose policy lets its changes wait."""

    first_policy = policy_bytes(more="cooling_hours = 24\n")
    waits: ClassVar[set[timedelta]] = set()
    """How long what counted had waited, over all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.now += timedelta(days=2)
        self.approved: dict[str, datetime] = {}
        """When an admin approved a policy, by its digest."""

    @rule(tiers=NEW_TIERS, hours=st.sampled_from([0, 1, 24, 100]), by=st.sets(st.sampled_from([ADMIN, APPROVER])),
          secrets=st.booleans(), instead=st.booleans())  # fmt: skip
    def propose(self, tiers: dict[str, str], hours: int, by: set[int], secrets: bool, instead: bool) -> None:
        """A newer policy, which may let the next one wait for another time, alone or with something else; on top of
        what waits, or instead of it."""
        if instead:
            self.main = str(self.ledger.trust[-1].evidence["commit"])
        data = policy_bytes(self.number + 10, tiers, more=f"cooling_hours = {hours}\n")
        if ADMIN in by:
            self.approved[sha256(data)] = self.now
        more = {"vault/secrets/TOKEN.age": f"{self.number}\n".encode()} if secrets else {}
        self.change({"vault/policy.toml": data, **more}, sorted(by))

    @rule(hours=st.sampled_from([1, 23, 24, 99]))
    def a_dispatcher_looks(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        self.trusted()

    @invariant()
    def nothing_counts_sooner(self) -> None:
        """Each version waited as long as the one before it said, as they stand on the ledger."""
        for before, entry in pairwise(self.ledger.trust):
            old, new = (str(one.evidence["policy_digest"]) for one in (before, entry))
            if old != new:
                data = self.git.read([f"{before.evidence['commit']}:vault/policy.toml"], 65536)[0]
                wait = tomllib.loads((data or b"").decode()).get("cooling_hours", 0)
                waited = entry.at - self.approved[new]
                self.waits.add(waited)
                assert waited >= wait * HOUR, f"a change that is to wait {wait} hours waited {waited}"


def play(examples: int = 15, world: type[Main] = World) -> None:
    run_state_machine_as_test(world, settings=settings(
        max_examples=examples, stateful_step_count=12, deadline=None, database=None, derandomize=True,
        suppress_health_check=list(HealthCheck),
    ))  # fmt: skip


@attack(9, "Any row of pull requests that anybody but an admin approved", vault="nothing gets easier",
        off="it happens: a policy of the approver's own is found",
        check="policy, secrets and people are changed by an admin's approval only")  # fmt: skip
def test_attack_9_no_sequence_loosens_a_later_decision(monkeypatch: pytest.MonkeyPatch) -> Seen:
    play()
    monkeypatch.setattr(authority, "FOR_ADMINS", (b"nothing",))
    world = World()
    world.change({"vault/policy.toml": policy_bytes(2, dict.fromkeys(FORMULAS, "low"))}, [APPROVER])
    with pytest.raises(AssertionError, match=r"was refused \(approver-not-listed\) and is let through"):
        world.nothing_is_easier()
    world.teardown()
    return Seen("-", "nothing gets easier", "it happens: a policy of the approver's own is found")


@attack(9, "Any row of changes of the policy, of time, and of approvals, an admin's among them",
        vault="none counts sooner than the policy before it says", off="it happens: a policy counts in the same hour",
        check="a change of the policy counts when its approval is as old as the policy before it says")  # fmt: skip
def test_attack_9_no_sequence_loosens_sooner(monkeypatch: pytest.MonkeyPatch) -> Seen:
    play(world=Cooling)
    assert Cooling.waits, "nothing ever counted"
    row = Cooling()
    for hours, versions in ((0, [1, 1, 2]), (100, [3, 3, 3])):  # each waits as long as the one before it says
        row.propose({"gamma": "low"}, hours, {ADMIN}, False, False)
        seen = [len(row.ledger.trust)]
        for later in (23, 1):
            row.a_dispatcher_looks(later)
            seen.append(len(row.ledger.trust))
        row.nothing_counts_sooner()
        assert seen == versions
    row.teardown()
    monkeypatch.setattr(authority, "due", lambda given, *_: given)
    world = Cooling()
    world.propose({"gamma": "low"}, 0, {ADMIN}, False, False)
    with pytest.raises(AssertionError, match=r"is to wait 24 hours waited 0:00:00"):
        world.nothing_counts_sooner()
    world.teardown()
    return Seen("-", "none counts sooner than the policy before it says",
                "it happens: a policy counts in the same hour")  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("world", [World, Cooling])
def test_no_sequence_loosens_a_later_decision_in_the_long_form(world: type[Main]) -> None:
    play(2000, world)


