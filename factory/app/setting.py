"""One set-up on a forge that answers: what is there, what is missing, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from factory.app import webhooks
from factory.app.asked import Done, Request
from factory.app.deployment import Deployment
from factory.app.fitness import has_commit, ops_config, refuse_unfit
from factory.app.founding import Begun
from factory.app.prepared import AdminNeeded, by_ourselves, instructions, things
from factory.app.services import running
from factory.app.site import Site
from factory.app.sources import Source, looked_at
from factory.app.wishes import guessed, push_lines, source_notes, wanted_of
from factory.config.factory import load_factory
from factory.config.host import host_path
from factory.config.model import DEFAULT_ACCOUNTS, Ci, FactoryConfig, HostConfig, Mode
from factory.errors import ConfigInvalid, UsageError
from factory.forge.client import ForgejoClient
from factory.forge.setup.observed import working_tokens
from factory.forge.setup.plan import plan_setup
from factory.forge.setup.steps import CreateRepo, Propose, SetupStep
from factory.forge.values import Repo, RepoName
from factory.forge.versions import TOKENS_LIMITED_TO_REPOS
from factory.forge.wanted import Wanted
from factory.git.transport import Remote
from factory.git.values import Signature
from factory.ops.detect import Guess

_AS_IT_SAYS = "as factory.toml says"


class Setting:
    """One set-up on a forge that answers, and what was found on looking."""

    source: Source
    vault = Begun("")
    tell: Callable[[str], None]
    """Says a line to the person; ``said`` notes it as a step as well."""

    def __init__(
        self, request: Request, host: HostConfig, site: Site, project: RepoName, login: str,
        accounts: Mapping[str, str], now: datetime, said: Callable[[str], None], stack: ExitStack,
    ) -> None:  # fmt: skip
        self.request, self.host, self.site = request, host, site
        self.project, self.ops = project, RepoName(project.owner, f"{project.name}-ops")
        self.login, self.accounts, self.now, self.tell, self.stack = login, accounts, now, said, stack
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
        kept = {login: self.deployment.token(login) for login in logins if self.has_token(login)}
        if not kept:
            return frozenset()
        # Every account but one works on the ops repo; where tokens are limited to repos, an older one may not see it.
        limited = self.site.looker.version().major >= TOKENS_LIMITED_TO_REPOS
        there = self.site.looker.find_repo(self.ops) is not None
        elsewhere = {self.accounts["release"]: self.project}
        return working_tokens(self.host.forge_url, kept, self.ops, elsewhere=elsewhere, seeing=there or limited)

    def has_token(self, login: str) -> bool:
        """Whether this host keeps a token of the account, good or not."""
        return (self.deployment.state / "tokens" / login).exists()

    def own_accounts(self) -> dict[str, str]:
        """The accounts that are not called as they are by default."""
        return {duty: login for duty, login in self.accounts.items() if DEFAULT_ACCOUNTS.get(duty) != login}

    def signature(self) -> Signature:
        """Who makes the first commits, and when."""
        return Signature(self.factory, f"{self.factory}@factory.invalid", int(self.now.timestamp()), 0)

    def said(self, line: str) -> None:
        """Note a step that is done, and tell the person."""
        self.steps.append(line)
        self.tell(line)

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
                f"setting up {self.project} without an admin's token: {things(len(left))} must be done first by an "
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
        mode = default_mode(self.site.looker, self.project) if self.existing is not None else Mode.SUGGEST
        return self.told(shown, self.request.mode or mode, "", proposals)

    def told(self, steps: tuple[str, ...], mode: Mode, root: str, proposals: tuple[str, ...] = ()) -> Done:
        """What the person is told at the end. ``root``: the ops repo's root of trust; empty where there is none."""
        return Done(
            self.project, self.ops, self.host.forge_url, mode, steps, self.login,
            _password(self.host.state, self.login), self.guess.ci, self.guess.environment, self.guess.reasons,
            proposals, root, tuple(self.notes), self.guess.ci_reasons, self.guess.environment_reasons,
            any(s.name == "daemon" and s.pid is not None for s in running(self.deployment)), bool(self.host.backends),
            self.vault.root,
        )  # fmt: skip


def _password(state: Path, login: str) -> str | None:
    file = state / "people" / login
    return file.read_text(encoding="ascii") if file.exists() else None


def default_mode(forge: ForgejoClient, project: RepoName) -> Mode:
    """``observe`` where people already work with issues or pull requests, ``suggest`` for a new project."""
    # Asked for the pull requests of a repo without a commit, a forge answers 404.
    empty = forge.repo(project).empty
    busy = forge.issues(project, state="all") or (not empty and forge.pulls(project, state="all"))
    return Mode.OBSERVE if busy else Mode.SUGGEST
