"""Issues, and what pull requests share with them: number, title, body, state, assignees, comments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import access, dependencies, labels, references, repos, timeline, users
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.events import Event
from factory.devforge.store.labels import Label
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

TITLE_BYTES = 255


@dataclass(frozen=True)
class Issue:
    """One row of ``issues``: an issue or the issue part of a pull request (``is_pull``)."""

    id: int
    repo_id: int
    number: int
    is_pull: bool
    title: str
    body: str
    poster_id: int
    state: str
    ref: str
    milestone_id: int | None
    due: int | None
    locked: bool
    pin_order: int
    created: int
    updated: int
    closed: int | None

    @property
    def open(self) -> bool:
        return self.state == "open"

    @property
    def unit(self) -> str:
        """Which right it takes to change it."""
        return "pulls" if self.is_pull else "issues"


def from_row(row: Row) -> Issue:
    return Issue(**{**dict(row), "is_pull": bool(row["is_pull"]), "locked": bool(row["locked"])})


def by_id(store: Store, issue_id: int) -> Issue:
    row = store.one("SELECT * FROM issues WHERE id = ?", issue_id)
    if row is None:
        raise not_found(f"issue does not exist [id: {issue_id}, repo_id: 0, index: 0]")
    return from_row(row)


def find(store: Store, repo: Repo, number: int) -> Issue | None:
    row = store.one("SELECT * FROM issues WHERE repo_id = ? AND number = ?", repo.id, number)
    return None if row is None else from_row(row)


def get(store: Store, repo: Repo, number: int) -> Issue:
    found = find(store, repo, number)
    if found is None:
        raise not_found(f"issue does not exist [id: 0, repo_id: {repo.id}, index: {number}]")
    return found


def cut_title(title: str) -> str:
    """Titles end at 255 bytes, never inside a character."""
    return title.encode()[:TITLE_BYTES].decode("utf-8", "ignore")


def may_write(store: Store, actor: Actor, repo: Repo, issue: Issue) -> bool:
    """Labels, milestone, assignees and the state of others' issues."""
    return access.mode(store, actor, repo, issue.unit) >= Mode.WRITE


def need_write(store: Store, actor: Actor, repo: Repo, issue: Issue) -> None:
    access.need(store, actor, repo, Mode.WRITE, issue.unit)


def need_edit(store: Store, actor: Actor, repo: Repo, issue: Issue) -> None:
    """The poster may edit title, body and state of their own; 403 with an empty body else."""
    if actor.who.id != issue.poster_id and not may_write(store, actor, repo, issue):
        raise Refusal(403, body="")


def insert(store: Store, repo: Repo, poster: User, *, title: str, body: str, is_pull: bool, ref: str = "") -> Issue:
    """The row, with the next number; no rights are checked and nobody is told."""
    if not title.strip():
        raise invalid("[Title]: Required")
    now = store.now()
    with store.tx():
        issue_id = store.insert(
            "issues",
            repo_id=repo.id,
            number=repos.next_number(store, repo),
            is_pull=int(is_pull),
            title=cut_title(title),
            body=body,
            poster_id=poster.id,
            ref=ref,
            created=now,
            updated=now,
        )
        issue = by_id(store, issue_id)
        references.note(store, repo, issue, poster, f"{title}\n{body}")
        return issue


def create(
    store: Store,
    actor: Actor,
    repo: Repo,
    *,
    title: str,
    body: str = "",
    label_ids: Sequence[int] = (),
    assignees: Sequence[str] = (),
    milestone_id: int = 0,
    closed: bool = False,
    ref: str = "",
) -> Issue:
    """File an issue. Any reader may; labels, assignees and milestone of a poster without write are dropped silently."""
    poster = actor.who
    access.need(store, actor, repo, Mode.READ, "issues")
    access.need_unarchived(repo)
    with store.tx():
        issue = insert(store, repo, poster, title=title, body=body, is_pull=False, ref=ref)
        if access.mode(store, actor, repo, "issues") >= Mode.WRITE:
            dress(store, repo, issue, poster, label_ids, assignees, milestone_id)
        store.notify(Event("issues", "opened", repo.id, poster.id, issue.id))
        if closed:
            set_state(store, repo, issue, poster, "closed")
        return by_id(store, issue.id)


def dress(
    store: Store,
    repo: Repo,
    issue: Issue,
    doer: User,
    label_ids: Sequence[int],
    assignees: Sequence[str],
    milestone_id: int = 0,
) -> None:
    """Labels, assignees and milestone given at creation. Exclusive scopes are not enforced here, as on Forgejo."""
    people = [_assignable(store, login) for login in assignees]
    for label in labels.wanted(store, repo, list(dict.fromkeys(label_ids))):
        store.insert("issue_labels", issue_id=issue.id, label_id=label.id)
        timeline.add(store, issue.id, "label", doer.id, "1", label_id=label.id)
    if milestone_id:
        set_milestone(store, issue, doer, milestone_id)
    for user in people:
        store.run("INSERT OR IGNORE INTO assignees (issue_id, user_id) VALUES (?, ?)", issue.id, user.id)
        timeline.add(store, issue.id, "assignees", doer.id, assignee_id=user.id, removed=False)


def _assignable(store: Store, login: str) -> User:
    user = users.find(store, login)
    if user is None or user.is_org:
        raise invalid(f"Assignee does not exist: [name: {login}]")
    return user


def comment(store: Store, actor: Actor, repo: Repo, issue: Issue, body: str) -> timeline.Entry:
    """A comment by any reader; 403 on a locked issue without write."""
    poster = actor.who
    access.need(store, actor, repo, Mode.READ, issue.unit)
    access.need_unarchived(repo)
    if not body.strip():
        raise invalid("[Body]: Required")
    if issue.locked and not may_write(store, actor, repo, issue):
        raise Refusal(403, "Issue is locked")
    with store.tx():
        entry_id = timeline.add(store, issue.id, "comment", poster.id, body)
        references.note(store, repo, issue, poster, body, comment_id=entry_id)
        name = "pull_request_comment" if issue.is_pull else "issue_comment"
        store.notify(Event(name, "created", repo.id, poster.id, issue.id, {"comment_id": entry_id}))
        return timeline.get(store, entry_id)


def set_title(store: Store, repo: Repo, issue: Issue, doer: User, title: str) -> None:
    title = cut_title(title)
    if not title.strip() or title == issue.title:
        return
    with store.tx():
        store.update("issues", issue.id, title=title)
        timeline.add(store, issue.id, "change_title", doer.id, old_title=issue.title, new_title=title)
        references.note(store, repo, issue, doer, title)
        _edited(store, repo, issue, doer, {"title": {"from": issue.title}})


def set_body(store: Store, repo: Repo, issue: Issue, doer: User, body: str) -> None:
    if body == issue.body:
        return
    with store.tx():
        store.update("issues", issue.id, body=body, updated=store.now())
        references.note(store, repo, issue, doer, body)
        _edited(store, repo, issue, doer, {"body": {"from": issue.body}})


def _edited(store: Store, repo: Repo, issue: Issue, doer: User, changes: dict[str, dict[str, str]]) -> None:
    name = "pull_request" if issue.is_pull else "issues"
    store.notify(Event(name, "edited", repo.id, doer.id, issue.id, {"changes": changes}))


def set_state(store: Store, repo: Repo, issue: Issue, doer: User, state: str, *, force: bool = False) -> None:
    """Close or reopen; anything but ``closed`` means open. 412 while a dependency is open (unless ``force``)."""
    state = "closed" if state == "closed" else "open"
    if state == issue.state:
        return
    with store.tx():
        if state == "closed" and not force and dependencies.open_blockers(store, issue.id):
            kind = "pull request" if issue.is_pull else "issue"
            raise Refusal(412, f"cannot close this {kind} because it still has open dependencies")
        now = store.now()
        store.update("issues", issue.id, state=state, closed=now if state == "closed" else None, updated=now)
        timeline.add(store, issue.id, "close" if state == "closed" else "reopen", doer.id)
        name = "pull_request" if issue.is_pull else "issues"
        store.notify(Event(name, "closed" if state == "closed" else "reopened", repo.id, doer.id, issue.id))


def set_assignees(store: Store, repo: Repo, issue: Issue, doer: User, logins: Iterable[str], *, status: int) -> None:
    """Exactly these assignees; an unknown account gives ``status`` (500 on issues, 422 on pull requests)."""
    wanted: dict[int, User] = {}
    for login in logins:
        user = users.find(store, login)
        if user is None or user.is_org:
            raise Refusal(status, f"user does not exist [uid: 0, name: {login}]")
        wanted[user.id] = user
    with store.tx():
        have = {user.id: user for user in assignees(store, issue.id)}
        for user_id, user in have.items():
            if user_id not in wanted:
                store.run("DELETE FROM assignees WHERE issue_id = ? AND user_id = ?", issue.id, user_id)
                timeline.add(store, issue.id, "assignees", doer.id, assignee_id=user.id, removed=True)
        for user_id in wanted:
            if user_id not in have:
                store.insert("assignees", issue_id=issue.id, user_id=user_id)
                timeline.add(store, issue.id, "assignees", doer.id, assignee_id=user_id, removed=False)
        if set(have) != set(wanted):
            action = "assigned" if set(wanted) - set(have) else "unassigned"
            name = "pull_request_assign" if issue.is_pull else "issue_assign"
            store.notify(Event(name, action, repo.id, doer.id, issue.id))


def assignees(store: Store, issue_id: int) -> list[User]:
    rows = store.all("SELECT user_id FROM assignees WHERE issue_id = ? ORDER BY user_id", issue_id)
    return [users.by_id(store, row[0]) for row in rows]


def set_milestone(store: Store, issue: Issue, doer: User, milestone_id: int) -> None:
    """Another milestone of the same repo; 0 clears. 404 for one that is not of this repo."""
    wanted = milestone_id or None
    if wanted == issue.milestone_id:
        return
    with store.tx():
        if wanted and store.one("SELECT 1 FROM milestones WHERE id = ? AND repo_id = ?", wanted, issue.repo_id) is None:
            raise not_found(f"milestone does not exist [id: {wanted}, repo_id: {issue.repo_id}]")
        store.update("issues", issue.id, milestone_id=wanted)
        timeline.add(store, issue.id, "milestone", doer.id, milestone_id=wanted, old_milestone_id=issue.milestone_id)
        name = "pull_request_milestone" if issue.is_pull else "issue_milestone"
        action = "milestoned" if wanted else "demilestoned"
        store.notify(Event(name, action, issue.repo_id, doer.id, issue.id))


def labels_of(store: Store, issue: Issue) -> list[Label]:
    return labels.of_issue(store, issue.id)


def delete(store: Store, issue: Issue) -> None:
    store.run("DELETE FROM issues WHERE id = ?", issue.id)
