"""The mutable inside of ``FakeForge``: users, repos, items and the rules that tie them together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from factory.errors import NotFound
from factory.forge.globs import first_match
from factory.forge.values import (
    BranchProtection,
    Comment,
    Issue,
    ItemState,
    Label,
    Pull,
    RepoName,
    Review,
    ReviewState,
    Status,
    TimelineEvent,
    User,
)
from factory.testing.fake_git import FakeGit

START = datetime(2026, 1, 1, tzinfo=UTC)
RANKS = ("none", "read", "write", "admin", "owner")


@dataclass
class FakeItem:
    """An issue or, with ``head`` set, a pull request."""

    number: int
    title: str
    body: str
    author: User
    created_at: datetime
    updated_at: datetime
    labels: set[str] = field(default_factory=set)
    state: ItemState = ItemState.OPEN
    closed_at: datetime | None = None
    comments: list[Comment] = field(default_factory=list)
    timeline: list[TimelineEvent] = field(default_factory=list)
    depends_on: list[tuple[RepoName, int]] = field(default_factory=list)
    head: str | None = None
    base: str = ""
    head_sha: str = ""
    merged: bool = False
    merge_commit: str | None = None
    merged_by: User | None = None
    merge_base: str = ""
    reviews: list[Review] = field(default_factory=list)


@dataclass
class FakeRepo:
    """A repository of the fake forge."""

    id: int
    name: RepoName
    default_branch: str
    private: bool
    counter: int = 0
    """Issues and pull requests share it."""
    refs: dict[str, str] = field(default_factory=dict)
    items: dict[int, FakeItem] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)
    protections: list[BranchProtection] = field(default_factory=list)
    statuses: dict[str, list[Status]] = field(default_factory=dict)

    def branch(self, name: str) -> str | None:
        return self.refs.get(f"refs/heads/{name}")

    def rule(self, branch: str) -> BranchProtection | None:
        """The one rule that decides for a branch."""
        name = first_match([rule.rule_name for rule in self.protections], branch)
        return next((rule for rule in self.protections if rule.rule_name == name), None)


@dataclass
class FakeWorld:
    """All of one fake forge. ``now`` is its clock, moved by hand; stamps are whole seconds, as on the real one."""

    url: str = "http://forge.test"
    now: datetime = START
    users: dict[str, User] = field(default_factory=dict)
    repos: dict[RepoName, FakeRepo] = field(default_factory=dict)
    git: FakeGit = field(default_factory=FakeGit)
    ids: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def second(self) -> datetime:
        return self.now.replace(microsecond=0)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def user(self, login: str) -> User:
        """The account, made on first mention."""
        if login not in self.users:
            self.users[login] = User(next(self.ids), login)
        return self.users[login]

    def repo(self, name: RepoName, login: str) -> FakeRepo:
        """The repo as this account sees it; NotFound like the real one when it may not."""
        repo = self.repos.get(name)
        if repo is None or (repo.private and self.rank(repo, login) < 1):
            raise NotFound(
                f"reading {name}: the forge answered 404", status=404, detail="The target couldn't be found."
            )
        return repo

    def rank(self, repo: FakeRepo, login: str) -> int:
        if login == repo.name.owner:
            return RANKS.index("owner")
        return RANKS.index(repo.permissions.get(login, "none" if repo.private else "read"))

    def item(self, repo: FakeRepo, number: int, *, pull: bool | None = None) -> FakeItem:
        item = repo.items.get(number)
        if item is None or (pull is not None and (item.head is not None) != pull):
            raise NotFound(
                f"reading {repo.name}#{number}: the forge answered 404",
                status=404,
                detail="The target couldn't be found.",
            )
        return item

    def event(self, item: FakeItem, kind: str, login: str, *, label: str | None = None, added: bool | None = None,
              detail: str = "", number: int | None = None) -> None:  # fmt: skip
        """Append to the timeline and move ``updated_at``, as every event does."""
        event = TimelineEvent(number or next(self.ids), kind, self.user(login), self.second, label, added, detail)
        item.timeline.append(event)
        item.updated_at = self.second

    def as_issue(self, repo: FakeRepo, item: FakeItem) -> Issue:
        return Issue(
            item.number, item.title, item.body, item.author, item.state, frozenset(item.labels), item.created_at,
            item.updated_at, item.closed_at, f"{self.url}/{repo.name}/issues/{item.number}", len(item.comments),
        )  # fmt: skip

    def head_sha(self, repo: FakeRepo, item: FakeItem) -> str:
        """The live tip of the head branch; the last known one when the branch is gone."""
        tip = repo.branch(item.head or "") if item.state is ItemState.OPEN else None
        return tip or item.head_sha

    def as_pull(self, repo: FakeRepo, item: FakeItem) -> Pull:
        """The pull request as the API shows it now."""
        head, base = self.head_sha(repo, item), repo.branch(item.base) or ""
        open_ = item.state is ItemState.OPEN
        draft = item.title.lower().startswith(("wip:", "[wip]"))
        fits = not open_ or (bool(base) and self.git.merged_tree(base, head) is not None)
        asked = {review.author.login for review in item.reviews if review.state is ReviewState.REQUEST_REVIEW}
        return Pull(
            item.number, item.title, item.body, item.author, item.state, item.merged, item.merge_commit, draft,
            fits and not draft, item.head or "", head, repo.name, item.base, base,
            item.merge_base if not open_ or not base else self.git.merge_base(base, head),
            frozenset(item.labels), item.created_at, item.updated_at, f"{self.url}/{repo.name}/pulls/{item.number}",
            frozenset(asked), len(item.comments), item.closed_at, item.merged_by,
        )  # fmt: skip

    def moved(self, repo: FakeRepo, branch: str, login: str, old: str | None) -> None:
        """What a push does to the open pull requests that have this branch as head."""
        tip = repo.branch(branch)
        for item in repo.items.values():
            if item.head is None or item.state is not ItemState.OPEN:
                continue
            if tip is None and branch in (item.head, item.base):
                self.set_state(repo, item, ItemState.CLOSED, login)
            elif branch == item.head and tip is not None and tip != old:
                item.head_sha = tip
                self.event(item, "pull_push", login, detail=f'{{"is_force_push":false,"commit_ids":["{tip}"]}}')
                self._stale(repo, item)

    def _stale(self, repo: FakeRepo, item: FakeItem) -> None:
        rule = repo.rule(item.base)
        base = repo.branch(item.base) or ""
        now = self.git.changes(self.git.merge_base(base, item.head_sha), item.head_sha)
        for at, review in enumerate(item.reviews):
            if not review.commit or review.commit not in self.git.commits:
                continue
            was = self.git.changes(self.git.merge_base(base, review.commit), review.commit)
            differs = was != now or self.git.tree(review.commit) != self.git.tree(item.head_sha)
            changed = review.commit != item.head_sha and (review.stale or differs)
            dismissed = review.dismissed or (
                changed and review.state is ReviewState.APPROVED and rule is not None and rule.dismiss_stale_approvals
            )
            if (changed, dismissed) != (review.stale, review.dismissed):
                item.reviews[at] = Review(
                    review.id, review.author, review.state, review.commit, review.body, review.official, changed,
                    dismissed, review.submitted_at,
                )  # fmt: skip

    def set_state(self, repo: FakeRepo, item: FakeItem, state: ItemState, login: str) -> None:
        if item.state is state:
            return
        if state is ItemState.CLOSED and item.head is not None:
            item.head_sha = self.head_sha(repo, item)
            base = repo.branch(item.base)
            item.merge_base = self.git.merge_base(base, item.head_sha) if base else item.merge_base
        item.state = state
        item.closed_at = self.second if state is ItemState.CLOSED else None
        self.event(item, "close" if state is ItemState.CLOSED else "reopen", login)

    def open_blockers(self, item: FakeItem) -> list[tuple[RepoName, int]]:
        return [
            (name, number) for name, number in item.depends_on if self.repos[name].items[number].state is ItemState.OPEN
        ]
