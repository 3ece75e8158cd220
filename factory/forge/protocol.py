"""The forge as the factory uses it: one Protocol, spoken by the Forgejo client and by ``testing.FakeForge``.

Every call is bounded in time. Errors: ``ForgeUnavailable`` (no usable answer: outcome unknown),
``ForgeRefused`` (a clear no, with status and text), ``NotFound``. A client is bound to one account's token.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from factory.forge.values import (
    BranchProtection,
    ChangedFile,
    CheckState,
    Comment,
    Dependency,
    ForgeVersion,
    Issue,
    Label,
    Pull,
    Repo,
    RepoName,
    Review,
    ReviewState,
    Status,
    TimelineEvent,
    User,
)


class Forge(Protocol):
    """Reads and writes of one account on one forge."""

    url: str

    @property
    def requests(self) -> int:
        """Requests sent so far by this client."""
        ...

    @property
    def server_time(self) -> datetime | None:
        """The server's clock (whole seconds) at its last answer; None before the first."""
        ...

    # about the server and the account
    def version(self) -> ForgeVersion: ...
    def me(self) -> User: ...
    def repo(self, repo: RepoName) -> Repo: ...

    # polling
    def changed_since(
        self, owner: str, since: datetime | None, *, settled: datetime | None = None
    ) -> tuple[list[tuple[RepoName, Issue | Pull]], datetime | None]:
        """All issues and pull requests of the owner's repos changed at or after ``since`` (one search, paged to its
        end), newest first, and the newest ``updated_at`` the server named. Pulls found so carry only what the search
        shows. With ``settled``, paging ends at the first page that reaches back to that time: what lies before it is
        known already."""
        ...

    def ls_refs(self, repo: RepoName, prefixes: Sequence[str]) -> dict[str, str]:
        """Ref name -> object id, by one ``ls-refs`` POST of git protocol v2. Starts no process."""
        ...

    # issues
    def issue(self, repo: RepoName, number: int) -> Issue: ...
    def issues(self, repo: RepoName, *, state: str = "open", labels: Iterable[str] = ()) -> list[Issue]: ...
    def create_issue(self, repo: RepoName, *, title: str, body: str, labels: Iterable[str] = ()) -> Issue: ...
    def edit_issue(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Issue: ...
    def comments(self, repo: RepoName, number: int) -> list[Comment]: ...
    def comment(self, repo: RepoName, number: int, body: str) -> Comment: ...
    def edit_comment(self, repo: RepoName, comment_id: int, body: str) -> Comment: ...
    def timeline(self, repo: RepoName, number: int) -> list[TimelineEvent]: ...
    def labels(self, repo: RepoName) -> list[Label]: ...
    def create_label(self, repo: RepoName, label: Label) -> Label: ...
    def add_labels(self, repo: RepoName, number: int, labels: Iterable[str]) -> frozenset[str]:
        """Verified by reading the reply; a label that did not arrive raises ForgeRefused."""
        ...

    def remove_label(self, repo: RepoName, number: int, label: str) -> None: ...
    def dependencies(self, repo: RepoName, number: int) -> list[Dependency]: ...
    def add_dependency(self, repo: RepoName, number: int, on: tuple[RepoName, int]) -> None: ...

    # pull requests
    def pull(self, repo: RepoName, number: int) -> Pull: ...
    def pulls(self, repo: RepoName, *, state: str = "open") -> list[Pull]: ...
    def create_pull(self, repo: RepoName, *, head: str, base: str, title: str, body: str) -> Pull:
        """Returns the existing open pull request when there is one for these branches (409)."""
        ...

    def edit_pull(
        self,
        repo: RepoName,
        number: int,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
    ) -> Pull: ...
    def pull_files(self, repo: RepoName, number: int) -> list[ChangedFile]: ...
    def pull_diff(self, repo: RepoName, number: int) -> str: ...
    def update_pull(self, repo: RepoName, number: int) -> None: ...
    def reviews(self, repo: RepoName, number: int) -> list[Review]: ...
    def review(
        self,
        repo: RepoName,
        number: int,
        *,
        state: ReviewState,
        body: str,
        commit: str,
        comments: Sequence[tuple[str, int, str]] = (),
    ) -> Review: ...
    def request_review(self, repo: RepoName, number: int, reviewers: Iterable[str]) -> None: ...
    def merge(self, repo: RepoName, number: int, *, head: str, title: str, message: str, style: str = "merge") -> str:
        """Merge with ``head_commit_id``; returns the merge commit. Transient 405/409 answers are retried in bounds;
        an ambiguous outcome is settled by re-reading."""
        ...

    # checks
    def statuses(self, repo: RepoName, sha: str) -> list[Status]: ...
    def post_status(
        self, repo: RepoName, sha: str, *, context: str, state: CheckState, description: str, target_url: str = ""
    ) -> Status: ...

    # settings (admin or sentinel)
    def collaborators(self, repo: RepoName) -> list[User]: ...
    def permission(self, repo: RepoName, login: str) -> str: ...
    def protections(self, repo: RepoName) -> list[BranchProtection]: ...
    def delete_branch(self, repo: RepoName, branch: str) -> None: ...
