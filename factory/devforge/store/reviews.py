"""Reviews of pull requests: official, stale, dismissed, requested (reference, section 3.4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.store import access, orgs, protections, pulls, timeline, users
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.events import Event
from factory.devforge.store.orgs import Team
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User
from factory.git import objects

APPROVED, REJECTED, COMMENT, PENDING, REQUEST = (
    "APPROVED", "REQUEST_CHANGES", "COMMENT", "PENDING", "REQUEST_REVIEW",
)  # fmt: skip


@dataclass(frozen=True)
class Review:
    """``digest`` is of the change that was reviewed: staleness is decided on it."""

    id: int
    issue_id: int
    reviewer_id: int | None
    team_id: int | None
    state: str
    body: str
    commit_id: str
    digest: str
    official: bool
    stale: bool
    dismissed: bool
    created: int
    updated: int


@dataclass(frozen=True)
class LineComment:
    """``line`` counts in the new file when positive, in the old one when negative."""

    id: int
    review_id: int
    poster_id: int
    path: str
    line: int
    body: str
    commit_id: str
    hunk: str
    created: int
    updated: int


def _review(row: Row) -> Review:
    flags = {name: bool(row[name]) for name in ("official", "stale", "dismissed")}
    return Review(**{**dict(row), **flags})


def of_pull(store: Store, pull: Pull) -> list[Review]:
    """All, oldest first: dismissed ones, drafts and requests among them."""
    return [_review(row) for row in store.all("SELECT * FROM reviews WHERE issue_id = ? ORDER BY id", pull.issue.id)]


def get(store: Store, pull: Pull, review_id: int) -> Review:
    row = store.one("SELECT * FROM reviews WHERE id = ? AND issue_id = ?", review_id, pull.issue.id)
    if row is None:
        raise not_found(f"review does not exist [id: {review_id}]")
    return _review(row)


def comments(store: Store, review_id: int) -> list[LineComment]:
    rows = store.all("SELECT * FROM review_comments WHERE review_id = ? ORDER BY id", review_id)
    return [LineComment(**dict(row)) for row in rows]


def by_reviewer(found: Sequence[Review]) -> list[Review]:
    """Latest non-dismissed approval, rejection or request of each reviewer: what ``requested_reviewers`` shows."""
    latest: dict[tuple[int | None, int | None], Review] = {}
    for review in found:
        if review.state in (APPROVED, REJECTED, REQUEST) and not review.dismissed:
            latest[(review.reviewer_id, review.team_id)] = review
    return sorted(latest.values(), key=lambda review: review.id)


def submit(
    store: Store,
    actor: Actor,
    repo: Repo,
    pull: Pull,
    *,
    event: str,
    body: str = "",
    commit_id: str = "",
    line_comments: Sequence[Mapping[str, Any]] = (),
    pending_id: int | None = None,
) -> Review:
    """Write a review. Any reader may; an unknown ``event`` becomes a draft, as on Forgejo.

    422 for judging one's own pull request and for a missing body. With ``pending_id`` that draft is submitted.
    """
    author = actor.who
    access.need(store, actor, repo, Mode.READ, "pulls")
    state = event if event in (APPROVED, REJECTED, COMMENT) else PENDING
    own = author.id == pull.issue.poster_id
    if own and state == APPROVED:
        raise invalid("approve your own pull is not allowed")
    if own and state == REJECTED:
        raise invalid("reject your own pull is not allowed")
    draft = _draft(store, pull, author)
    has_comments = bool(line_comments) or (draft is not None and bool(comments(store, draft.id)))
    if not body.strip() and (state in (REJECTED, PENDING) or (state == COMMENT and not has_comments)):
        raise invalid(f"review event {'' if state == PENDING else state} requires a body")
    commit = pull.head_sha if not commit_id else objects.resolve_commit(repo.path, commit_id)
    if commit is None:
        if store.strict:
            raise invalid(f"commit_id {commit_id} is not a commit of {repo.full_name}")
        raise Refusal(500, f"object does not exist [id: {commit_id}]")
    rule = protections.for_branch(store, repo, pull.base_branch)
    base = pulls.base_tip(repo, pull)
    reviewed, current = pulls.digest(repo, base, commit), pulls.digest(repo, base, pull.head_sha)
    with store.tx():
        if state in (APPROVED, REJECTED):
            store.run(
                "UPDATE reviews SET official = 0 WHERE issue_id = ? AND reviewer_id = ?", pull.issue.id, author.id
            )
            if draft is None:
                sql = (
                    "UPDATE reviews SET dismissed = 1 WHERE issue_id = ? AND reviewer_id = ?"
                    " AND state IN ('APPROVED', 'REQUEST_CHANGES')"
                )
                store.run(sql, pull.issue.id, author.id)
        if state != PENDING:
            sql = "DELETE FROM reviews WHERE issue_id = ? AND reviewer_id = ? AND state = 'REQUEST_REVIEW'"
            store.run(sql, pull.issue.id, author.id)
        now = store.now()
        facts: dict[str, Any] = {
            "state": state,
            "body": body,
            "commit_id": commit,
            "digest": reviewed,
            "official": int(state in (APPROVED, REJECTED) and protections.is_official(store, rule, repo, author)),
            "stale": int(reviewed != current),
            "updated": now,
        }
        if draft is not None:
            review_id = draft.id
            store.update("reviews", review_id, **facts)
        else:
            review_id = store.insert("reviews", issue_id=pull.issue.id, reviewer_id=author.id, created=now, **facts)
        for item in line_comments:
            add_comment(store, pull, review_id, author, item, commit)
        if state != PENDING:
            timeline.add(store, pull.issue.id, "review", author.id, body, review_id=review_id)
            more = {"review_id": review_id, "state": state, "body": body}
            store.notify(Event("pull_request_review", "reviewed", repo.id, author.id, pull.issue.id, more))
        return get(store, pull, review_id)


def submit_draft(
    store: Store, actor: Actor, repo: Repo, pull: Pull, review: Review, *, event: str, body: str
) -> Review:
    """Submit one's own draft at the pull request's current head; 422 when it is none."""
    if review.state != PENDING or review.reviewer_id != actor.who.id:
        raise invalid("only pending reviews can be submitted")
    if event not in (APPROVED, REJECTED, COMMENT):
        raise invalid("review event is not valid")
    return submit(store, actor, repo, pull, event=event, body=body)


def _draft(store: Store, pull: Pull, author: User) -> Review | None:
    row = store.one(
        "SELECT * FROM reviews WHERE issue_id = ? AND reviewer_id = ? AND state = 'PENDING'", pull.issue.id, author.id
    )
    return None if row is None else _review(row)


def add_comment(
    store: Store, pull: Pull, review_id: int, author: User, item: Mapping[str, Any], commit: str
) -> LineComment:
    """One comment on a line: ``path``, ``body`` and ``new_position`` or ``old_position``."""
    path, body = str(item.get("path") or ""), str(item.get("body") or "")
    if not path or not body.strip():
        raise invalid("[Path]: Required" if not path else "[Body]: Required")
    new, old = item.get("new_position") or 0, item.get("old_position") or 0
    if not all(isinstance(position, int) and 0 <= position < 2**31 for position in (new, old)):
        raise invalid("json: cannot unmarshal a position into Go struct field of type int64")
    line = new or -old
    now = store.now()
    with store.tx():
        made = store.insert(
            "review_comments",
            review_id=review_id,
            poster_id=author.id,
            path=path,
            line=line,
            body=body,
            commit_id=commit,
            created=now,
            updated=now,
        )
        # Never shown there, and yet it takes a row of the timeline's pages.
        timeline.add(store, pull.issue.id, "code", author.id)
        row = store.one("SELECT * FROM review_comments WHERE id = ?", made)
        assert row is not None
        return LineComment(**dict(row))


def delete(store: Store, actor: Actor, pull: Pull, review: Review) -> None:
    """Own or as site admin. Deleting an official one makes the user's previous one official again."""
    if review.reviewer_id != actor.who.id and not actor.site_admin:
        raise forbidden("")
    with store.tx():
        store.run("DELETE FROM reviews WHERE id = ?", review.id)
        if review.official:
            row = store.one(
                "SELECT id FROM reviews WHERE issue_id = ? AND reviewer_id = ?"
                " AND state IN ('APPROVED', 'REQUEST_CHANGES') ORDER BY id DESC",
                pull.issue.id,
                review.reviewer_id,
            )
            if row is not None:
                store.update("reviews", row["id"], official=1)


def dismiss(
    store: Store, actor: Actor, repo: Repo, pull: Pull, review: Review, *, message: str = "", dismissed: bool = True,
    priors: bool = False,
) -> Review:  # fmt: skip
    """Dismiss or un-dismiss an approval or rejection: repo admins only, and only while the pull request is open."""
    if not access.administers(store, actor, repo):
        raise forbidden("Must be repo admin")
    if review.state not in (APPROVED, REJECTED):
        raise forbidden("not need to dismiss this review because it's type is not Approve or change request")
    if not pull.issue.open:
        raise forbidden("not need to dismiss this review because this pr is closed")
    with store.tx():
        affected = [review]
        if priors:
            affected += [
                other
                for other in of_pull(store, pull)
                if other.reviewer_id == review.reviewer_id
                and other.state in (APPROVED, REJECTED)
                and other.id < review.id
            ]
        for one in affected:
            store.update("reviews", one.id, dismissed=int(dismissed), updated=store.now())
        if dismissed:
            timeline.add(store, pull.issue.id, "dismiss_review", actor.who.id, message, review_id=review.id)
        return get(store, pull, review.id)


# ---------------------------------------------------------------- requests


def request(
    store: Store, actor: Actor, repo: Repo, pull: Pull, logins: Sequence[str], teams: Sequence[str]
) -> list[Review]:
    """Ask for reviews. 404 unknown account, 422 for the poster, for one who cannot read, or a doer without the right.

    Asking an official reviewer again takes ``official`` off their earlier reviews: Forgejo's trap, kept.
    """
    doer = actor.who
    people = [users.person(store, login) for login in logins]
    groups = [_team(store, repo, name) for name in teams]
    if doer.id != pull.issue.poster_id and access.mode(store, actor, repo, "pulls") < Mode.WRITE:
        raise invalid("Doer can't choose reviewer")
    for person in people:
        if person.id == pull.issue.poster_id:
            raise invalid("poster of pr can't be reviewer")
        if access.user_mode(store, person, repo, "pulls") < Mode.READ:
            raise invalid("Reviewer can't read")
    rule = protections.for_branch(store, repo, pull.base_branch)
    made: list[Review] = []
    with store.tx():
        for person in people:
            current = [r for r in by_reviewer(of_pull(store, pull)) if r.reviewer_id == person.id]
            if current and current[-1].state == REQUEST:
                continue
            official = protections.is_official(store, rule, repo, person)
            if official:
                store.run(
                    "UPDATE reviews SET official = 0 WHERE issue_id = ? AND reviewer_id = ?", pull.issue.id, person.id
                )
            made.append(_ask(store, repo, pull, doer, official=official, reviewer_id=person.id))
        for team in groups:
            if not any(r.team_id == team.id and r.state == REQUEST for r in of_pull(store, pull)):
                official = orgs.level(team.permission) >= Mode.WRITE or team.units.get("repo.code") == "write"
                made.append(_ask(store, repo, pull, doer, official=official, team_id=team.id))
    return made


def _ask(store: Store, repo: Repo, pull: Pull, doer: User, *, official: bool, **whom: int) -> Review:
    now = store.now()
    review_id = store.insert(
        "reviews",
        issue_id=pull.issue.id,
        state=REQUEST,
        commit_id="",
        official=int(official),
        created=now,
        updated=now,
        **whom,
    )
    timeline.add(
        store, pull.issue.id, "review_request", doer.id, assignee_id=whom.get("reviewer_id"), removed=False,
        team_id=whom.get("team_id"), review_id=review_id,
    )  # fmt: skip
    store.notify(Event("pull_request_review_request", "review_requested", repo.id, doer.id, pull.issue.id, whom))
    return get(store, pull, review_id)


def withdraw(store: Store, actor: Actor, repo: Repo, pull: Pull, logins: Sequence[str], teams: Sequence[str]) -> None:
    """Take requests back; those that are not there are passed over."""
    doer = actor.who
    people = [users.person(store, login) for login in logins]
    groups = [_team(store, repo, name) for name in teams]
    if doer.id != pull.issue.poster_id and access.mode(store, actor, repo, "pulls") < Mode.WRITE:
        raise invalid("Doer can't choose reviewer")
    with store.tx():
        for review in of_pull(store, pull):
            if review.state != REQUEST:
                continue
            if review.reviewer_id in {p.id for p in people} or review.team_id in {t.id for t in groups}:
                store.run("DELETE FROM reviews WHERE id = ?", review.id)
                whom: dict[str, Any] = {"assignee_id": review.reviewer_id, "team_id": review.team_id}
                timeline.add(store, pull.issue.id, "review_request", doer.id, removed=True, **whom)
                more = {"reviewer_id": review.reviewer_id}
                name = "pull_request_review_request"
                store.notify(Event(name, "review_request_removed", repo.id, doer.id, pull.issue.id, more))


def _team(store: Store, repo: Repo, name: str) -> Team:
    team = orgs.find_team(store, repo.owner_id, name)
    if team is None:
        raise not_found(f"team does not exist [name: {name}]")
    return team


# ---------------------------------------------------------------- after a push


def head_moved(store: Store, repo: Repo, pull: Pull, doer: User, new_head: str) -> None:
    """Mark reviews stale or fresh against the new head, and dismiss approvals where the rule says so.

    Once stale, a review is fresh again only when the head is the very commit it was given to.
    Called in the transaction of the push, before it returns: Forgejo does this later, which leaves a window for
    merging what nobody reviewed (reference, section 4.1).
    """
    current = pulls.digest(repo, pulls.base_tip(repo, pull), new_head)
    rule = protections.for_branch(store, repo, pull.base_branch)
    for review in of_pull(store, pull):
        if review.state == REQUEST:
            continue
        stale = review.commit_id != new_head and (review.stale or review.digest != current)
        if stale != review.stale:
            store.update("reviews", review.id, stale=int(stale))
        if (
            stale
            and rule is not None
            and rule.dismiss_stale_approvals
            and review.state == APPROVED
            and not review.dismissed
        ):
            store.update("reviews", review.id, dismissed=1)
            timeline.add(store, pull.issue.id, "dismiss_review", doer.id, "", review_id=review.id)


# ---------------------------------------------------------------- what counts for merging


def approvals(found: Sequence[Review], ignore_stale: bool) -> int:
    """Approvals that count: official, not dismissed, and not stale where stale ones are ignored."""
    return sum(
        review.state == APPROVED and review.official and not review.dismissed and not (ignore_stale and review.stale)
        for review in found
    )


def rejected(found: Sequence[Review]) -> bool:
    """Any official rejection that is not dismissed; stale ones too."""
    return any(review.state == REJECTED and review.official and not review.dismissed for review in found)


def requested(found: Sequence[Review]) -> bool:
    """Any open request to an official reviewer or team."""
    return any(review.state == REQUEST and review.official for review in found)
