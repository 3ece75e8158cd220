"""What a factory wants of a forge: accounts, repos and rules, by the table of DESIGN section 6. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from factory.config.model import APPROVER_DUTIES
from factory.errors import ConfigInvalid
from factory.forge.globs import glob_rule
from factory.forge.values import BranchProtection, Label, RepoName


@dataclass(frozen=True)
class AccountWanted:
    """An account and what its token may do. A person's account gets a password and no token."""

    login: str
    scopes: tuple[str, ...] = ()
    human: bool = False


@dataclass(frozen=True)
class RepoWanted:
    """A repo and its rules. ``ours``: rules and settings are the factory's; else only additions, never changes."""

    name: RepoName
    ours: bool
    private: bool = True
    default_branch: str = "main"
    actions_off: bool = False
    only_merge: bool = False
    collaborators: Mapping[str, str] = field(default_factory=dict)
    people: frozenset[str] = frozenset()
    """Collaborators who need at least write; what they have beyond it stays."""
    labels: tuple[Label, ...] = ()
    protections: tuple[BranchProtection, ...] = ()
    branches: tuple[str, ...] = ()
    """The branches those rules are about, in the same order."""
    taggers: tuple[str, ...] = ()
    """Who may make tags, where a rule about them is wanted: nobody else, above all no role account."""
    protect: bool = True
    """False: the rules are shown as a proposal."""


@dataclass(frozen=True)
class Wanted:
    """All that set-up wants to be on the forge."""

    accounts: tuple[AccountWanted, ...]
    repos: tuple[RepoWanted, ...]
    more_repos: Mapping[str, tuple[RepoName, ...]] = field(default_factory=dict)
    """Login -> repos of other projects of the same host: one token per account serves them all."""

    def without_protections(self) -> Wanted:
        """For the first pass: the ops repo's seed can only be pushed while ``main`` is not yet protected."""
        return replace(self, repos=tuple(replace(repo, protections=(), branches=(), taggers=()) for repo in self.repos))


_WRITES = ("write:repository", "write:issue", "read:user")
_TALKS = ("read:repository", "write:issue", "read:user")

SCOPES: Mapping[str, tuple[str, ...]] = {
    "dev": _WRITES,
    "reviewer": _WRITES,
    "gardener": _WRITES,
    "architect": _TALKS,
    "planner": _TALKS,
    "predictor": _TALKS,
    "supervisor": _TALKS,
    "factory": _WRITES,
    "vault": _WRITES,
    "dispatcher": ("write:repository", "read:issue", "read:user"),
    "release": ("write:repository",),
    "sentinel": ("read:repository",),
}
"""Duty -> token scopes. Pull requests, reviews and statuses need ``repository``; issues, comments, labels ``issue``."""

OPS_WRITERS = ("factory", "vault", "dispatcher")


def wanted_setup(
    project: RepoName,
    ops: RepoName,
    *,
    accounts: Mapping[str, str],
    approvers: Iterable[str],
    direct_patterns: str,
    labels: Iterable[Label] = (),
    people: Iterable[str] = (),
    new_people: Iterable[str] = (),
    project_branch: str = "main",
    contexts: Iterable[str] = (),
    private: bool = True,
    protect: bool = False,
    more_repos: Mapping[str, tuple[RepoName, ...]] | None = None,
) -> Wanted:
    """The whole set-up of one project.

    ``accounts`` maps each duty of ``SCOPES`` to a login (several duties may share one); ``approvers`` are the people
    whose approval counts in the ops repo; ``direct_patterns`` is the ops repo's ``unprotected_file_patterns``;
    ``people`` may merge in the project besides the approvers; ``new_people`` get an account. ``protect`` applies the
    project's proposed rule instead of only showing it.
    Raises ConfigInvalid when nobody could approve, or when one account would be author and approver.
    """
    listed = tuple(sorted(set(approvers)))
    bots = dict(accounts)
    absent = sorted(SCOPES.keys() - bots.keys())
    if absent:
        raise ConfigInvalid(f"setting up {project}: no account named for {', '.join(absent)}")
    if not listed:
        raise ConfigInvalid(
            f"setting up {ops}: nobody is listed as approver, so nothing could ever be approved there",
            hint="name at least one person",
        )
    if {login.casefold() for login in listed} & {login.casefold() for login in bots.values()}:
        raise ConfigInvalid(
            f"setting up {ops}: an account of the factory is listed as approver", hint="list people only"
        )
    _refuse_sharing(project, bots)
    scopes: dict[str, set[str]] = {}
    for duty, login in bots.items():
        scopes.setdefault(login, set()).update(SCOPES.get(duty, ()))
    wanted_accounts = [AccountWanted(login, human=True) for login in sorted(set(new_people))]
    wanted_accounts += [AccountWanted(login, tuple(sorted(given))) for login, given in sorted(scopes.items())]
    trusted = frozenset(people) | frozenset(listed)
    return Wanted(
        tuple(wanted_accounts),
        (
            RepoWanted(
                project,
                ours=False,
                private=private,
                default_branch=project_branch,
                collaborators=_project_rights(bots),
                people=trusted,
                labels=tuple(labels),
                protections=(_project_rule(project_branch, bots, trusted, tuple(contexts)),),
                branches=(project_branch,),
                taggers=tuple(sorted({*trusted, bots["release"]})),
                protect=protect,
            ),
            RepoWanted(
                ops,
                ours=True,
                private=True,
                actions_off=True,
                only_merge=True,
                collaborators=_ops_rights(bots),
                people=frozenset(listed),
                protections=_ops_rules(bots, listed, direct_patterns),
                branches=("main", "auto", "ledger", "journal"),
            ),
        ),
        dict(more_repos or {}),
    )


def repos_by_login(project: RepoName, ops: RepoName, accounts: Mapping[str, str]) -> Mapping[str, tuple[RepoName, ...]]:
    """Where each account of a project works."""
    there = ((project, _project_rights(accounts)), (ops, _ops_rights(accounts)))
    return {login: tuple(repo for repo, rights in there if login in rights) for login in set(accounts.values())}


def _refuse_sharing(project: RepoName, bots: Mapping[str, str]) -> None:
    """Whoever approves writes nothing (``load_factory`` holds factory.toml to the same), and the sentinel, being admin
    of both repos, has no other token: else one of our tokens could change settings. Releases are made by an account
    of their own: what asks for them cannot make them, and what tags cannot write the ledger. Logins compare without
    case."""
    for duty in sorted((*APPROVER_DUTIES, "release", "sentinel")):
        shared = sorted(
            other for other, login in bots.items() if other != duty and login.casefold() == bots[duty].casefold()
        )
        if not shared:
            continue
        if duty == "sentinel":
            raise ConfigInvalid(
                f"setting up {project}: {bots[duty]} would be sentinel and {shared[0]}",
                hint="the sentinel reads settings as an admin of the repos; give it an account of its own",
            )
        if duty == "release":
            raise ConfigInvalid(
                f"setting up {project}: {bots[duty]} would make releases and be {shared[0]}",
                hint="only approved actions make tags and releases; give them an account of its own",
            )
        raise ConfigInvalid(
            f"setting up {project}: {bots[duty]} would be {shared[0]} and {duty}",
            hint="one account may never be author and approver",
        )


def _project_rights(bots: Mapping[str, str]) -> dict[str, str]:
    rights = {bots[duty]: "write" for duty in SCOPES if duty not in ("dispatcher", "vault", "sentinel")}
    return _weakest_first(rights, bots["sentinel"])


def _ops_rights(bots: Mapping[str, str]) -> dict[str, str]:
    rights = {bots[duty]: "read" for duty in SCOPES if duty != "release"}
    rights |= {bots[duty]: "write" for duty in OPS_WRITERS}
    return _weakest_first(rights, bots["sentinel"])


def _weakest_first(rights: dict[str, str], sentinel: str) -> dict[str, str]:
    return {**rights, sentinel: "admin"}


def _project_rule(
    branch: str, bots: Mapping[str, str], trusted: frozenset[str], contexts: tuple[str, ...]
) -> BranchProtection:
    people = tuple(sorted(trusted))
    return BranchProtection(
        rule_name=glob_rule(branch),
        enable_push=True,
        enable_push_whitelist=True,
        push_whitelist_usernames=people,
        enable_merge_whitelist=True,
        merge_whitelist_usernames=tuple(sorted({*people, bots["factory"]})),
        required_approvals=1,
        enable_approvals_whitelist=True,
        approvals_whitelist_usernames=tuple(sorted({*people, bots["reviewer"]})),
        block_on_rejected_reviews=True,
        # Asking an official reviewer again would otherwise wipe a blocking verdict.
        block_on_official_review_requests=True,
        dismiss_stale_approvals=True,
        ignore_stale_approvals=True,
        enable_status_check=bool(contexts),
        status_check_contexts=tuple(sorted(contexts)),
        apply_to_admins=True,
    )


def _ops_rules(bots: Mapping[str, str], approvers: tuple[str, ...], patterns: str) -> tuple[BranchProtection, ...]:
    return (
        BranchProtection(
            rule_name=glob_rule("main"),
            enable_merge_whitelist=True,
            merge_whitelist_usernames=tuple(sorted({bots["vault"], bots["factory"]})),
            required_approvals=1,
            enable_approvals_whitelist=True,
            approvals_whitelist_usernames=approvers,
            block_on_rejected_reviews=True,
            block_on_official_review_requests=True,
            # The base may move: merging is checked by recomputing its tree.
            block_on_outdated_branch=False,
            dismiss_stale_approvals=True,
            ignore_stale_approvals=True,
            unprotected_file_patterns=patterns,
            apply_to_admins=True,
        ),
        BranchProtection(
            rule_name=glob_rule("auto"),
            enable_merge_whitelist=True,
            merge_whitelist_usernames=(bots["vault"],),
            apply_to_admins=True,
        ),
        *(
            BranchProtection(
                rule_name=glob_rule(branch),
                enable_push=True,
                enable_push_whitelist=True,
                push_whitelist_usernames=(bots[duty],),
                # On and empty: nothing is ever merged into it.
                enable_merge_whitelist=True,
                apply_to_admins=True,
            )
            for branch, duty in (("ledger", "dispatcher"), ("journal", "factory"))
        ),
    )
