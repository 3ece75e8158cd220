"""A vault on a forge that is really there: its accounts, rules, reviews and merges; only the run itself stands in.

One forge with its accounts serves all; a ``Keep`` is one ops repo in it with its sentinel and its dispatchers, each of
them the program that ``factory up`` starts, in a process and a home of its own (``inside`` says what differs).
What an adversary does, it does with an account's own token over HTTP or git, and ``said`` is what the forge answered.
"""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import sqlite3
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from factory.app.places import sentinel_door
from factory.app.projects import ProjectState
from factory.app.vault_showing import listed
from factory.config.model import DEFAULT_ACCOUNTS
from factory.errors import ForgeRefused
from factory.forge.values import BranchProtection, RepoName, ReviewState
from factory.forge.wanted import RepoWanted, wanted_setup
from factory.git.hardened import Git
from factory.ops.routes import unprotected_patterns
from factory.vault.action import Action, Tier
from factory.vault.authority import controlled
from factory.vault.canonical import Refused, sha256
from factory.vault.chain import Chain
from factory.vault.ledger import ALL, Entry, Ledger, State
from factory.vault.ledger import read as read_entry
from factory.vault.ports import Settings
from factory.vault.watch import record
from factory.vault.watch.asking import AskedSentinel
from factory.vault.watch.sentinel import Post
from factory.vault.watch.settings import Expected
from tests.contract.conftest import Site, fresh, soon
from tests.integration.vault.attacks import pace
from tests.integration.vault.attacks.carry import packed
from tests.integration.vault.attacks.inside import FOR_EVER
from tests.integration.vault.attacks.program import Runs, nursery
from tests.integration.vault.attacks.served import Host, Served
from tests.integration.vault.commits import commit_tree, git
from tests.integration.vault.house import formula_bytes

FOUNDER, APPROVER, OUTSIDER = "founder", "approver", "outsider"
VAULT, FACTORY, DISPATCHER, DEV = "vault-bot", "factory-bot", "dispatcher-bot", "dev-bot"
SENTINEL = "sentinel-bot"
ROLES = ("dev", "gardener", "planner", "predictor", "architect", "supervisor")
ACCOUNTS = {duty: DEV if duty in ROLES else login for duty, login in DEFAULT_ACCOUNTS.items()}
"""Duty -> account; several duties share one, which set-up allows."""
BOTS = tuple(dict.fromkeys(ACCOUNTS.values()))
TIERS = {"alpha": "low", "beta": "medium", "gamma": "high", "delta": "high"}
DAY = timedelta(days=1)
ALONE = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
OUTSIDE = "this attacker broke into the forge's machine; only of an embedded forge are the files at hand"
OPEN: list[Keep] = []
"""Those whose processes may run."""


@dataclass(frozen=True)
class Asked:
    """A request that stands on the forge as a pull request."""

    id: str
    number: int
    branch: str
    head: str
    base: str
    named: bool = True
    """Whether a real forge tells in its timeline, sooner or later, who pushed the head."""


@dataclass
class Keep:
    """An ops repo as set-up leaves it, with GENESIS on its ledger. ``forge_home``: where an embedded forge keeps its
    repos; None for a real one."""

    site: Site
    root: Path
    forge_home: Path | None = None
    more: str = ""
    """Further lines of the policy."""
    people: tuple[str, ...] = ()
    """More accounts, all listed as admins and allowed to write."""
    age: timedelta = timedelta(0)
    """How long ago it was founded."""
    ops: RepoName = field(init=False)
    said: list[str] = field(default_factory=list)
    """The forge's refusals, in its words."""
    actions: dict[str, Action] = field(default_factory=dict)
    """Every one that was made here, by id."""
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _served: dict[str, tuple[Served, Runs]] = field(default_factory=dict)
    _readers: dict[str, Chain] = field(default_factory=dict)

    def __post_init__(self) -> None:
        nursery()  # it loads what it needs while this is built
        self.root.mkdir(parents=True, exist_ok=True)
        self.ids = {who: self._id(who) for who in (*BOTS, FOUNDER, APPROVER, OUTSIDER, *self.people)}
        self.ops = RepoName(self.site.login(FOUNDER), fresh("ops"))
        self.wanted = self._wanted()
        made = self.site.call("POST", "/user/repos", {"name": self.ops.name, "private": True, "default_branch": "main"})
        assert made.status_code == 201, made.text
        self.repo_id = int(made.json()["id"])
        people = {self.site.login(who): "write" for who in (APPROVER, *self.people)}
        for login, right in {**self.wanted.collaborators, **people}.items():
            self.site.admin.set_collaborator(self.ops, login, right)
        self.work = Git(self.root / "work.git", self.url(FOUNDER))
        self._seed()
        self.site.admin.only_merge(self.ops)
        self.site.admin.edit_repo(self.ops, has_actions=False)
        self.protect()
        self.later, self.skew, self.clockwork = timedelta(0), timedelta(0), 0.0
        self.host = self._host("host")
        self.post = self._eye()
        self.sentinel = self.host.program("watch")
        OPEN.append(self)

    def known_as(self, ops: RepoName) -> None:
        """The ops repo is called so from now on."""
        self.ops = ops
        self._readers.clear()

    # ---- building --------------------------------------------------------------------------------------------------

    def _id(self, who: str) -> int:
        known: dict[str, int] = self.site.__dict__.setdefault("_ids", {})
        if who not in known:
            known[who] = int(self.site.call("GET", "/user", who=who).json()["id"])
        return known[who]

    def _wanted(self) -> RepoWanted:
        accounts = {duty: self.site.login(login) for duty, login in ACCOUNTS.items()}
        project = RepoName(self.ops.owner, self.ops.name.removesuffix("-ops"))
        people = [self.site.login(who) for who in (FOUNDER, APPROVER, *self.people)]
        patterns = unprotected_patterns()
        return wanted_setup(project, self.ops, accounts=accounts, approvers=people, direct_patterns=patterns).repos[1]

    def protect(self) -> None:
        """Every rule as set-up wants it."""
        for rule in self.wanted.protections:
            self.site.admin.set_protection(self.ops, rule)

    def rule(self, branch: str) -> BranchProtection:
        return next(r for r, name in zip(self.wanted.protections, self.wanted.branches, strict=True) if name == branch)

    def policy(self, version: int = 1, tiers: Mapping[str, str] = TIERS, *, more: str | None = None, rule: str = "",
               admins: tuple[str, ...] = (), approvers: tuple[str, ...] = (APPROVER,)) -> bytes:  # fmt: skip
        admins = admins or (FOUNDER, *self.people)
        lists = {"admins": [self.ids[who] for who in admins], "approvers": [self.ids[who] for who in approvers]}
        text = f"v = 1\nversion = {version}\n" + "".join(f"{key} = {ids}\n" for key, ids in lists.items())
        text += self.more if more is None else more
        for name, tier in tiers.items():
            digest = sha256(formula_bytes(name) or b"")
            text += f'\n[formulas."{name}@1"]\ntier = "{tier}"\ndigest = "{digest}"\n{rule}'
        return text.encode()

    def seeds(self) -> dict[str, bytes]:
        """What main begins with."""
        return {"README.md": b"# ops\n", "factory.toml": b"schema = 1\n", "vault/policy.toml": self.policy()}

    def _seed(self) -> None:
        seeds = self.seeds()
        policy = seeds.get("vault/policy.toml", b"")
        first = self.seed = self.commit(seeds)
        auto = self.commit({"vault/actions/.gitkeep": b""})
        journal = self.commit({"runs/.gitkeep": b""})
        heads = {"main": first, "auto": auto, "journal": journal}
        assert not self.push(FOUNDER, *(f"{oid}:refs/heads/{name}" for name, oid in heads.items()))
        soon(self.site, lambda: self.site.client(FOUNDER).repo(self.ops), lambda repo: not repo.empty)
        bots = [self.ids[who] for who in BOTS]
        genesis = {
            "forge": self.site.url, "repo": self.repo_id, "owner": self.ops.owner, "name": self.ops.name, "bots": bots,
            "vault_bot": self.ids[VAULT], "commit": first, "policy_digest": sha256(policy), "policy_version": 1,
            "controlled": controlled(self.work, first),
        }  # fmt: skip
        now = datetime.now(UTC).replace(microsecond=0) - self.age
        self.chain("genesis").append([Entry("GENESIS", ALL, secrets.token_hex(16), "init/1", now, evidence=genesis)])

    def _host(self, name: str) -> Host:
        """A machine as set-up leaves it, with the tokens of those that act there."""
        accounts = {duty: self.site.login(login) for duty, login in ACCOUNTS.items()}
        project = RepoName(self.ops.owner, self.ops.name.removesuffix("-ops"))
        ids = {self.site.login(who): self.ids[who] for who in BOTS}
        known = ProjectState(str(project), str(self.ops), self.seed, self.repo_id, self.repo_id, "main", ids,
                             accounts=accounts)  # fmt: skip
        acting = [accounts[duty] for duty in ("dispatcher", "sentinel", "factory")]
        tokens = {login: self.site.tokens[login] for login in acting}
        return Host(self.root / "hosts" / name, name, self.site.url, self.ops, known, tokens)

    def _eye(self) -> Post:
        """What the sentinel's process will find: it has watched for a day already."""
        accounts = {duty: self.site.login(login) for duty, login in ACCOUNTS.items()}
        expected = Expected(self.ops, self.repo_id, accounts, unprotected_patterns())
        post = Post(expected, self.site.client(SENTINEL), self.host.folder)
        first = post.look(whole=True, poll_seconds=FOR_EVER)
        assert not first.wrong, first.wrong
        record.write(post.folder, replace(first, since=first.since - DAY, generation=first.generation - 86400))
        return post

    def url(self, who: str) -> str:
        """The repo's address for git, with the account's token."""
        scheme, _, rest = self.site.url.partition("://")
        login = self.site.account(who)
        return f"{scheme}://{login}:{self.site.tokens[login]}@{rest}/{self.ops}.git"

    def chain(self, name: str, who: str = FOUNDER) -> Chain:
        """The ledger as whoever holds this token can write it."""
        git = Git(
            self.root / name / "repo.git", f"{self.site.url}/{self.ops}.git", self.site.tokens[self.site.login(who)]
        )
        return Chain(git, self.root / name / "ledger.json", lambda data: "")

    def thaw(self) -> None:
        """Let a frozen vault go on, as an admin does it who looked."""
        chain, now = self.chain(fresh("thaw"), DISPATCHER), datetime.now(UTC).replace(microsecond=0)
        chain.sync()
        words = {"words": "the test looked"}
        assert chain.append([Entry("UNFREEZE", ALL, secrets.token_hex(16), "person/1", now, evidence=words)])

    # ---- git, as anybody -------------------------------------------------------------------------------------------

    def commit(self, files: Mapping[str, bytes | None], *parents: str, **more: Any) -> str:
        """A commit here, not yet pushed."""
        return commit_tree(self.work.repo, files, *parents, **more)

    def push(self, who: str, *specs: str) -> str:
        """What git says when it does not take the push; empty: it does."""
        done = subprocess.run(
            ["git", f"--git-dir={self.work.repo}", "push", "--quiet", self.url(who), *specs], env=ALONE,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return "" if done.returncode == 0 else done.stderr

    def tip(self, ref: str) -> str:
        """Where a branch (or another ref, by its full name) is on the forge; its objects are here then."""
        name = ref if ref.startswith("refs/") else f"refs/heads/{ref}"
        oid = self.site.client(FOUNDER).ls_refs(self.ops, [name]).get(name, "")
        if oid:
            command = ["git", f"--git-dir={self.work.repo}", "fetch", "--quiet", self.url(FOUNDER), name]
            subprocess.run(command, env=ALONE, check=True, capture_output=True, timeout=60)
        return oid

    def broken_into(self, why: str = OUTSIDE) -> Path:
        """Where the forge keeps what is its own, for an attacker who is there. ``why`` only an embedded one will do."""
        if self.forge_home is None:
            pytest.skip(why)
        return self.forge_home

    def bare(self) -> Path:
        """The ops repo itself, for an attacker who is there."""
        return self.broken_into() / "repos" / self.ops.owner.lower() / f"{self.ops.name.lower()}.git"

    def sql(self, words: str, *values: object) -> None:
        """What who broke into the forge can do to its database."""
        with closing(sqlite3.connect(self.broken_into() / "forge.db", timeout=20)) as db, db:
            db.execute(words, values)

    # ---- what people and bots do -----------------------------------------------------------------------------------

    def action(self, formula: str = "beta", **more: object) -> Action:
        place = str(more.pop("place", f"p{next(self._ids)}"))
        now = datetime.now(UTC).replace(microsecond=0)
        values: dict[str, object] = {
            "id": f"{now:%Y-%m-%d}-{formula}-{secrets.token_hex(3)}", "formula": f"{formula}@1",
            "blast_radius": Tier.LOW, "target": f"{formula}:{place}", "not_before": now - timedelta(hours=1),
            "expires": now + DAY, "reason": "because", "requester": "run:1", "params": {"place": place},
        }  # fmt: skip
        made = Action(**{**values, **more})  # type: ignore[arg-type]
        self.actions[made.id] = made
        return made

    def write(self, who: str, branch: str, files: Mapping[str, bytes | None], *, base: str = "", **more: object) -> str:
        """A commit over the forge's API (with ``base``, on a new branch from there); its id. Raises ForgeRefused."""
        changes: list[dict[str, object]] = []
        for path, data in files.items():
            known = self.site.call("GET", f"/repos/{self.ops}/contents/{path}", ref=base or branch)
            there = {"sha": known.json()["sha"]} if known.status_code == 200 else {}
            change: dict[str, object] = {"path": path, "operation": "update" if there else "create", **there}
            changes.append(
                change | ({"operation": "delete"} if data is None else {"content": b64encode(data).decode()})
            )
        body: dict[str, object] = {"files": changes, "message": "Write", "branch": base or branch, **more}
        if base:
            body["new_branch"] = branch
        made = self.site.client(who).send("POST", f"/repos/{self.ops}/contents", doing="writing", body=body)
        oid: str = made["commit"]["sha"]
        return oid

    def ask(self, action: Action, base: str = "main", *, data: bytes | None = None, who: str = VAULT,
            extra: Mapping[str, bytes | None] | None = None, branch: str = "") -> Asked:  # fmt: skip
        """The request as vault-bot files it: one added file on a branch of its own."""
        branch = branch or f"vault/{action.id}"
        head = self.write(who, branch, {action.path: data or action.write(), **(extra or {})}, base=base)
        return self.propose(action.id, branch, head, base, who)

    def propose(self, id: str, branch: str, head: str, base: str = "main", who: str = VAULT) -> Asked:
        pull = self.site.client(who).create_pull(self.ops, head=branch, base=base, title="Request", body="")
        return Asked(id, pull.number, branch, head, base)

    def edit(self, files: Mapping[str, bytes | None], *, who: str = FACTORY, by: str = FOUNDER,
             signed: Callable[[Asked], object] = lambda asked: None) -> Asked:  # fmt: skip
        """A change that is no request, as the factory proposes it; ``signed``, approved by ``by`` and merged."""
        branch = f"edit/{fresh('e')}"
        asked = self.propose("", branch, self.write(who, branch, files, base="main"), "main", who)
        signed(asked)
        self.review(asked, by)
        self.merged(asked)
        return asked

    def review(self, asked: Asked, who: str = FOUNDER, state: ReviewState = ReviewState.APPROVED) -> int:
        self.caught_up(asked)
        made = self.site.client(who).review(self.ops, asked.number, state=state, body="", commit=asked.head)
        return made.id

    def dismiss(self, asked: Asked, review: int) -> None:
        """As the founder, who may."""
        path = f"/repos/{self.ops}/pulls/{asked.number}/reviews/{review}/dismissals"
        self.site.client(FOUNDER).send("POST", path, doing="dismissing", body={"message": "no"})

    def merge(self, asked: Asked, who: str = VAULT, head: str = "") -> bool:
        """Over the API; False when the forge refuses, whose words are kept then."""
        self.caught_up(asked)
        try:
            self.site.client(who).merge(self.ops, asked.number, head=head or asked.head, title="t", message="m")
        except ForgeRefused as refused:
            self.said.append(refused.message)
            return False
        return True

    def force(self, asked: Asked) -> None:
        """The merge that the forge would not do, done all the same: as by who broke into it, or by a site admin who
        lends his rights to the bot for a moment between two looks."""
        if self.forge_home is not None:
            self.merge_wrongly(asked)
            return
        bot = self.site.login(VAULT)
        self.caught_up(asked)
        wanted = {"Do": "merge", "MergeTitleField": "t", "MergeMessageField": "m", "head_commit_id": asked.head}
        path = f"/repos/{self.ops}/pulls/{asked.number}/merge"
        self.lend_admin(bot, True)
        try:
            soon(self.site, lambda: self.site.call("POST", path, {**wanted, "force_merge": True}, who=VAULT),
                 lambda answer: answer.status_code == 200)  # fmt: skip
        finally:
            self.lend_admin(bot, False)

    def caught_up(self, asked: Asked) -> None:
        """Let a real forge get to the last push: until then it takes approvals of the new head back when it does, and
        what is merged before that is left with the older head for good."""
        pace.caught_up(self.site, self.ops, asked.number, asked.branch, asked.head if asked.named else "")

    def lend_admin(self, login: str, lent: bool) -> None:
        body = {"login_name": login, "source_id": 0, "admin": lent}
        self.site.admin.send("PATCH", f"/admin/users/{login}", doing="lending rights", body=body)

    def merged(self, asked: Asked) -> None:
        """Merge as the vault would; where the forge refuses, by force."""
        if not self.merge(asked):
            self.force(asked)

    def wrongly(self, base: str, made: str) -> None:
        """Move a branch of the forge behind its back, as who broke into it can: no rule, no hook is asked."""
        there = self.bare()
        git(there, "fetch", "--quiet", "--no-write-fetch-head", str(self.work.repo), f"{made}:refs/tmp/wrong")
        git(there, "update-ref", f"refs/heads/{base}", made)
        git(there, "update-ref", "-d", "refs/tmp/wrong")

    def merge_wrongly(self, asked: Asked, files: Mapping[str, bytes | None] | None = None, **more: Any) -> str:
        """A merge of the request that holds these files as well."""
        first = self.tip(asked.base)
        self.tip(f"refs/pull/{asked.number}/head")
        tree = self.work.merged_tree(first, asked.head)
        merged = self.commit({}, first, asked.head, tree=tree)
        made = self.commit(files, merged) if files else merged
        tree = git(self.work.repo, "rev-parse", f"{made}^{{tree}}")
        made = self.commit({}, first, asked.head, tree=tree, **more)
        self.wrongly(asked.base, made)
        return made

    def still_fresh(self, asked: Asked) -> None:
        """As in the moment after a push in which the forge has not got to its reviews yet."""
        self.broken_into("the moment before the forge takes an approval back: only an embedded one can be held there")
        self.sql(
            "UPDATE reviews SET dismissed = 0, stale = 0 WHERE issue_id = (SELECT id FROM issues WHERE repo_id = ? AND"
            " number = ?)", self.repo_id, asked.number,
        )  # fmt: skip

    def unnamed(self, asked: Asked) -> None:
        """As in the moment in which the forge has moved the head and not yet written down who pushed it."""
        self.broken_into("the moment before the forge writes down who pushed: only an embedded one can be held there")
        self.sql("DELETE FROM comments WHERE kind = 'pull_push' AND body LIKE ?", f"%{asked.head}%")

    # ---- the vault -------------------------------------------------------------------------------------------------

    @property
    def skew(self) -> timedelta:
        """How far the clock of the dispatchers' hosts is ahead."""
        return self._skew

    @skew.setter
    def skew(self, ahead: timedelta) -> None:
        self._skew = ahead
        self._set_clocks()

    @property
    def clockwork(self) -> float:
        """The dispatchers' monotonic clock."""
        return self._clockwork

    @clockwork.setter
    def clockwork(self, seconds: float) -> None:
        self._clockwork = seconds
        self._set_clocks()

    def pass_by(self, time: timedelta) -> None:
        """So much time passes for the dispatchers: by their hosts' clocks, and by the forge's as they are told it."""
        self.later += time
        self._set_clocks()

    def _set_clocks(self) -> None:
        later = self.later.total_seconds()
        told = f"{self._skew.total_seconds() + later} {getattr(self, '_clockwork', 0.0)} {later}"
        (self.root / "clock").write_text(told, encoding="ascii")

    def signed_by(self, told: Callable[[bytes, tuple[int, ...]], frozenset[int]]) -> None:
        """Whose signatures there are over a statement, in place of looking for them."""
        (self.root / "signers").write_bytes(packed(told))

    def settings(self) -> Settings:
        """What the sentinel's process sees now."""
        self.watched()
        return AskedSentinel(self.host.folder, sentinel_door(self.host.state), self.host.ops, fresh_s=0.0).settings()

    def watched(self) -> None:
        """Have the sentinel's process running; it looks when it is asked."""
        if not self.sentinel.alive:
            self.sentinel.turn()

    def dispatcher(self, name: str = "") -> tuple[Served, Runs]:
        """One more dispatcher, on a host of its own that never saw the ledger, and what it starts. The sentinel is the
        same: its answers are read over there as they are here."""
        host = self._host(name or fresh("d"))
        seen, door = host.folder / record.NAME, sentinel_door(host.state)
        seen.symlink_to(self.host.folder / record.NAME)
        door.symlink_to(sentinel_door(self.host.state))
        return self._serve(host)

    def _serve(self, host: Host) -> tuple[Served, Runs]:
        runs = Runs(host.home / "runs")
        told = {"clock": self.root / "clock", "signers": self.root / "signers"}
        program = host.program("serve", runs=runs.folder, **told)
        self._served[host.name] = Served(host, program, self.watched, lambda: self.ledger(host.name)), runs
        return self._served[host.name]

    def dispatch(self) -> Served:
        """The one that serves this repo from first to last."""
        return self._standing()[0]

    def _standing(self) -> tuple[Served, Runs]:
        return self._served.get("host") or self._serve(self.host)

    def runner(self) -> Runs:
        """What that one starts."""
        return self._standing()[1]

    def run(self, turns: int = 3) -> tuple[Served, Runs]:
        """A fresh dispatcher that turns a few times: what it saw and what it started."""
        dispatcher, runner = self.dispatcher()
        for _ in range(turns):
            dispatcher.turn()
        return dispatcher, runner

    def close(self) -> None:
        """End the processes; asked again, they begin anew."""
        for served, _ in self._served.values():
            served.program.end(signal.SIGKILL)
        self.sentinel.end(signal.SIGKILL)
        self.host.deployment.close()

    def ledger(self, host: str = "host") -> Ledger:
        """As it stands on the forge now; up to the first thing on it that may not be there, for who reads it since that
        host does."""
        reader = self._readers.get(host) or self._readers.setdefault(host, self.chain(fresh("reader")))
        name = "refs/heads/ledger"
        try:
            same = self.site.client(FOUNDER).ls_refs(self.ops, [name]).get(name) == reader.ledger.tip
            return reader.ledger if same else reader.sync()
        except Refused:
            return reader.ledger

    def told(self) -> dict[str, Any]:
        """What ``factory vault list`` says on the dispatcher's host."""
        return listed(self.host.deployment)

    def state(self, id: str) -> State:
        """What the ledger says of an action now, read by somebody new."""
        return self.chain(fresh("reader")).sync().state(id)

    def entries(self, id: str) -> list[Entry]:
        """All of an action, in order."""
        tip = self.ledger().tip
        read = self._readers["host"].git
        names = read.run("ls-tree", "-r", "--name-only", tip, f"e/{id}/").decode("ascii").split()
        blobs = read.read([f"{tip}:{name}" for name in names], 65536)
        found = [read_entry(name, data or b"") for name, data in zip(names, blobs, strict=True)]
        return sorted(found, key=lambda entry: entry.seq)
