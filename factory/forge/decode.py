"""JSON of Forgejo's REST v1 -> frozen values, tolerantly.

Lists may be ``null``, fields unknown or missing, times unset (``0001-01-01`` or the epoch), users deleted. Nothing
here raises on odd content; what cannot be understood becomes the value that grants nothing: an unknown check state is
``pending``, an unknown review a comment, an unknown user has no name.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from factory.forge.values import (
    MERGE_STYLES,
    BranchProtection,
    ChangedFile,
    CheckState,
    Comment,
    Dependency,
    ForgeVersion,
    Hook,
    Issue,
    ItemState,
    Label,
    Pull,
    PullCommit,
    Repo,
    RepoName,
    Review,
    ReviewState,
    Status,
    TimelineEvent,
    User,
)

UNSET = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for a time the forge left unset where a value needs one."""
_CHECKS = {state.value: state for state in CheckState}


def record(value: object) -> Mapping[str, Any]:
    """The value when it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def records(value: object) -> list[Mapping[str, Any]]:
    """The objects of a JSON array; ``null`` and anything else is an empty list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def number(data: Mapping[str, Any], key: str) -> int:
    value = data.get(key)
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def flag(data: Mapping[str, Any], key: str) -> bool:
    return data.get(key) is True


def names(value: object) -> tuple[str, ...]:
    """The strings of a JSON array."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def moment(value: object) -> datetime | None:
    """An RFC 3339 time as aware UTC; None when unset or unreadable."""
    if not isinstance(value, str) or not value:
        return None
    try:
        when = datetime.fromisoformat(value)
        when = when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return when if when > UNSET else None


def when(data: Mapping[str, Any], key: str) -> datetime:
    return moment(data.get(key)) or UNSET


def user(value: object) -> User:
    """A user; a deleted or missing one is ``User(0, "")``, which no list of trusted people can name."""
    data = record(value)
    return User(number(data, "id"), text(data, "login") or text(data, "username"))


def version(data: Mapping[str, Any], *, embedded: bool = False) -> ForgeVersion:
    """Forgejo appends ``+gitea-...``; the embedded forge says who it is in a header."""
    said = text(data, "version")
    product = "embedded" if embedded else "forgejo" if "gitea-" in said else "gitea"
    major = said.lstrip("v").split(".", 1)[0]
    return ForgeVersion(product, said, int(major) if major.isdigit() else 0)


def repo_name(value: object) -> RepoName | None:
    """From a repository (or its short form with ``owner`` as a string)."""
    data = record(value)
    try:
        return RepoName.parse(text(data, "full_name"))
    except ValueError:
        owner = data.get("owner")
        login = owner if isinstance(owner, str) else user(owner).login
        name = text(data, "name")
        return RepoName(login, name) if login and name else None


def repo(data: Mapping[str, Any]) -> Repo:
    """A repository object."""
    permissions = record(data.get("permissions"))
    return Repo(
        id=number(data, "id"),
        name=repo_name(data) or RepoName("", ""),
        default_branch=text(data, "default_branch"),
        private=flag(data, "private"),
        empty=flag(data, "empty"),
        archived=flag(data, "archived"),
        mirror=flag(data, "mirror"),
        has_actions=flag(data, "has_actions"),
        permissions=frozenset(p for p in ("pull", "push", "admin") if permissions.get(p) is True),
        styles=frozenset(style for style in MERGE_STYLES if data.get(style) is True),
    )


def label(data: Mapping[str, Any]) -> Label:
    return Label(
        number(data, "id"),
        text(data, "name"),
        text(data, "color").lstrip("#").lower(),
        text(data, "description"),
        flag(data, "exclusive"),
    )


def label_names(value: object) -> frozenset[str]:
    return frozenset(text(item, "name") for item in records(value))


def state(data: Mapping[str, Any]) -> ItemState:
    return ItemState.CLOSED if text(data, "state") == "closed" else ItemState.OPEN


def issue(data: Mapping[str, Any]) -> Issue:
    """An issue object."""
    return Issue(
        number=number(data, "number"),
        title=text(data, "title"),
        body=text(data, "body"),
        author=user(data.get("user")),
        state=state(data),
        labels=label_names(data.get("labels")),
        created_at=when(data, "created_at"),
        updated_at=when(data, "updated_at"),
        closed_at=moment(data.get("closed_at")),
        url=text(data, "html_url"),
        comments=number(data, "comments"),
    )


def comment(data: Mapping[str, Any]) -> Comment:
    return Comment(
        number(data, "id"),
        user(data.get("user")),
        text(data, "body"),
        when(data, "created_at"),
        when(data, "updated_at"),
    )


def timeline_event(data: Mapping[str, Any]) -> TimelineEvent:
    kind, body = text(data, "type"), text(data, "body")
    name = text(record(data.get("label")), "name") or None
    return TimelineEvent(
        id=number(data, "id"),
        kind=kind,
        author=user(data.get("user")),
        created_at=when(data, "created_at"),
        label=name if kind == "label" else None,
        added=(body == "1") if kind == "label" else None,
        detail=text(data, "new_title") if kind == "change_title" else body,
    )


def dependency(data: Mapping[str, Any], home: RepoName) -> Dependency:
    """``home`` is the repo of the asking issue, for servers that leave the repository out."""
    return Dependency(
        repo=repo_name(data.get("repository")) or home,
        number=number(data, "number"),
        state=state(data),
        labels=label_names(data.get("labels")),
        title=text(data, "title"),
    )


def pull(data: Mapping[str, Any]) -> Pull:
    """A pull request object."""
    head, base = record(data.get("head")), record(data.get("base"))
    return Pull(
        number=number(data, "number"),
        title=text(data, "title"),
        body=text(data, "body"),
        author=user(data.get("user")),
        state=state(data),
        merged=flag(data, "merged"),
        merge_commit=text(data, "merge_commit_sha") or None,
        draft=flag(data, "draft"),
        mergeable=flag(data, "mergeable"),
        head_ref=text(head, "ref"),
        head_sha=text(head, "sha"),
        head_repo=repo_name(head.get("repo")),
        base_ref=text(base, "ref"),
        base_sha=text(base, "sha"),
        merge_base=text(data, "merge_base"),
        labels=label_names(data.get("labels")),
        created_at=when(data, "created_at"),
        updated_at=when(data, "updated_at"),
        url=text(data, "html_url"),
        requested_reviewers=frozenset(user(item).login for item in records(data.get("requested_reviewers"))),
        comments=number(data, "comments"),
        closed_at=moment(data.get("closed_at")),
        merged_by=user(data.get("merged_by")) if data.get("merged_by") else None,
        head_repo_id=number(head, "repo_id"),
        flow=number(data, "flow"),
    )


def pull_commit(data: Mapping[str, Any]) -> PullCommit:
    return PullCommit(text(data, "sha"), user(data.get("author")), user(data.get("committer")))


def found(data: Mapping[str, Any]) -> Issue | Pull:
    """One result of ``issues/search``. A pull request found so has no branches: read it before judging it."""
    meta = data.get("pull_request")
    if meta is None:
        return issue(data)
    meta = record(meta)
    return pull({**data, "merged": meta.get("merged"), "draft": meta.get("draft"), "head": None, "base": None})


def review(data: Mapping[str, Any]) -> Review:
    """A review object; a state this code does not know counts as a comment."""
    said = text(data, "state")
    return Review(
        id=number(data, "id"),
        author=user(data.get("user")),
        state=ReviewState(said) if said in ReviewState.__members__ else ReviewState.COMMENT,
        commit=text(data, "commit_id"),
        body=text(data, "body"),
        official=flag(data, "official"),
        stale=flag(data, "stale"),
        dismissed=flag(data, "dismissed"),
        submitted_at=when(data, "submitted_at"),
    )


def status(data: Mapping[str, Any]) -> Status:
    said = text(data, "status") or text(data, "state")
    return Status(
        context=text(data, "context"),
        state=_CHECKS.get(said, CheckState.PENDING),
        creator=user(data.get("creator")),
        description=text(data, "description"),
        target_url=text(data, "target_url"),
        created_at=when(data, "created_at"),
    )


def changed_file(data: Mapping[str, Any]) -> ChangedFile:
    said = text(data, "status")
    return ChangedFile(
        path=text(data, "filename"),
        status={"changed": "modified", "removed": "deleted"}.get(said, said),
        additions=number(data, "additions"),
        deletions=number(data, "deletions"),
        old_path=text(data, "previous_filename") or None,
    )


def protection(data: Mapping[str, Any]) -> BranchProtection:
    """Whitelists come back sorted, so that two readings compare equal."""

    def people(key: str) -> tuple[str, ...]:
        return tuple(sorted(names(data.get(key))))

    return BranchProtection(
        rule_name=text(data, "rule_name") or text(data, "branch_name"),
        enable_push=flag(data, "enable_push"),
        enable_push_whitelist=flag(data, "enable_push_whitelist"),
        push_whitelist_usernames=people("push_whitelist_usernames"),
        enable_merge_whitelist=flag(data, "enable_merge_whitelist"),
        merge_whitelist_usernames=people("merge_whitelist_usernames"),
        required_approvals=number(data, "required_approvals"),
        enable_approvals_whitelist=flag(data, "enable_approvals_whitelist"),
        approvals_whitelist_usernames=people("approvals_whitelist_username"),
        block_on_rejected_reviews=flag(data, "block_on_rejected_reviews"),
        block_on_official_review_requests=flag(data, "block_on_official_review_requests"),
        block_on_outdated_branch=flag(data, "block_on_outdated_branch"),
        dismiss_stale_approvals=flag(data, "dismiss_stale_approvals"),
        ignore_stale_approvals=flag(data, "ignore_stale_approvals"),
        enable_status_check=flag(data, "enable_status_check"),
        status_check_contexts=people("status_check_contexts"),
        protected_file_patterns=text(data, "protected_file_patterns"),
        unprotected_file_patterns=text(data, "unprotected_file_patterns"),
        apply_to_admins=flag(data, "apply_to_admins"),
    )


def hook(data: Mapping[str, Any]) -> Hook:
    config = record(data.get("config"))
    return Hook(
        number(data, "id"),
        text(config, "url") or text(data, "url"),
        frozenset(names(data.get("events"))),
        flag(data, "active"),
    )
