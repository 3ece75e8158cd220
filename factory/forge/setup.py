"""Bring a forge to what a factory wants: look, compare, do the difference. Running it again does nothing.

``plan_setup`` is pure; ``apply`` needs a site admin (a token, or the embedded forge's socket). What the project has
already, its own branch rules above all, is respected and never changed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from factory.errors import ForgeRefused, NotFound
from factory.forge.client import ForgejoClient
from factory.forge.globs import first_match, is_glob
from factory.forge.releases import TagRule
from factory.forge.settings import ONLY_MERGE, differences
from factory.forge.values import BranchProtection, ForgeVersion, Label, Repo, RepoName
from factory.forge.versions import TOKENS_LIMITED_TO_REPOS
from factory.forge.wanted import RepoWanted, Wanted

ALL_TAGS = "*"


@dataclass(frozen=True)
class CreateAccount:
    """Step: make an account."""

    login: str
    human: bool = False
    bare: bool = False
    """Without a password, which a bot never uses: Forgejo demands one, the embedded forge does not."""

    def __str__(self) -> str:
        return f"create the account {self.login}" + (" (a person's, with a password)" if self.human else "")


@dataclass(frozen=True)
class CreateRepo:
    """Step: make a repository."""

    repo: RepoName
    private: bool
    default_branch: str

    def __str__(self) -> str:
        return f"create the {'private' if self.private else 'public'} repo {self.repo}"


@dataclass(frozen=True)
class ActionsOff:
    """Step: switch the forge's own CI off in a repository."""

    repo: RepoName

    def __str__(self) -> str:
        return f"switch actions off in {self.repo}"


@dataclass(frozen=True)
class OnlyMerge:
    """Step: leave ``merge`` as the one way of merging. Marking a pull request as merged by hand is switched off as
    well, which no forge ever shows."""

    repo: RepoName

    def __str__(self) -> str:
        return f"allow only merge commits in {self.repo}"


@dataclass(frozen=True)
class SetCollaborator:
    """Step: give an account its permission on a repository."""

    repo: RepoName
    login: str
    permission: str
    at_least: bool = False
    """For people: what they have beyond it stays."""

    def __str__(self) -> str:
        return f"give {self.login} {self.permission} on {self.repo}"


@dataclass(frozen=True)
class AddLabel:
    """Step: add a label."""

    repo: RepoName
    label: Label

    def __str__(self) -> str:
        return f"add the label {self.label.name} to {self.repo}"


@dataclass(frozen=True)
class MintToken:
    """Step: mint a token with the narrowest scopes."""

    login: str
    scopes: tuple[str, ...]
    repos: tuple[RepoName, ...] = ()

    def __str__(self) -> str:
        where = f" for {', '.join(map(str, self.repos))} only" if self.repos else ""
        return f"mint a token for {self.login} ({', '.join(self.scopes)}){where}"


@dataclass(frozen=True)
class Protect:
    """Step: create or change a branch rule."""

    repo: RepoName
    rule: BranchProtection
    changes: tuple[str, ...] = ()
    """What differs in the rule that is there; empty for a new rule."""

    def __str__(self) -> str:
        what = "; ".join(self.changes) or "new rule"
        return f"protect {self.rule.rule_name} of {self.repo} ({what})"


@dataclass(frozen=True)
class Unprotect:
    """Removes a rule from *our* repo that would win over ours."""

    repo: RepoName
    rule_name: str

    def __str__(self) -> str:
        return f"remove the rule {self.rule_name} of {self.repo}, which would win over ours"


@dataclass(frozen=True)
class Propose:
    """Shown, never applied: a rule of the project is the project's."""

    repo: RepoName
    rule: BranchProtection | TagRule
    because: str

    def __str__(self) -> str:
        if isinstance(self.rule, TagRule):
            return f"proposed only: keep the tags of {self.repo} for {', '.join(self.rule.users)} ({self.because})"
        return f"proposed only: protect {self.rule.rule_name} of {self.repo} ({self.because})"


@dataclass(frozen=True)
class ProtectTags:
    """Step: let nobody but these accounts make, move or delete tags."""

    repo: RepoName
    users: tuple[str, ...]

    def __str__(self) -> str:
        return f"keep the tags of {self.repo} for {', '.join(self.users)}"


SetupStep = (
    CreateAccount
    | CreateRepo
    | ActionsOff
    | OnlyMerge
    | SetCollaborator
    | AddLabel
    | MintToken
    | Protect
    | ProtectTags
    | Unprotect
    | Propose
)


@dataclass(frozen=True)
class RepoObserved:
    """``permissions`` holds only people with an explicit row (and the owner)."""

    repo: Repo
    permissions: Mapping[str, str]
    labels: frozenset[str]
    protections: tuple[BranchProtection, ...]
    tag_rules: tuple[TagRule, ...] = ()


@dataclass(frozen=True)
class Observed:
    """What is on the forge now, of what set-up wants."""

    version: ForgeVersion
    accounts: frozenset[str]
    repos: Mapping[RepoName, RepoObserved]
    tokens: frozenset[str] = frozenset()
    """Logins of which the host holds a token that works."""


@dataclass(frozen=True)
class Credentials:
    """What set-up minted. Shown and stored by the caller, once; never part of a message."""

    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of people's new accounts only."""


def observe(admin: ForgejoClient, wanted: Wanted, *, tokens: Iterable[str] = ()) -> Observed:
    """Read what there is. ``tokens``: the logins of which a working token is kept already."""
    accounts = frozenset(account.login for account in wanted.accounts if admin.user(account.login) is not None)
    repos = {}
    for want in wanted.repos:
        repo = admin.find_repo(want.name)
        if repo is None:
            continue
        rows = {user.login for user in admin.collaborators(want.name)} | {want.name.owner}
        asked = (set(want.collaborators) | want.people) & rows
        repos[want.name] = RepoObserved(
            repo,
            {login: admin.permission(want.name, login) for login in sorted(asked)},
            frozenset(label.name for label in admin.labels(want.name)),
            tuple(admin.protections(want.name)),
            admin.tag_rules(want.name) if want.taggers else (),
        )
    return Observed(admin.version(), accounts, repos, frozenset(tokens))


def plan_setup(observed: Observed, wanted: Wanted) -> tuple[SetupStep, ...]:
    """The difference, in the order in which it can be done. Empty when there is nothing to do."""
    steps: list[SetupStep] = [
        CreateAccount(account.login, account.human, not account.human and observed.version.product == "embedded")
        for account in wanted.accounts
        if account.login not in observed.accounts
    ]
    for want in wanted.repos:
        if want.name not in observed.repos:
            steps.append(CreateRepo(want.name, want.private, want.default_branch))
    for want in wanted.repos:
        steps += _repo_steps(want, observed.repos.get(want.name))
    for account in wanted.accounts:
        if not account.human and account.login not in observed.tokens:
            steps.append(_token(account.login, account.scopes, observed.version, wanted))
    for want in wanted.repos:
        steps += _rule_steps(want, observed.repos.get(want.name))
    return tuple(steps)


def _repo_steps(want: RepoWanted, have: RepoObserved | None) -> Iterable[SetupStep]:
    if want.actions_off and (have is None or have.repo.has_actions):
        yield ActionsOff(want.name)
    if want.only_merge and (have is None or have.repo.styles != ONLY_MERGE):
        yield OnlyMerge(want.name)
    permissions = have.permissions if have else {}
    for login, permission in sorted(want.collaborators.items()):
        if login != want.name.owner and permissions.get(login) != permission:
            yield SetCollaborator(want.name, login, permission)
    for login in sorted(want.people - {want.name.owner}):
        if permissions.get(login) not in ("write", "admin", "owner"):
            yield SetCollaborator(want.name, login, "write", at_least=True)
    for label in want.labels:
        if have is None or label.name not in have.labels:
            yield AddLabel(want.name, label)


def _token(login: str, scopes: tuple[str, ...], version: ForgeVersion, wanted: Wanted) -> MintToken:
    # Limited to repos, a token loses the admin's rights it would be minted for: the sentinel could read no rule.
    admin = any(repo.collaborators.get(login) == "admin" for repo in wanted.repos)
    if version.major < TOKENS_LIMITED_TO_REPOS or admin:
        return MintToken(login, scopes)
    repos = tuple(repo.name for repo in wanted.repos if login in repo.collaborators or login == repo.name.owner)
    repos += tuple(repo for repo in wanted.more_repos.get(login, ()) if repo not in repos)
    return MintToken(login, tuple(scope for scope in scopes if scope.endswith((":repository", ":issue"))), repos)


def _rule_steps(want: RepoWanted, have: RepoObserved | None) -> Iterable[SetupStep]:
    there = {rule.rule_name: rule for rule in have.protections} if have else {}
    for rule, branch in zip(want.protections, want.branches, strict=True):
        if not want.ours:
            yield from _project_rule_steps(want, rule, branch, there)
            continue
        known = there.get(rule.rule_name)
        wrong = differences(rule, known) if known else []
        if known is None or wrong:
            yield Protect(want.name, rule, tuple(wrong))
        while (winner := first_match((*there, rule.rule_name), branch)) != rule.rule_name:
            assert winner is not None
            yield Unprotect(want.name, winner)
            del there[winner]
    if want.taggers:
        yield from tag_steps(want, have.tag_rules if have else ())


def tag_steps(want: RepoWanted, there: tuple[TagRule, ...]) -> Iterable[SetupStep]:
    """What is left to do so that tags are for those whom ``want`` names, where these rules are in force."""
    own = [rule for rule in there if rule.pattern != ALL_TAGS]
    if not own and any(set(rule.users) == set(want.taggers) for rule in there):
        return
    if want.protect and not own:
        yield ProtectTags(want.name, want.taggers)
        return
    because = f"the project's own rule {own[0].pattern} stays in force" if own else "apply it with --protect"
    yield Propose(want.name, TagRule(0, ALL_TAGS, want.taggers), because)


def _project_rule_steps(
    want: RepoWanted, rule: BranchProtection, branch: str, there: Mapping[str, BranchProtection]
) -> Iterable[SetupStep]:
    winner = first_match(there, branch)
    if winner is not None and winner != rule.rule_name:
        yield Propose(want.name, rule, f"the project's own rule {winner} stays in force")
        return
    wrong = differences(rule, there[rule.rule_name]) if winner else []
    if winner and not wrong:
        return
    if want.protect:
        yield Protect(want.name, rule, tuple(wrong))
    else:
        yield Propose(want.name, rule, "apply it with --protect")


def apply(
    admin: ForgejoClient,
    steps: Iterable[SetupStep],
    *,
    prefix: str = "factory",
    keep: Callable[[str, str, str], None] | None = None,
) -> Credentials:
    """Do the steps in order, each verified by reading back. Proposals are passed over.

    ``prefix`` begins the names of the tokens. ``keep(kind, login, secret)`` with kind ``token`` or ``password`` is
    called as each is made, so that an interruption loses none. Interrupted, it is completed by planning again.
    Raises ForgeRefused naming the step the forge did not do as asked.
    """
    tokens: dict[str, str] = {}
    passwords: dict[str, str] = {}
    for step in steps:
        match step:
            case CreateAccount(login, human, bare):
                password = "" if bare else _password()
                if human and keep:
                    keep("password", login, password)
                admin.create_user(login, email=f"{login}@factory.invalid", password=password)
                if human:
                    passwords[login] = password
            case CreateRepo(repo, private, branch):
                admin.create_repo(repo, private=private, default_branch=branch)
            case ActionsOff(repo):
                admin.edit_repo(repo, has_actions=False)
            case OnlyMerge(repo):
                admin.only_merge(repo)
            case SetCollaborator(repo, login, permission, at_least):
                admin.set_collaborator(repo, login, permission, at_least=at_least)
            case AddLabel(repo, label):
                admin.create_label(repo, label)
            case MintToken():
                tokens[step.login] = _mint(admin, step, f"{prefix}-{secrets.token_hex(4)}")
                if keep:
                    keep("token", step.login, tokens[step.login])
            case Protect(repo, rule):
                assert is_glob(rule.rule_name)
                admin.set_protection(repo, rule)
            case ProtectTags(repo, users):
                admin.set_tag_rule(repo, ALL_TAGS, users)
            case Unprotect(repo, name):
                admin.delete_protection(repo, name)
            case Propose():
                pass
    return Credentials(tokens, passwords)


def _mint(admin: ForgejoClient, step: MintToken, name: str) -> str:
    try:
        return admin.create_token(step.login, name=name, scopes=step.scopes, repos=step.repos)
    except NotFound:
        # Before Forgejo 16 only a password mints tokens. Ours is set, used once and replaced by one nobody knows.
        password = _password()
        admin.set_password(step.login, password)
        try:
            with ForgejoClient(admin.url, basic=(step.login, password)) as own:
                return own.create_token(step.login, name=name, scopes=step.scopes, repos=step.repos, as_admin=False)
        finally:
            admin.set_password(step.login, _password())


def working_tokens(
    url: str, tokens: Mapping[str, str], repo: RepoName, *, elsewhere: Mapping[str, RepoName], seeing: bool = False
) -> frozenset[str]:
    """The logins whose kept token the forge still accepts (asked for ``repo``, which may not exist; those that do not
    work there for their repo in ``elsewhere``).

    With ``seeing`` it must see the repo: one limited to other repos is valid and of no use here.
    """
    good = set()
    for login, token in tokens.items():
        with ForgejoClient(url, token) as client:
            try:
                if client.find_repo(elsewhere.get(login, repo)) is not None or not seeing:
                    good.add(login)
            except ForgeRefused as refused:
                if refused.status != 401:
                    raise
    return frozenset(good)


def _password() -> str:
    """Long, random, and of all kinds of characters that a forge may demand."""
    return f"aA1-{secrets.token_urlsafe(24)}"
