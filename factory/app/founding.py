"""The vault's beginning: this host's keys, the first policy, the first entry of the ledger.

The first entry (GENESIS) pins what everything later is judged by: the forge and the repo, whose accounts are ours, and
the version of the controlled set that is in force until a TRUST follows. Its commit is the ledger's root, the one
number that a person should keep elsewhere.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from factory.app.deployment import Deployment
from factory.app.places import vault_folder
from factory.app.prepared import AdminNeeded
from factory.config.home import packaged
from factory.daemon.rules import Rules
from factory.errors import ConfigInvalid, Conflict, FactoryError, ForgeUnavailable
from factory.forge.client import ForgejoClient
from factory.forge.globs import glob_rule
from factory.forge.values import RepoName
from factory.git.hardened import Git, GitTrouble
from factory.git.transport import Remote, ls_remote
from factory.ops.seed import VaultLine
from factory.vault.action import Tier
from factory.vault.authority import controlled
from factory.vault.canonical import Refused, sha256
from factory.vault.chain import BRANCH, Chain
from factory.vault.formulas import read as read_formula
from factory.vault.keys.hostkeys import HostKeys, make_keys
from factory.vault.ledger import ALL, Entry
from factory.vault.policy import MAX_POLICY, PATH
from factory.vault.policy import read as read_policy
from factory.vault.ports import Unclear
from factory.vault.watch import marks

TIERS: Mapping[str, str] = {
    "release": "high", "run-command": "high", "publish-site": "medium", "promote": "medium", "webhook-call": "medium",
    "collect": "low", "rent-a-human": "low",
}  # fmt: skip
"""What the first policy says of each packaged formula; of one that is not named, its own floor."""
RULE = glob_rule(BRANCH)


def formula_lines() -> tuple[VaultLine, ...]:
    """Every packaged formula of the vault, pinned as it is now. Raises ConfigInvalid for one that cannot be read."""
    lines = []
    for name, data in packaged("formulas").items():
        if b"[vault" not in data:
            continue
        try:
            formula = read_formula(data)
        except Refused as refused:
            hint = "reinstall ops-factory; this installation is damaged"
            raise ConfigInvalid(f"reading the packaged formula {name}: {refused.words}", hint=hint) from None
        tier = max(Tier.of(TIERS.get(name, "")) or Tier.LOW, formula.floor)
        lines.append(VaultLine(formula.key, formula.digest, tier.word, formula.description))
    return tuple(lines)


@dataclass(frozen=True)
class Begun:
    """``root``: the ledger's first commit; empty: there is no policy yet that it could begin with."""

    root: str
    fresh: bool = False


def found(
    founding: Founding, seed: str, admin: ForgejoClient | None, now: datetime, said: Callable[[str], None]
) -> Begun:
    """Have a ledger. ``seed``: the ops repo's root of trust on this host; ``admin`` None: where we are no admin.

    Raises AdminNeeded, ConfigInvalid, Conflict, ForgeUnavailable; run again it goes on."""
    there = f"refs/heads/{BRANCH}" in ls_remote(founding.remote, (f"refs/heads/{BRANCH}",))
    if there and not founding.empty():
        return Begun(founding.root())
    commit = in_force(founding.deployment.state, founding.ops, seed)
    if founding.policy_at(commit) is None:
        return Begun("")
    if there:
        if admin is None:
            raise AdminNeeded(
                f"beginning the vault of {founding.ops}: its branch {BRANCH} is from before there was one",
                (f"remove the branch rule {RULE} of {founding.ops}, delete the branch {BRANCH}, and leave the rest",),
                hint="then the same again, which says how the rule must be",
            )
        admin.delete_protection(founding.ops, RULE)
        admin.delete_branch(founding.ops, BRANCH)
        said(f"remove the branch {BRANCH} of {founding.ops}, which held nothing")
    root = founding.begin(commit, now)
    said(f"begin the ledger of {founding.ops} ({root[:12]})")
    return Begun(root, fresh=True)


def in_force(state: Path, ops: RepoName, seed: str) -> str:
    """The commit of ``main`` whose controlled set this host goes by now."""
    kept = Rules(state / "authority" / f"{ops.owner}.{ops.name.removesuffix('-ops')}.json").kept()
    return kept.commit if kept is not None else seed


@dataclass(frozen=True)
class Founding:
    """What a ledger begins with. ``ids``: login -> account id of ours; ``commit``: where the first policy stands."""

    deployment: Deployment
    ops: RepoName
    ops_id: int
    accounts: Mapping[str, str]
    ids: Mapping[str, int]

    @property
    def folder(self) -> Path:
        return vault_folder(self.deployment.state, str(self.ops))

    @property
    def remote(self) -> Remote:
        return self.deployment.remote(self.accounts["dispatcher"], self.ops)

    def root(self) -> str:
        """The ledger's first commit. Raises Conflict for a ledger that is not the one this host knows."""
        with _git(self) as git, _said(f"reading the ledger of {self.ops}"):
            return self._chain(git).sync().root

    def empty(self) -> bool:
        """Whether the branch holds no entry: it was made before there was a vault."""
        with _git(self) as git, _said(f"reading the ledger of {self.ops}"):
            git.fetch(BRANCH)
            tip = git.text("rev-parse", f"refs/heads/{BRANCH}")
            return not git.run("ls-tree", "-r", tip).strip()

    def policy_at(self, commit: str) -> bytes | None:
        """The policy in a commit of main; None: there is none. Raises ConfigInvalid for one that is not valid."""
        with _git(self) as git, _said(f"reading {PATH} of {self.ops}"):
            git.fetch("main")
            data = git.read([f"{commit}:{PATH}"], MAX_POLICY)[0]
        if data is not None:
            try:
                read_policy(data, frozenset(self.ids.values()))
            except Refused as refused:
                raise ConfigInvalid(
                    f"beginning the vault of {self.ops}: {PATH} is not valid: {refused.words}",
                    hint=f"factory edit {PATH}",
                ) from None
        return data

    def begin(
        self, commit: str, now: datetime, more: Mapping[str, Any] | None = None, after: Sequence[Entry] = ()
    ) -> str:
        """Write GENESIS where there is none; the ledger's root. Every account of ours must be known by its id. ``more``
        evidence stands in it; ``after`` are the entries that follow in the same push.

        Raises ConfigInvalid, Conflict (somebody else's ledger is there), ForgeUnavailable."""
        missing = sorted(set(self.accounts.values()) - set(self.ids))
        if missing:
            raise ConfigInvalid(f"beginning the vault of {self.ops}: the forge tells no account {', '.join(missing)}")
        data = self.policy_at(commit)
        if data is None:
            raise ConfigInvalid(f"beginning the vault of {self.ops}: there is no {PATH} in {commit[:12]}")
        state = self.deployment.state
        keys = make_keys(state, self.deployment.host.host)
        policy = read_policy(data, frozenset(self.ids.values()))
        with _git(self) as git, _said(f"beginning the ledger of {self.ops}"):
            git.fetch("main")
            evidence = {
                "forge": self.deployment.host.forge_url.rstrip("/"), "repo": self.ops_id, "owner": self.ops.owner,
                "name": self.ops.name, "bots": tuple(sorted(set(self.ids.values()))),
                "vault_bot": self.ids[self.accounts["vault"]],
                "dispatcher_bot": self.ids[self.accounts["dispatcher"]], "admins": tuple(sorted(policy.admins)),
                "approvers": tuple(sorted(policy.approvers)), "commit": commit, "policy_digest": sha256(data),
                "policy_version": policy.version, "controlled": controlled(git, commit),
                "formulas": tuple(f"{key} {rule.digest}" for key, rule in sorted(policy.formulas.items())),
                "dispatcher_age": keys.age, "dispatcher_ssh": keys.ssh, **(more or {}),
            }  # fmt: skip
            by = f"{self.deployment.host.host}/init"
            chain, nonce = self._chain(git), secrets.token_hex(16)
            first = Entry("GENESIS", ALL, nonce, by, now.replace(microsecond=0), evidence=evidence)
            chain.append([first, *after])
            return chain.ledger.root

    @contextmanager
    def chain(self) -> Iterator[Chain]:
        """The ledger as it stands, to be read and written for the moment. What goes wrong in the body is said as
        Conflict or ForgeUnavailable."""
        with _git(self) as git, _said(f"reading the ledger of {self.ops}"):
            yield self._chain(git)

    def _chain(self, git: Git) -> Chain:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = HostKeys(self.deployment.state, lambda pulls: (), lambda: chain.ledger.keys)
        chain = Chain(git, self.folder / marks.MARK, keys.sign)
        return chain


@contextmanager
def _git(founding: Founding) -> Iterator[Git]:
    """A copy of the ops repo for the moment, read and written as the vault's trusted part does it."""
    remote = founding.remote
    with tempfile.TemporaryDirectory(prefix="factory-founding-", dir=_scratch(founding.deployment)) as place:
        yield Git(Path(place) / "repo.git", remote.url, remote.token)


def _scratch(deployment: Deployment) -> Path:
    folder = deployment.host.cache / "scratch"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


@contextmanager
def _said(doing: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise Conflict(
            f"{doing}: {refused.words}",
            hint="restored from a backup, or somebody rewrote it: `factory vault audit` shows which",
        ) from None
    except (Unclear, GitTrouble) as error:
        raise ForgeUnavailable(f"{doing}: {error}") from None
    except OSError as error:
        raise FactoryError(f"{doing}: {error}") from error
