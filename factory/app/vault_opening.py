"""The vault of one project as this host can see it now: ledger, rules in force, requests. All its commands open it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from factory.app.choosing import founder_of, project_of, state_of
from factory.app.deployment import Deployment
from factory.app.opsrepo import mirror, reader
from factory.app.places import vault_folder
from factory.app.projects import account
from factory.daemon.rules import Rules as DaemonRules
from factory.daemon.vault_view import base_policy
from factory.errors import UsageError
from factory.forge.client import ForgejoClient
from factory.forge.values import ItemState, Pull, RepoName
from factory.git import objects
from factory.ops.vault_result import REJECTED, pull_in
from factory.vault.action import FOLDER, Action
from factory.vault.action import check as check_bytes
from factory.vault.canonical import Refused
from factory.vault.ledger import Ledger, State
from factory.vault.people.facts import Facts, facts_of
from factory.vault.people.reading import BRANCH as LEDGER
from factory.vault.people.reading import LedgerReader, in_force, known, last_on, merged_action
from factory.vault.people.request import BRANCH, Known, path_of
from factory.vault.people.rules import Rules, rules_at
from factory.vault.policy import Policy, Ruling, ruling
from factory.vault.watch import frozen


@dataclass
class Vault:
    """``trouble``: why the ledger cannot be read; what was read up to there counts."""

    deployment: Deployment
    project: RepoName
    ops: RepoName
    copy: Path
    now: datetime
    rules: Rules
    reader: LedgerReader = field(default_factory=LedgerReader)
    trouble: str = ""

    @property
    def ledger(self) -> Ledger:
        return self.reader.ledger

    @property
    def frozen(self) -> str:
        """Why nothing of it starts: by the ledger, because that cannot be read, or on this host alone; empty: it is
        not."""
        return self.ledger.frozen or self.trouble or frozen.words(vault_folder(self.deployment.state, str(self.ops)))

    @cached_property
    def forge(self) -> ForgejoClient:
        """It only reads."""
        return self.deployment.forge(reader(self.deployment, self.ops))

    @cached_property
    def pulls(self) -> tuple[tuple[str, Pull], ...]:
        """The vault's pull requests, oldest first, each with the id it asks for. One whose branch and file are gone is
        left out."""
        ours = account(self.deployment.state, self.ops, "vault").lower()
        found = []
        for pull in self.forge.pulls(self.ops, state="all"):
            id = self._asks(pull) if pull.author.login.lower() == ours else None
            if id is not None:
                found.append((id, pull))
        return tuple(found)

    def _asks(self, pull: Pull) -> str | None:
        """By its branch; where that was deleted, by the file that its head adds, or by what tells how it ended."""
        if pull.head_ref.startswith(BRANCH) and pull.head_repo == self.ops:
            return pull.head_ref.removeprefix(BRANCH)
        if objects.exists(self.copy, pull.head_sha):
            parent = next(iter(objects.commit_info(self.copy, pull.head_sha).parents), objects.EMPTY_TREE)
            (path, *more) = (change.path for change in objects.diff_paths(self.copy, parent, pull.head_sha))
            if not more and path.startswith(FOLDER) and path.endswith(".toml"):
                return path.removeprefix(FOLDER).removesuffix(".toml")
        return self._rejected.get(pull.number)

    @cached_property
    def _rejected(self) -> dict[int, str]:
        """Pull request -> the action it asked for, as ``vault/rejected`` says."""
        main, folder = objects.read_ref(self.copy, "refs/heads/main"), REJECTED.rstrip("/")
        if main is None or objects.find_entry(self.copy, main, folder) is None:
            return {}
        found = {}
        for entry in objects.list_tree(self.copy, main, folder):
            number = pull_in(objects.read_file(self.copy, main, entry.path) or b"")
            if number is not None:
                found[number] = entry.path.rpartition("/")[2].removesuffix(".toml")
        return found

    @property
    def waiting(self) -> tuple[tuple[str, Pull], ...]:
        return tuple((id, pull) for id, pull in self.pulls if pull.state is ItemState.OPEN)

    def pull(self, id: str) -> Pull | None:
        """The newest pull request of an action."""
        mine = [pull for name, pull in self.pulls if name == id]
        return mine[-1] if mine else None

    def known(self) -> Known:
        """What a new request depends on."""
        policy = self.rules.policy
        waiting: dict[str, int] = {}
        for id, pull in self.waiting:
            action, _ = self.asked(id, pull)
            if action is not None:
                waiting[action.requester] = waiting.get(action.requester, 0) + 1
        return known(self.ledger, self.copy, policy.remember_days if policy else 0, self.now, waiting)

    def asked(self, id: str, pull: Pull) -> tuple[Action | None, tuple[str, ...]]:
        """The action a pull request asks for, as its head says it, and what is wrong with that file."""
        name = f"{id}.toml"
        if not objects.exists(self.copy, pull.head_sha):
            return None, ("its head is not in this host's copy of the ops repo",)
        path = path_of(id)
        data = objects.read_file(self.copy, pull.head_sha, path)
        if data is None:
            return None, (f"its head has no {path}",)
        action, found = check_bytes(data, name)
        return action, tuple(f"{f.key}: {f.message}" if f.key else f.message for f in found)

    def merged(self, state: State) -> Action | None:
        """The file of an action that was merged."""
        return merged_action(self.copy, state)

    def facts(self, action: Action, pull: Pull | None = None) -> Facts | None:
        """The screen of facts under the rules in force; None where they do not know the formula, or there are none."""
        formula = self.rules.formula(action.formula)
        decided = self.ruling(action, pull)
        if formula is None or decided is None:
            return None
        return facts_of(action, formula, self.rules, decided, last_on(self.ledger, self.copy, action.target, action.id))

    def ruling(self, action: Action, pull: Pull | None = None) -> Ruling | None:
        """Its tier now; a request's also under the policy where it branched off."""
        formula, policy = self.rules.formula(action.formula), self.rules.policy
        if formula is None or policy is None:
            return None
        base: Policy | None = policy
        if pull is not None:
            base = base_policy(self.ledger, self.copy, pull, self.rules, bots(self.deployment, self.project))
        there = known(self.ledger, self.copy, policy.remember_days, self.now, {})
        return ruling(action, formula, policy, base, repeated=action.content in there.repeated)

    def founder(self) -> str:
        return founder_of(self.deployment, self.project)

    def find(self, id: str) -> str:
        """The whole id of an action that is named by it or by a part that only it has. Raises UsageError."""
        ids = {name for name, _ in self.pulls}
        ids |= {state.partition("+")[0] for state in self.ledger.states}
        name = id.partition("+")[0]
        if name in ids:
            return name
        near = sorted(known for known in ids if name and name in known)
        if len(near) == 1:
            return near[0]
        said = f"{len(near)} actions have that in their name" if near else "there is no such action"
        hint = f"one of {', '.join(near[:5])}" if near else "factory vault list"
        raise UsageError(f"looking for the vault action {id[:80]!r} of {self.project}: {said}", hint=hint)


def open_vault(deployment: Deployment, *, project: str | None = None, now: datetime | None = None) -> Vault:
    """Bring this host's copy of the ops repo up to date and read the vault in it. Raises UsageError, ForgeError."""
    repo, ops = project_of(deployment, project)
    copy = mirror(deployment, ops, refresh=True)
    reader, trouble = LedgerReader(), ""
    try:
        reader.read(copy, objects.read_ref(copy, LEDGER))
    except Refused as refused:
        trouble = f"the ledger cannot be read: {refused.words}"
    commit = in_force(reader.ledger, copy) or _authority(deployment, repo)
    rules = rules_at(copy, commit, bots(deployment, repo))
    return Vault(deployment, repo, ops, copy, now or datetime.now(UTC), rules, reader, trouble)


def bots(deployment: Deployment, project: RepoName) -> frozenset[int]:
    """Account ids of our own accounts."""
    return frozenset(state_of(deployment, project).account_ids.values())


def _authority(deployment: Deployment, project: RepoName) -> str:
    """Commit whose controlled set the daemon goes by, where the ledger does not say."""
    file = deployment.state / "authority" / f"{project.owner}.{project.name}.json"
    kept = DaemonRules(file).kept()
    return kept.commit if kept is not None else state_of(deployment, project).seed
