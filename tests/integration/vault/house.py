"""A vault of a test's own: real git repos; forge, sentinel and runner answer as the test says."""

from __future__ import annotations

import itertools
import secrets
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from factory.git.hardened import Git
from factory.vault.action import Action, Tier
from factory.vault.approval import Review
from factory.vault.authority import controlled
from factory.vault.canonical import sha256
from factory.vault.chain import Chain
from factory.vault.dispatch import Dispatcher, Patience
from factory.vault.gather import Handed
from factory.vault.keys import listed
from factory.vault.ledger import ALL, Entry
from factory.vault.ports import Order, Outcome, PullFact, Repo, Settings, Unclear

VAULT_BOT, FACTORY_BOT, DISPATCHER_BOT, ADMIN, APPROVER, OUTSIDER = 11, 12, 13, 1, 2, 99
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
FORMULA = """schema = 1
name = "{name}"
version = 1
role = "vault"
description = "Stands for any formula."

[vault]
class = "{letter}"
floor = "low"
lane = ["place"]
effects = ["stand_in"]

[vault.params.place]
type = "name"

[vault.params.words]
type = "text"
required = false
"""
WHO = {f"GIT_{who}_{what}": "x@y" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
SETTINGS = Settings("as-it-was", 1, NOW - timedelta(days=2), NOW)
OPS = Repo("http://forge.test", 7, "founder", "tally-ops")
LETTERS = {"alpha": "A", "beta": "B", "gamma": "C", "delta": "D", "sigma": "A"}
"""Name -> class; ``sigma`` does the same content only once."""
TIERS = {"alpha": "low", "beta": "medium", "gamma": "high", "delta": "high"}


def formula_bytes(name: str) -> bytes | None:
    if name not in LETTERS:
        return None
    text = FORMULA.format(name=name, letter=LETTERS[name])
    return text.replace("effects =", "unique = true\neffects =" if name == "sigma" else "effects =").encode()


def policy_bytes(
    version: int = 1, tiers: Mapping[str, str] = TIERS, more: str = "", rule: str = "",
    formulas: Callable[[str], bytes | None] = formula_bytes,
) -> bytes:  # fmt: skip
    text = f"v = 1\nversion = {version}\nadmins = [{ADMIN}]\napprovers = [{APPROVER}]\n{more}"
    for name, tier in tiers.items():
        digest = sha256(formulas(name) or b"")
        text += f'\n[formulas."{name}@1"]\ntier = "{tier}"\ndigest = "{digest}"\n{rule}'
    return text.encode()


@dataclass
class Runner:
    """Counts effects in ``effects``; ``fate`` says how each run ends (None: it never does)."""

    me: str = ""
    effects: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    fate: Callable[[Order], Outcome | None] = lambda order: Outcome("done", "did it")
    lost: set[str] = field(default_factory=set)
    _done: list[tuple[Order, Outcome]] = field(default_factory=list)

    def start(self, order: Order) -> None:
        self.orders.append(order)
        if order.probe:
            state = "applied" if order.idem_key in self.effects else "absent"
            self._done.append((order, Outcome(state, "looked")))
            return
        outcome = self.fate(order)
        if outcome is not None and outcome.state == "done":
            self.effects.append(order.idem_key)
        if outcome is not None:
            self._done.append((order, outcome))

    def finished(self) -> tuple[tuple[Order, Outcome], ...]:
        done, self._done = tuple(self._done), []
        return done

    def dead(self, by: str, run: str, *, kill: bool = False) -> bool:
        return by in self.lost


@dataclass
class House:
    """One ops repo (``remote``), and what forge and sentinel say of it."""

    root: Path
    now: datetime = NOW
    pulls_: dict[int, PullFact] = field(default_factory=dict)
    settings_: Settings = SETTINGS
    repo_: Repo = OPS
    gone: set[int] = field(default_factory=set)
    signed: frozenset[int] = frozenset()
    down: bool = False
    skew: timedelta = timedelta(0)
    clockwork: float = 0.0
    policy: bytes = field(default_factory=policy_bytes)
    host_key: str = ""
    """Which GENESIS names, as that of the host ``init``."""
    sign: Callable[[bytes], str] = lambda data: ""
    """How whoever writes the ledger next signs it."""
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def __post_init__(self) -> None:
        self.remote = self.root / "remote.git"
        self.git = Git(self.remote, "")
        self.seed()

    # ---- building --------------------------------------------------------------------------------------------------

    def commit(self, files: Mapping[str, bytes | None], *parents: str, modes: Mapping[str, str] | None = None) -> str:
        """A commit with the first parent's tree and these changes (None deletes)."""
        index = str(self.root / f"index-{secrets.token_hex(4)}")
        env = {"GIT_DIR": str(self.remote), "GIT_INDEX_FILE": index, "PATH": "/usr/bin:/bin", "HOME": "/nonexistent",
               **WHO}  # fmt: skip

        def run(*args: str, data: bytes = b"") -> str:
            return (
                subprocess.run(["git", *args], input=data, env=env, capture_output=True, check=True)
                .stdout.decode()
                .strip()
            )

        if parents:
            run("read-tree", parents[0])
        for path, data in files.items():
            if data is None:
                run("update-index", "--force-remove", "--", path)
            else:
                blob = run("hash-object", "-w", "--stdin", data=data)
                run("update-index", "--add", "--cacheinfo", f"{(modes or {}).get(path, '100644')},{blob},{path}")
        tree = run("write-tree")
        return run("commit-tree", tree, "-m", "x", *(word for parent in parents for word in ("-p", parent)))

    def ref(self, name: str, value: str | None = None) -> str:
        if value is not None:
            self.git.run("update-ref", f"refs/{name}", value)
        return self.git.text("rev-parse", "--verify", "--quiet", f"refs/{name}", codes=(0, 1))

    def seed(self) -> None:
        first = self.commit(
            {"README.md": b"hello\n", "vault/policy.toml": self.policy, "factory.toml": b"schema = 1\n"}
        )
        self.ref("heads/main", first)
        self.ref("heads/auto", self.commit({"vault/actions/.gitkeep": b""}))
        genesis = {
            "forge": self.repo_.forge, "repo": self.repo_.id, "owner": self.repo_.owner, "name": self.repo_.name,
            "bots": [VAULT_BOT, FACTORY_BOT, DISPATCHER_BOT], "vault_bot": VAULT_BOT, "commit": first,
            "policy_digest": sha256(self.policy), "policy_version": 1, "controlled": controlled(self.git, first),
            **({"dispatcher_ssh": self.host_key} if self.host_key else {}),
        }  # fmt: skip
        chain = self.chain("genesis")
        chain.append([Entry("GENESIS", ALL, secrets.token_hex(16), "init/1", self.now, evidence=genesis)])

    def chain(self, name: str) -> Chain:
        git = Git(self.root / name / "repo.git", str(self.remote))
        return Chain(git, self.root / name / "ledger.json", lambda data: self.sign(data))

    # ---- asking and approving --------------------------------------------------------------------------------------

    def action(self, formula: str = "beta", **more: object) -> Action:
        place = str(more.pop("place", "here"))
        number = next(self._ids)
        values: dict[str, object] = {
            "id": f"2026-11-28-{formula}-{number:04x}", "formula": f"{formula}@1", "blast_radius": Tier.LOW,
            "target": f"{formula}:{place}", "not_before": self.now - timedelta(hours=1),
            "expires": self.now + timedelta(hours=24), "reason": "because", "requester": "run:1",
            "params": {"place": place},
        }  # fmt: skip
        return Action(**{**values, **more})  # type: ignore[arg-type]

    def open(
        self, action: Action, base: str = "main", data: bytes | None = None, extra: Mapping[str, bytes] | None = None,
        **pull: object,
    ) -> PullFact:  # fmt: skip
        head = self.commit({action.path: data or action.write(), **(extra or {})}, self.ref(f"heads/{base}"))
        self.ref(f"heads/vault/{action.id}", head)
        number = next(self._ids)
        self.ref(f"pull/{number}/head", head)
        values: dict[str, object] = {
            "number": number, "poster": VAULT_BOT, "base": base, "head_sha": head, "head_repo": self.repo_.id,
            "flow": 0, "opened": self.now, "merged": False, "contributors": frozenset({VAULT_BOT}),
            "pushed": self.now, "moved": None,
            "reviews": (),
        }  # fmt: skip
        fact = PullFact(**{**values, **pull})  # type: ignore[arg-type]
        self.pulls_[number] = fact
        return fact

    def review(self, pull: PullFact, user: int = ADMIN, state: str = "APPROVED", **more: object) -> PullFact:
        values: dict[str, object] = {
            "id": next(self._ids), "user": user, "state": state, "dismissed": False, "stale": False, "official": True,
            "commit": pull.head_sha, "at": self.now + timedelta(seconds=1),
        }  # fmt: skip
        review = Review(**{**values, **more})  # type: ignore[arg-type]
        fact = replace(self.pulls_[pull.number], reviews=(*self.pulls_[pull.number].reviews, review))
        self.pulls_[pull.number] = fact
        return fact

    def merge(self, pull: PullFact) -> str:
        """As the forge does it; the branch goes away."""
        base = self.ref(f"heads/{pull.base}")
        tree = self.git.merged_tree(base, pull.head_sha)
        env = {"GIT_DIR": str(self.remote), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **WHO}
        made = subprocess.run(["git", "commit-tree", tree, "-p", base, "-p", pull.head_sha, "-m", "merge"], env=env,
                              capture_output=True, check=True).stdout.decode().strip()  # fmt: skip
        self.ref(f"heads/{pull.base}", made)
        for name in self.git.run("for-each-ref", "--format=%(refname)", "refs/heads/vault/").decode().split():
            if self.git.text("rev-parse", name) == pull.head_sha:
                self.git.run("update-ref", "-d", name)
        return made

    def ask(self, formula: str = "beta", **more: object) -> Action:
        """An action that was opened, approved by the admin, and merged."""
        action = self.action(formula, **more)
        base = "auto" if formula == "alpha" else "main"
        pull = self.open(action, base)
        if base == "main":
            self.review(pull)
        self.merge(pull)
        return action

    def adopt(self, policy: bytes, user: int = ADMIN) -> None:
        """A change of the policy that was merged, before any dispatcher looks."""
        self.change_policy(policy, user)
        dispatcher, _ = self.dispatcher("adopter")
        dispatcher.turn()

    def change_policy(self, data: bytes, user: int = ADMIN) -> None:
        """A change of the policy that was approved and merged."""
        self.change({"vault/policy.toml": data}, user)

    def change(self, files: Mapping[str, bytes | None], user: int = ADMIN) -> None:
        """A change of the controlled set that was approved and merged."""
        action = self.action()
        pull = self.open(action)
        self.git.run("update-ref", "-d", f"refs/heads/vault/{action.id}")
        head = self.commit(files, self.ref("heads/main"))
        self.ref(f"pull/{pull.number}/head", head)
        self.pulls_[pull.number] = replace(pull, head_sha=head, poster=FACTORY_BOT)
        self.merge(self.review(self.pulls_[pull.number], user))

    # ---- dispatchers -----------------------------------------------------------------------------------------------

    def dispatcher(
        self, name: str = "d1", runner: Runner | None = None, patience: Patience | None = None
    ) -> tuple[Dispatcher, Runner]:
        runner = runner or Runner()
        runner.me = f"host/{name}"
        handed = Handed(
            Git(self.root / name / "repo.git", str(self.remote)), _Forge(self), _Sentinel(self), runner, _Keys(self),
            formula_bytes, clock=lambda: self.now + self.skew, monotonic=lambda: self.clockwork,
        )  # fmt: skip
        return Dispatcher(handed, runner.me, self.root / name / "ledger.json", patience), runner

    def kinds(self, id: str) -> list[str]:
        """The action's entries, in order, read with git alone."""
        names = self.git.run("ls-tree", "-r", "--name-only", "refs/heads/ledger", f"e/{id}/").decode().split()
        return [name.rsplit("-", 1)[1].removesuffix(".toml") for name in sorted(names)]


def numbers_of(refs: Mapping[str, str], head: str) -> list[int]:
    """Pull requests whose recorded head is that commit."""
    return sorted(int(name.split("/")[2]) for name, oid in refs.items() if (name[:10], oid) == ("refs/pull/", head))


@dataclass
class _Forge:
    house: House

    def _up(self) -> House:
        if self.house.down:
            raise Unclear("the forge does not answer")
        return self.house

    def refs(self, *prefixes: str) -> Mapping[str, str]:
        lines = self._up().git.run("for-each-ref", "--format=%(refname) %(objectname)").decode().splitlines()
        found = dict(line.split(" ") for line in lines)
        return {name: oid for name, oid in found.items() if name.startswith(prefixes)}

    def repo(self) -> Repo:
        return self._up().repo_

    def ahead(self, heads: Iterable[str]) -> None:
        """What this double knows it knows already."""

    def pulls(self, head: str) -> tuple[PullFact, ...]:
        numbers = numbers_of(self.refs("refs/pull/"), head)
        return tuple(self._up().pulls_[number] for number in numbers if number in self.house.pulls_)

    def now(self) -> datetime:
        return self._up().now

    def humans(self, ids: frozenset[int]) -> frozenset[int]:
        return ids - self._up().gone


@dataclass
class _Sentinel:
    house: House

    def settings(self) -> Settings:
        return self.house.settings_


@dataclass
class _Keys:
    house: House

    def signers(self, statement: bytes, pulls: tuple[int, ...]) -> frozenset[int]:
        return self.house.signed

    def sign(self, data: bytes) -> str:
        return self.house.sign(data)

    changes = staticmethod(listed.changes)
