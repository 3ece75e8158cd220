"""One set-up on a forge that answers: look at everything, then do what is missing."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from factory.app import offering, projects, webhooks
from factory.app.asked import Done, Request
from factory.app.deployment import Deployment
from factory.app.editing import share
from factory.app.fitness import has_commit, ops_config, refuse_unfit
from factory.app.founding import Begun, Founding, formula_lines, found
from factory.app.places import mirror_path
from factory.app.prepared import AdminNeeded, Prepared, by_ourselves, instructions, observe_as_bots
from factory.app.services import running
from factory.app.sources import Source, looked_at
from factory.app.wishes import guessed, push_lines, source_notes, wanted_of
from factory.config.factory import PATH as FACTORY
from factory.config.factory import edit_factory, load_factory
from factory.config.home import write_private
from factory.config.host import host_path, load_host, write_host
from factory.config.model import DEFAULT_ACCOUNTS, Ci, FactoryConfig, HostConfig, Mode
from factory.errors import ConfigInvalid, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.setup.apply import apply
from factory.forge.setup.observed import Observed, observe, working_tokens
from factory.forge.setup.plan import plan_setup
from factory.forge.setup.steps import CreateRepo, Propose, SetupStep
from factory.forge.values import Repo, RepoName
from factory.forge.versions import TOKENS_LIMITED_TO_REPOS
from factory.forge.wanted import Wanted
from factory.git import objects
from factory.git.objects import init_bare
from factory.git.transport import RefUpdate, Remote, fetch, ls_remote, push
from factory.git.values import Signature
from factory.ops.detect import Guess
from factory.ops.edit import whole
from factory.ops.seed import POLICY, Seed, seed

if TYPE_CHECKING:
    import tomlkit

_AS_IT_SAYS = "as factory.toml says"
OPS_BRANCHES = {"auto": {"vault/actions/.gitkeep": b""}, "journal": dict[str, bytes]()}
"""Orphans, and what they begin with. The ledger begins with its first entry."""


@dataclass
class Site:
    """The forge as this set-up may act on it: as its admin, or with what an admin prepared."""

    host: HostConfig
    admin: ForgejoClient | None
    prepared: Prepared | None
    looker: ForgejoClient
    """Asks about repos."""
    accounts: Mapping[str, str]

    def look(self, wanted: Wanted, good: frozenset[str]) -> Observed:
        if self.admin is not None:
            return observe(self.admin, wanted, tokens=good)
        assert self.prepared is not None
        return observe_as_bots(self.prepared, wanted, self.accounts)

    def reader(
        self, stack: ExitStack, kept: frozenset[str], deployment: Deployment, request: Request
    ) -> tuple[str, str]:
        """Login and token to read a repo that is on the forge already."""
        ours = self.accounts["factory"]
        if self.prepared is not None:
            return ours, self.prepared.tokens.get(ours, "")
        if ours in kept:
            return ours, deployment.token(ours)
        if request.admin_token:
            return "admin", request.admin_token
        assert self.admin is not None
        # The embedded forge's own admin, for the moment: before the first set-up nobody else has a token.
        login, name = self.admin.me().login, f"moment-{secrets.token_hex(6)}"
        lent = self.admin.create_token(login, name=name, scopes=("read:repository",))
        stack.callback(self.admin.ask, "DELETE", f"/users/{login}/tokens/{name}", doing=f"taking back {login}'s token")
        return login, lent


class Setting:
    """One set-up on a forge that answers: look, then do."""

    source: Source
    vault = Begun("")

    def __init__(
        self, request: Request, host: HostConfig, site: Site, project: RepoName, login: str,
        accounts: Mapping[str, str], now: datetime, said: Callable[[str], None], stack: ExitStack,
    ) -> None:  # fmt: skip
        self.request, self.host, self.site = request, host, site
        self.project, self.ops = project, RepoName(project.owner, f"{project.name}-ops")
        self.login, self.accounts, self.now, self._said, self.stack = login, accounts, now, said, stack
        self.deployment = Deployment(host)
        stack.callback(self.deployment.close)
        self.steps: list[str] = []
        self.notes: list[str] = []
        self.config = self._config()
        if self.config is not None and not request.accounts:
            self.accounts = site.accounts = {**DEFAULT_ACCOUNTS, **self.config.accounts}
        self.factory = self.accounts["factory"]
        self.good = self._good_tokens()
        self.existing: Repo | None = site.looker.find_repo(project)
        self.unfinished = host.state / "unfinished" / f"{project.owner}.{project.name}"
        self.ours = self.existing is None or self.existing.empty or self.unfinished.exists()
        """We make the project's repo, or began to: there is nothing of others to respect in it."""
        self.at_home = False
        """Its code is on the forge already."""

    def _config(self) -> FactoryConfig | None:
        """What factory.toml says already: set up a second time, it holds. None where there is none, or no valid one."""
        text = ops_config(self.site.looker, self.project, self.ops)
        try:
            return load_factory(text) if text is not None else None
        except ConfigInvalid:
            return None

    def _good_tokens(self) -> frozenset[str]:
        logins = set(self.accounts.values())
        kept = {login: self.deployment.token(login) for login in logins if _has(self.deployment, login)}
        if not kept:
            return frozenset()
        # Every account but one works on the ops repo; where tokens are limited to repos, an older one may not see it.
        limited = self.site.looker.version().major >= TOKENS_LIMITED_TO_REPOS
        there = self.site.looker.find_repo(self.ops) is not None
        elsewhere = {self.accounts["release"]: self.project}
        return working_tokens(self.host.forge_url, kept, self.ops, elsewhere=elsewhere, seeing=there or limited)

    def said(self, line: str) -> None:
        self.steps.append(line)
        self._said(line)

    # ---- looking ---------------------------------------------------------------------------------------------------

    def read_source(self) -> None:
        """The project's own tip, where it is on the forge already."""
        self.at_home = True
        if self.existing is None and self.site.prepared is None:
            raise UsageError(
                f"setting up {self.request.source}: there is no such repo", hint=f"look at {self.host.forge_url}"
            )
        if self.existing is None:
            self._refuse_unseen()
        self._refuse_unfit()
        who = self.site.reader(self.stack, self.good, self.deployment, self.request)
        remote = Remote(f"{self.host.forge_url.rstrip('/')}/{self.project}.git", *who)
        cache = self.host.cache if host_path(self.host.home).exists() else None
        self.source = self.stack.enter_context(looked_at(remote, cache))

    def _refuse_unfit(self) -> None:
        source = None if self.at_home else self.source
        refuse_unfit(
            self.site.looker, self.host.forge_url, self.project, self.existing, source, self.request.source
        )  # fmt: skip

    def _refuse_unseen(self) -> None:
        """Where no prepared token sees the project, all that is to be prepared is said at once."""
        wanted = self._wanted_with("main", Ci()).without_protections()
        steps = plan_setup(self.site.look(wanted, self.good), wanted)
        self.first = tuple(s for s in steps if not (isinstance(s, CreateRepo) and s.repo == self.project))
        self.refuse_without_admin()

    def _wanted_with(self, branch: str, ci: Ci) -> Wanted:
        return wanted_of(
            self.request, self.host, self.project, self.login, self.accounts, branch, ci, ours=self.ours,
            approvers=sorted(self.config.approvers | self.config.admins) if self.config is not None else (),
        )  # fmt: skip

    def look(self) -> None:
        """Refuse what cannot be set up, and plan the rest."""
        source, existing = self.source, self.existing
        self._refuse_unfit()
        self.branch = source.branch if existing is None or existing.empty else existing.default_branch
        self.guess = guessed(self.request, source.files)
        if self.config is not None:
            self.guess = Guess(self.config.environment, self.config.ci, (_AS_IT_SAYS,), (_AS_IT_SAYS,))
        self.wanted = self._wanted_with(self.branch, self.guess.ci)
        unprotected = self.wanted.without_protections()
        self.first = plan_setup(self.site.look(unprotected, self.good), unprotected)
        self.notes += source_notes(source)
        behind = existing is not None and not existing.empty and not self.at_home
        if behind and not has_commit(self.site.looker, self.project, source.tip):
            self.notes.append(f"{self.project} has not got the newest commits of {source.url}: push them there")

    def refuse_without_admin(self) -> None:
        """Raise AdminNeeded for what must be there before the first push. Does nothing for an admin."""
        prepared = self.site.prepared
        if prepared is None:
            return
        left = instructions(self.first, prepared)
        if left:
            raise AdminNeeded(
                f"setting up {self.project} without an admin's token: {_things(len(left))} must be done first by an "
                f"admin of {self.host.forge_url}",
                left,
                hint="then the same again",
            )

    def would_do(self) -> Done:
        """The difference, as lines."""
        prepared = self.site.prepared
        steps: list[SetupStep | str] = list(self.first if prepared is None else by_ourselves(self.first))
        rules = [s for s in plan_setup(self.site.look(self.wanted, self.good), self.wanted) if s not in self.first]
        if self.existing is None or self.existing.empty:
            steps += push_lines(self.project, self.source)
        ops = self.site.looker.find_repo(self.ops)
        if ops is None or ops.empty:
            steps += [f"seed {self.ops}", f"begin the ledger of {self.ops}"]
        if prepared is None:
            steps += rules
        if self.site.admin is not None:
            url = webhooks.wanted_url(self.deployment, self.request.hook_url)
            repos = ((self.project, self.existing), (self.ops, ops))
            steps += [
                f"add the webhook of {name} to {url}, and try it"
                for name, repo in repos
                if url is not None and (repo is None or webhooks.missing(self.site.admin, name, url))
            ]
        shown = tuple(str(step) for step in steps if not isinstance(step, Propose))
        proposals = tuple(str(step) for step in steps if isinstance(step, Propose))
        if prepared is not None:
            self.notes += [f"an admin must: {line}" for line in instructions((*self.first, *rules), prepared)]
        mode = _default_mode(self.site.looker, self.project) if self.existing is not None else Mode.SUGGEST
        return self._told(shown, self.request.mode or mode, "", proposals)

    # ---- doing -----------------------------------------------------------------------------------------------------

    def do(self) -> Done:
        """All of it; whatever is there already is passed over."""
        if self.ours and not self.unfinished.exists():
            write_private(self.unfinished, b"")
        self._apply(self.first)
        self._take_tokens()
        forge = self.site.admin or self.deployment.forge(self.factory)
        mode = self.request.mode or _default_mode(forge, self.project)
        self._push_code()
        root = self._push_seed(mode)
        self._begin_vault(forge, root)
        mode = self.config.mode if self.config is not None else mode
        good = frozenset(self.accounts.values())
        second = plan_setup(self.site.look(self.wanted, good), self.wanted)
        self._apply(second)
        self._hooks()
        proposals = [str(step) for step in second if isinstance(step, Propose)]
        proposals += self._offer_forms(mode)
        self._register(forge, root)
        self._propose_policy(mode)
        if self.request.mode not in (None, mode):
            self._said(
                f"the mode stays {mode.value}, as factory.toml says; change it with: factory mode {self.request.mode}"
            )
        return self._told(tuple(self.steps), mode, root, tuple(proposals))

    def _keep(self, kind: str, login: str, secret: str) -> None:
        if kind == "token":
            self.deployment.keep_token(login, secret)
        else:
            write_private(self.host.state / "people" / login, secret.encode())

    def _apply(self, steps: tuple[SetupStep, ...]) -> None:
        prepared = self.site.prepared
        doer = self.site.admin or self.site.looker
        for step in by_ourselves(steps) if prepared is not None else steps:
            apply(doer, (step,), keep=self._keep)
            if not isinstance(step, Propose):
                self.said(str(step))
        left = instructions(steps, prepared) if prepared is not None else ()
        if left:
            raise AdminNeeded(
                f"setting up {self.project}: the repos are filled, but not protected yet: {_things(len(left))} must be "
                f"done by an admin of {self.host.forge_url}",
                left,
                hint="then the same again; nothing is served before",
            )

    def _take_tokens(self) -> None:
        prepared = self.site.prepared
        for login, token in sorted(prepared.tokens.items()) if prepared is not None else ():
            if not _has(self.deployment, login) or self.deployment.token(login) != token:
                self.deployment.keep_token(login, token)
                self.said(f"keep the token of {login}")
        for login in prepared.loose if prepared is not None else ():
            assert prepared is not None
            self.notes.append(f"other users of this machine can read {prepared.folder / login}: delete it, it is kept")

    def _signature(self) -> Signature:
        return Signature(self.factory, f"{self.factory}@factory.invalid", int(self.now.timestamp()), 0)

    def _push_code(self) -> None:
        if self.existing is not None and not self.existing.empty:
            return
        target = self.deployment.remote(self.factory, self.project)
        ref = f"refs/heads/{self.branch}"
        if ref in ls_remote(target, (ref,)):
            return
        tip = offering.with_forms(self.source, self._signature())
        push(self.source.scratch, target, [RefUpdate(ref, tip, None)])
        for line in push_lines(self.project, self.source):
            self.said(line)
        if tip != self.source.tip and self.source.folder:
            self.notes.append(f"the forge's {self.branch} is one commit ahead of your folder: the issue forms")

    def _push_seed(self, mode: Mode) -> str:
        """The ops repo's first commit, and the branches that only ever grow. Returns the root of trust."""
        remote = self.deployment.remote(self.factory, self.ops)
        mirror = mirror_path(self.deployment.home, str(self.ops))
        if not mirror.exists():
            mirror.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            init_bare(mirror)
        there = ls_remote(remote, ("refs/heads/",))
        who = self._signature()
        known = projects.load(self.deployment.state, self.project)
        updates = []
        root = known.seed if known is not None else ""
        if "refs/heads/main" not in there:
            root = objects.build_commit(
                mirror,
                parent=None,
                changes=self._seed_files(mode),
                message=f"Begin the ops repo of {self.project}\n",
                author=who,
                committer=who,
            )
            updates.append(RefUpdate("refs/heads/main", root, None))
        elif not root:
            fetch(mirror, remote, ["+refs/heads/main:refs/heads/main"])
            root = objects.log(mirror, "refs/heads/main", first_parent=True)[-1].oid
        for branch, files in OPS_BRANCHES.items():
            if f"refs/heads/{branch}" not in there:
                first = objects.build_commit(
                    mirror, parent=None, changes=files, message=f"Begin {branch}\n", author=who, committer=who
                )
                updates.append(RefUpdate(f"refs/heads/{branch}", first, None))
        if updates:
            push(mirror, remote, updates)
            self.said(f"seed {self.ops} ({root[:12]})")
        return root

    def _begin_vault(self, forge: ForgejoClient, root: str) -> None:
        vault = Founding(self.deployment, self.ops, forge.repo(self.ops).id, self.accounts, self._ids())
        self.vault = found(vault, root, self.site.admin, self.now, self.said)

    def _propose_policy(self, mode: Mode) -> None:
        """For an ops repo that was made before there was a vault: its policy comes as any change of it does."""
        if self.vault.root:
            return
        text = self._seed_files(mode)[POLICY]
        url = share(self.deployment, self.ops, [whole(POLICY, text)], "Begin the vault", self.login)["url"]
        self.notes.append(f"approve {url}; once it is merged, the same init again begins the vault's ledger")

    def _people_ids(self) -> Mapping[str, int]:
        """Of those who may write: the approvers among them. A narrow token may ask for no account by name."""
        client = self.site.admin or self.deployment.forge(self.factory)
        return {user.login: user.id for user in client.writers(self.ops)}

    def _seed_files(self, mode: Mode) -> Mapping[str, bytes]:
        told = Seed(
            project=str(self.project),
            mode=mode,
            founder=self.login,
            forge_url=self.host.forge_url,
            now=self.now,
            environment=self.guess.environment,
            ci=self.guess.ci,
            environment_reasons=self.guess.environment_reasons,
            ci_reasons=self.guess.ci_reasons,
            accounts=self._own_accounts(),
            poll_seconds=self.request.poll_seconds,
            ids=self._people_ids(),
            vault=formula_lines(),
        )
        files = dict(seed(told))

        def slots(document: tomlkit.TOMLDocument) -> None:
            document["dev_slots"] = self.request.dev_slots

        files[FACTORY] = edit_factory(files[FACTORY].decode(), slots).encode()
        return files

    def _own_accounts(self) -> dict[str, str]:
        return {duty: login for duty, login in self.accounts.items() if DEFAULT_ACCOUNTS.get(duty) != login}

    def _hooks(self) -> None:
        if self.site.admin is None:
            self.notes.append("no webhooks: adding one takes an admin; polling does without")
            return
        self.notes += webhooks.ensure(
            self.site.admin, self.deployment, (self.project, self.ops), self.request.hook_url, self.said
        )

    def _offer_forms(self, mode: Mode) -> list[str]:
        # A folder's tip says nothing about what the forge's has.
        if self.ours or not self.at_home or not offering.missing(self.source.files):
            return []
        if mode is Mode.OBSERVE:
            return [f"not proposed in mode observe: issue forms for {self.project}"]
        url = offering.propose_forms(self.deployment, self.factory, self.project, self.source, self.now)
        if url is not None:
            self.said(f"propose issue forms for {self.project}: {url}")
        return []

    def _register(self, forge: ForgejoClient, root: str) -> None:
        ids = self._ids()
        repos = (forge.repo(self.project), forge.repo(self.ops))
        state = projects.ProjectState(
            str(self.project), str(self.ops), root, repos[0].id, repos[1].id, self.branch, dict(sorted(ids.items())),
            self.login, self._own_accounts(),
        )  # fmt: skip
        if projects.load(self.host.state, self.project) != state:
            projects.save(self.host.state, state)
        served = load_host(self.host.home)
        if str(self.ops) not in served.ops_repos:
            write_host(replace(served, ops_repos=(*served.ops_repos, str(self.ops))))
            self.said(f"serve {self.project} from this host")
        self.unfinished.unlink(missing_ok=True)

    def _ids(self) -> dict[str, int]:
        logins = set(self.accounts.values())
        if self.site.admin is not None:
            return {login: user.id for login in logins if (user := self.site.admin.user(login)) is not None}
        # A token limited to repos may not read accounts. All of ours work on the ops repo, and the sentinel sees whom;
        # but for the one that makes releases, which writes to the project alone.
        seen = self.deployment.forge(self.accounts["sentinel"]).collaborators(self.ops)
        seen += self.deployment.forge(self.factory).writers(self.project)
        return {user.login: user.id for user in seen if user.login in logins}

    def _told(self, steps: tuple[str, ...], mode: Mode, root: str, proposals: tuple[str, ...] = ()) -> Done:
        return Done(
            self.project, self.ops, self.host.forge_url, mode, steps, self.login,
            _password(self.host.state, self.login), self.guess.ci, self.guess.environment, self.guess.reasons,
            proposals, root, tuple(self.notes), self.guess.ci_reasons, self.guess.environment_reasons,
            any(s.name == "daemon" and s.pid is not None for s in running(self.deployment)), bool(self.host.backends),
            self.vault.root,
        )  # fmt: skip


def _things(count: int) -> str:
    return "one thing" if count == 1 else f"{count} things"


def _has(deployment: Deployment, login: str) -> bool:
    return (deployment.state / "tokens" / login).exists()


def _password(state: Path, login: str) -> str | None:
    file = state / "people" / login
    return file.read_text(encoding="ascii") if file.exists() else None


def _default_mode(forge: ForgejoClient, project: RepoName) -> Mode:
    """``observe`` where people already work with issues or pull requests, ``suggest`` for a new project."""
    # Asked for the pull requests of a repo without a commit, a forge answers 404.
    empty = forge.repo(project).empty
    busy = forge.issues(project, state="all") or (not empty and forge.pulls(project, state="all"))
    return Mode.OBSERVE if busy else Mode.SUGGEST
