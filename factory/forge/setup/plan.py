"""The steps from what is on a forge to what is wanted there. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from factory.forge.globs import first_match
from factory.forge.releases import TagRule
from factory.forge.settings import ONLY_MERGE, differences
from factory.forge.setup.observed import Observed, RepoObserved
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
from factory.forge.values import BranchProtection, ForgeVersion
from factory.forge.versions import TOKENS_LIMITED_TO_REPOS
from factory.forge.wanted import RepoWanted, Wanted


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
