"""What is on the forge already, of what a set-up wants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from factory.errors import ForgeRefused
from factory.forge.client import ForgejoClient
from factory.forge.releases import TagRule
from factory.forge.values import BranchProtection, ForgeVersion, Repo, RepoName
from factory.forge.wanted import Wanted


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
