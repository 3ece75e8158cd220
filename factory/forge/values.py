"""What a forge knows, as frozen values. Shapes follow Forgejo's REST v1; times are aware UTC datetimes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, order=True)
class RepoName:
    """``owner/name``, as the forge spells it."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> RepoName:
        """Split ``owner/name``; raises ValueError when it is not of that form."""
        owner, slash, name = text.partition("/")
        if not slash or not owner or not name or "/" in name:
            raise ValueError(f"{text!r} is not owner/name")
        return cls(owner, name)


@dataclass(frozen=True)
class User:
    """An account: its id stays, its login may change."""

    id: int
    login: str


@dataclass(frozen=True)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str = ""
    description: str = ""
    exclusive: bool = False


MERGE_STYLES = (
    "allow_merge_commits", "allow_rebase", "allow_rebase_explicit", "allow_squash_merge",
    "allow_fast_forward_only_merge",
)  # fmt: skip


@dataclass(frozen=True)
class Repo:
    """A repository and what this token may do there."""

    id: int
    name: RepoName
    default_branch: str
    private: bool
    empty: bool
    archived: bool
    mirror: bool
    has_actions: bool
    permissions: frozenset[str] = frozenset()
    """Of the asking token: any of ``pull``, ``push``, ``admin``."""
    styles: frozenset[str] = frozenset()
    """Ways of merging that are allowed, in the forge's words (``MERGE_STYLES``)."""


class ItemState(StrEnum):
    """State of an issue or pull request; a merged pull request is closed."""

    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True)
class Issue:
    """One issue. Pull requests never appear as an Issue value; see :class:`Pull`."""

    number: int
    title: str
    body: str
    author: User
    state: ItemState
    labels: frozenset[str]
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    url: str
    comments: int = 0


@dataclass(frozen=True)
class Comment:
    """A comment of an issue or pull request."""

    id: int
    author: User
    body: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class TimelineEvent:
    """One entry of ``/issues/{n}/timeline``; ``kind`` is Forgejo's ``type``."""

    id: int
    kind: str
    author: User
    created_at: datetime
    label: str | None = None
    added: bool | None = None
    """For ``label``: set (True) or taken off (False)."""
    detail: str = ""
    """For ``pull_push`` its JSON; for ``change_title`` the new title; otherwise the body."""


@dataclass(frozen=True)
class Dependency:
    """An issue another one depends on. ``done`` is closed as done (not rejected: no refusal label)."""

    repo: RepoName
    number: int
    state: ItemState
    labels: frozenset[str]
    title: str = ""


@dataclass(frozen=True)
class Pull:
    """One pull request at its present head."""

    number: int
    title: str
    body: str
    author: User
    state: ItemState
    merged: bool
    merge_commit: str | None
    draft: bool
    mergeable: bool
    head_ref: str
    head_sha: str
    head_repo: RepoName | None
    base_ref: str
    base_sha: str
    merge_base: str
    labels: frozenset[str]
    created_at: datetime
    updated_at: datetime
    url: str
    requested_reviewers: frozenset[str] = frozenset()
    """As the forge says it, and that includes people who already reviewed; pending requests are the reviews with
    state REQUEST_REVIEW."""
    comments: int = 0
    closed_at: datetime | None = None
    merged_by: User | None = None
    head_repo_id: int = 0
    """0: its repo is gone."""
    flow: int = 0
    """0: from a branch; 1: pushed for review without one (AGit)."""


@dataclass(frozen=True)
class PullCommit:
    """A commit of a pull request and the accounts whose address it names. Anybody can write any address: never a proof
    of who made it."""

    sha: str
    author: User
    committer: User


class ReviewState(StrEnum):
    """What a review says, in the forge's words."""

    APPROVED = "APPROVED"
    REQUEST_CHANGES = "REQUEST_CHANGES"
    COMMENT = "COMMENT"
    PENDING = "PENDING"
    REQUEST_REVIEW = "REQUEST_REVIEW"


@dataclass(frozen=True)
class Review:
    """One review of one commit."""

    id: int
    author: User
    state: ReviewState
    commit: str
    body: str
    official: bool
    stale: bool
    dismissed: bool
    submitted_at: datetime


class CheckState(StrEnum):
    """What a commit status says, in the forge's words."""

    PENDING = "pending"
    SUCCESS = "success"
    ERROR = "error"
    FAILURE = "failure"
    WARNING = "warning"


@dataclass(frozen=True)
class Status:
    """The newest status of one context on one commit."""

    context: str
    state: CheckState
    creator: User
    description: str
    target_url: str
    created_at: datetime


@dataclass(frozen=True)
class ChangedFile:
    """One file of a pull request's diff."""

    path: str
    status: str
    """added | modified | deleted | renamed"""
    additions: int
    deletions: int
    old_path: str | None = None


@dataclass(frozen=True)
class BranchProtection:
    """One rule, as sent and as read back. Field meanings: Forgejo's ``branch_protections``."""

    rule_name: str
    enable_push: bool = False
    enable_push_whitelist: bool = False
    push_whitelist_usernames: tuple[str, ...] = ()
    enable_merge_whitelist: bool = False
    merge_whitelist_usernames: tuple[str, ...] = ()
    required_approvals: int = 0
    enable_approvals_whitelist: bool = False
    approvals_whitelist_usernames: tuple[str, ...] = ()
    block_on_rejected_reviews: bool = False
    block_on_official_review_requests: bool = False
    block_on_outdated_branch: bool = False
    dismiss_stale_approvals: bool = False
    ignore_stale_approvals: bool = False
    enable_status_check: bool = False
    status_check_contexts: tuple[str, ...] = ()
    protected_file_patterns: str = ""
    unprotected_file_patterns: str = ""
    apply_to_admins: bool = False


@dataclass(frozen=True)
class Hook:
    """One webhook of a repo; its secret is never told again."""

    id: int
    url: str
    events: frozenset[str]
    active: bool


@dataclass(frozen=True)
class ForgeVersion:
    """What forge this is."""

    product: str
    """``forgejo``, ``gitea`` or ``embedded``."""
    text: str
    major: int
