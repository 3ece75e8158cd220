"""A forge where we are no admin: tokens that its admin prepared, and what else that person must do, word for word."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from factory.errors import ConfigInvalid, ForgeRefused, PolicyDenied
from factory.forge.client import ForgejoClient
from factory.forge.releases import TagRule
from factory.forge.settings import protection_body
from factory.forge.setup.observed import Observed, RepoObserved
from factory.forge.setup.steps import (
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
from factory.forge.values import BranchProtection
from factory.forge.wanted import RepoWanted, Wanted


class AdminNeeded(PolicyDenied):
    """Something only the forge's admin (or the owner of a repo) can do. ``instructions``: each step, exactly."""

    def __init__(self, message: str, instructions: tuple[str, ...], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.instructions = instructions


@dataclass(frozen=True)
class Prepared:
    """The tokens of a folder, one file per login, tried at the forge."""

    url: str
    folder: Path
    tokens: Mapping[str, str]
    """Login -> token, of those that the forge takes."""
    refused: tuple[str, ...] = ()
    """Logins whose token it does not take."""
    loose: tuple[str, ...] = ()
    """Logins whose file other users of this machine can read."""


def read_tokens(url: str, folder: Path, logins: Iterable[str]) -> Prepared:
    """Read ``folder/<login>`` of each login and ask the forge about it.

    A login without a file is left out. Raises ConfigInvalid for a token that belongs to somebody else, ForgeError when
    the forge does not answer.
    """
    if not folder.is_dir():
        raise ConfigInvalid(
            f"reading the prepared tokens in {folder}: there is no such folder",
            hint="make it, with one file per account, named like its login",
        )
    tokens: dict[str, str] = {}
    refused, loose = [], []
    for login in sorted(set(logins)):
        file = folder / login
        try:
            token = file.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise ConfigInvalid(f"reading the prepared token {file}: {error}") from error
        if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            loose.append(login)
        if _taken(url, login, token, file):
            tokens[login] = token
        else:
            refused.append(login)
    return Prepared(url, folder, tokens, tuple(refused), tuple(loose))


def _taken(url: str, login: str, token: str, file: Path) -> bool:
    if not token:
        return False
    with ForgejoClient(url, token) as client:
        try:
            whose = client.me().login
        except ForgeRefused as error:
            # A token limited to repos, or to reading them, may not say whose it is.
            if error.status == 403:
                return True
            if error.status == 401:
                return False
            raise
    if whose.casefold() != login.casefold():
        raise ConfigInvalid(
            f"reading the prepared token {file}: it belongs to {whose}", hint=f"put {login}'s own token there"
        )
    return True


def observe_as_bots(prepared: Prepared, wanted: Wanted, accounts: Mapping[str, str]) -> Observed:
    """What the prepared tokens can see of what is wanted. What they cannot see counts as not there."""
    sentinel = prepared.tokens.get(accounts["sentinel"])
    factory = prepared.tokens.get(accounts["factory"])
    there = set(prepared.tokens)
    with ForgejoClient(prepared.url, factory) as own, ForgejoClient(prepared.url, sentinel) as judge:
        version = own.version()
        for account in wanted.accounts:
            if account.login not in there and _seen(own, account.login):
                there.add(account.login)
        repos = {}
        for want in wanted.repos:
            repo = (own.find_repo(want.name) if factory else None) or (judge.find_repo(want.name) if sentinel else None)
            if repo is None:
                continue
            permissions, rules, tags = _settings(judge, want)
            seen = own.labels(want.name) if factory and want.labels else ()
            labels = frozenset(label.name for label in seen)
            repos[want.name] = RepoObserved(repo, permissions, labels, rules, tags)
    return Observed(version, frozenset(there), repos, frozenset(prepared.tokens))


def _seen(client: ForgejoClient, login: str) -> bool:
    try:
        return client.user(login) is not None
    except ForgeRefused:
        return False


def _settings(
    judge: ForgejoClient, want: RepoWanted
) -> tuple[dict[str, str], tuple[BranchProtection, ...], tuple[TagRule, ...]]:
    """As the sentinel reads them: it must be an admin of the repo to."""
    repo, logins = want.name, set(want.collaborators) | want.people
    try:
        rows = {user.login for user in judge.collaborators(repo)} | {repo.owner}
        permissions = {login: judge.permission(repo, login) for login in sorted(logins & rows)}
        return permissions, tuple(judge.protections(repo)), judge.tag_rules(repo) if want.taggers else ()
    except ForgeRefused:
        return {}, (), ()


def by_ourselves(steps: Iterable[SetupStep]) -> tuple[SetupStep, ...]:
    """The steps that a prepared token of the factory's own account can do."""
    return tuple(step for step in steps if isinstance(step, AddLabel))


def instructions(steps: Iterable[SetupStep], prepared: Prepared) -> tuple[str, ...]:
    """What the forge's admin must do for the steps that are left, in order, each with everything it takes."""
    said = [_instruction(step, prepared) for step in steps if not isinstance(step, AddLabel | Propose)]
    return tuple(line for line in said if line)


def things(count: int) -> str:
    """How many of them are left, in words."""
    return "one thing" if count == 1 else f"{count} things"


def _instruction(step: SetupStep, prepared: Prepared) -> str:
    match step:
        case CreateAccount(login):
            return f"create the account {login}: an ordinary one, that need not change its password"
        case CreateRepo(repo, private, branch):
            what = "private" if private else "public"
            unseen = "" if prepared.tokens else " (unless it is there: without a token nobody can see it)"
            return f"create the {what} repo {repo}, empty, with the default branch {branch}{unseen}"
        case ActionsOff(repo):
            return f"switch Actions off in the settings of {repo}"
        case OnlyMerge(repo):
            return (
                f"leave merge commits as the only way of merging in the settings of {repo}; manual merging and its "
                "detection stay off"
            )
        case SetCollaborator(repo, login, permission):
            return f"make {login} a collaborator of {repo} with the permission {permission}"
        case MintToken(login, scopes, repos):
            only = f", limited to {' and '.join(map(str, repos))}" if repos else ""
            why = "; the one there is not valid" if login in prepared.refused else ""
            return (
                f"make a token for {login} with the scopes {', '.join(scopes)}{only}, and put it into "
                f"{prepared.folder / login}{why}"
            )
        case Protect(repo, rule, changes):
            verb, place = ("PATCH", f"/{rule.rule_name}") if changes else ("POST", "")
            body = json.dumps(protection_body(rule), separators=(",", ":"))
            return (
                f"protect the branch {rule.rule_name} of {repo}: "
                f"{verb} /api/v1/repos/{repo}/branch_protections{place} {body}"
            )
        case ProtectTags(repo, users):
            body = json.dumps({"name_pattern": "*", "whitelist_usernames": list(users)}, separators=(",", ":"))
            return f"keep the tags of {repo} for these accounts: POST /api/v1/repos/{repo}/tag_protections {body}"
        case Unprotect(repo, name):
            return f"remove the branch rule {name} of {repo}, which would win over ours"
        case _:
            return ""
