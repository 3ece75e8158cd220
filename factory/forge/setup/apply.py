"""Doing the steps of a set-up, as a site admin, and the credentials that come of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from factory.errors import NotFound
from factory.forge.client import ForgejoClient
from factory.forge.globs import is_glob
from factory.forge.setup.steps import (
    ALL_TAGS,
    ActionsOff,
    AddLabel,
    CreateAccount,
    CreateRepo,
    MintToken,
    OnlyMerge,
    Propose,
    Protect,
    ProtectTags,
    SetCollaborator,
    SetupStep,
    Unprotect,
)


@dataclass(frozen=True)
class Credentials:
    """What set-up minted. Shown and stored by the caller, once; never part of a message."""

    tokens: Mapping[str, str] = field(default_factory=dict, repr=False)
    passwords: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of people's new accounts only."""


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


def _password() -> str:
    """Long, random, and of all kinds of characters that a forge may demand."""
    return f"aA1-{secrets.token_urlsafe(24)}"
