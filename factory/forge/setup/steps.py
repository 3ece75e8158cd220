"""What a set-up may have to do on a forge, step by step: values that say themselves in a line each."""

from __future__ import annotations

from dataclasses import dataclass

from factory.forge.releases import TagRule
from factory.forge.values import BranchProtection, Label, RepoName

ALL_TAGS = "*"
"""The pattern of the rule that ``ProtectTags`` makes."""


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
