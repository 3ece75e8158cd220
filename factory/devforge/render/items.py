"""Issues, comments, timeline entries, pull requests and reviews as JSON."""

from __future__ import annotations

from typing import Any

from factory.devforge.render.people import (
    ANYBODY,
    ZERO_TIME,
    Json,
    label,
    label_id,
    milestone_id,
    repo_meta,
    team,
    user_id,
    when,
)  # fmt: skip
from factory.devforge.render.people import repo as render_repo
from factory.devforge.store import access, issues, orgs, pulls, repos, reviews, timeline
from factory.devforge.store.access import Actor, Mode
from factory.devforge.store.database import Store
from factory.devforge.store.issues import Issue
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.reviews import LineComment, Review
from factory.devforge.store.timeline import Entry


def page_of(store: Store, repo: Repo, item: Issue) -> str:
    return f"{store.root_url}/{repo.full_name}/{'pulls' if item.is_pull else 'issues'}/{item.number}"


def issue(store: Store, repo: Repo, item: Issue) -> Json:
    """An issue, or the issue side of a pull request."""
    people = [user_id(store, person.id) for person in issues.assignees(store, item.id)]
    pull = None
    if item.is_pull:
        found = pulls.of_issue(store, item)
        pull = {
            "merged": found.merged,
            "merged_at": when(found.merged_at),
            "draft": found.draft,
            "html_url": page_of(store, repo, item),
        }
    return {
        "id": item.id,
        "url": f"{store.root_url}/api/v1/repos/{repo.full_name}/issues/{item.number}",
        "html_url": page_of(store, repo, item),
        "number": item.number,
        "user": user_id(store, item.poster_id),
        "original_author": "",
        "original_author_id": 0,
        "title": item.title,
        "body": item.body,
        "ref": item.ref,
        "assets": [],
        "labels": [label(store, one) for one in issues.labels_of(store, item)],
        "milestone": milestone_id(store, item.milestone_id),
        "assignee": people[0] if people else None,
        "assignees": people or None,
        "state": item.state,
        "is_locked": item.locked,
        "comments": timeline.count(store, item.id),
        "created_at": when(item.created),
        "updated_at": when(item.updated),
        "closed_at": when(item.closed),
        "due_date": when(item.due),
        "pull_request": pull,
        "repository": repo_meta(repo),
        "pin_order": item.pin_order,
    }


def hidden_issue(store: Store, item: Issue) -> Json:
    """A blocker in a repo the viewer cannot read."""
    return {"id": item.id, "number": item.number, "title": "HIDDEN", "body": "", "state": item.state, "labels": [],
            "user": None, "created_at": when(item.created), "updated_at": when(item.updated), "pull_request": None,
            "repository": None}  # fmt: skip


def linked_issue(store: Store, viewer: Actor, item_id: int) -> Json:
    """An issue that another one names; hidden when it is in a repo the viewer cannot read."""
    item = issues.by_id(store, item_id)
    home = repos.by_id(store, item.repo_id)
    readable = access.mode(store, viewer, home, item.unit) >= Mode.READ
    return issue(store, home, item) if readable else hidden_issue(store, item)


def comment(store: Store, repo: Repo, item: Issue, entry: Entry) -> Json:
    """A comment of an issue or pull request."""
    page = page_of(store, repo, item)
    return {
        "id": entry.id,
        "html_url": f"{page}#issuecomment-{entry.id}",
        "pull_request_url": page if item.is_pull else "",
        "issue_url": "" if item.is_pull else page,
        "user": user_id(store, entry.poster_id),
        "original_author": "",
        "original_author_id": 0,
        "body": entry.body,
        "assets": [],
        "created_at": when(entry.created),
        "updated_at": when(entry.updated),
    }


def timeline_entry(store: Store, repo: Repo, item: Issue, entry: Entry, viewer: Actor) -> Json:
    """One entry of a timeline, with the fields its kind has."""
    data = entry.data
    page = page_of(store, repo, item)
    asked_team = None if data.get("team_id") is None else orgs.team(store, data["team_id"])
    dependent = data.get("dependent_issue_id")
    source = data.get("ref_issue_id")
    return {
        "id": entry.id,
        "type": entry.kind,
        "html_url": f"{page}#issuecomment-{entry.id}",
        "pull_request_url": page if item.is_pull else "",
        "issue_url": "" if item.is_pull else page,
        "user": user_id(store, entry.poster_id),
        "body": entry.body,
        "created_at": when(entry.created),
        "updated_at": when(entry.updated),
        "old_project_id": 0,
        "project_id": 0,
        "old_milestone": milestone_id(store, data.get("old_milestone_id")),
        "milestone": milestone_id(store, data.get("milestone_id")),
        "tracked_time": None,
        "old_title": data.get("old_title", ""),
        "new_title": data.get("new_title", ""),
        "old_ref": data.get("old_ref", ""),
        "new_ref": data.get("new_ref", ""),
        "ref_issue": None if not source else linked_issue(store, viewer, source),
        "ref_comment": _ref_comment(store, data.get("ref_comment_id")),
        "ref_action": data.get("ref_action", ""),
        "ref_commit_sha": data.get("ref_commit_sha", ""),
        "review_id": data.get("review_id", 0),
        "label": None if "label_id" not in data else label_id(store, data["label_id"]),
        "assignee": user_id(store, data.get("assignee_id")),
        "assignee_team": None if asked_team is None else team(store, asked_team),
        "removed_assignee": bool(data.get("removed", False)),
        "resolve_doer": None,
        "dependent_issue": None if dependent is None else linked_issue(store, viewer, dependent),
    }


def _ref_comment(store: Store, comment_id: int | None) -> Json | None:
    if not comment_id or store.one("SELECT 1 FROM comments WHERE id = ?", comment_id) is None:
        return None
    entry = timeline.get(store, comment_id)
    item = issues.by_id(store, entry.issue_id)
    return comment(store, repos.by_id(store, item.repo_id), item, entry)


# ---------------------------------------------------------------- pull requests


def pull(store: Store, repo: Repo, found: Pull, viewer: Actor = ANYBODY) -> Json:
    """A pull request; mergeable and merge base are computed now."""
    item = found.issue
    page = page_of(store, repo, item)
    base_tip = pulls.base_tip(repo, found)
    head_ref, head_sha = pulls.live_head(store, repo, found)
    mergeable, merge_base = True, found.merge_base
    if not found.merged and item.open and base_tip:
        compared = pulls.compare(repo, base_tip, found.head_sha)
        merge_base = compared.merge_base
        mergeable = compared.status in ("mergeable", "ancestor") and not found.draft and not store.checking(repo.id)
    changed = pulls.changes(repo, found)
    head_repo = None
    if found.head_repo_id is not None:
        head_repo = repo if found.head_repo_id == repo.id else repos.by_id(store, found.head_repo_id)
    shown = reviews.by_reviewer(reviews.of_pull(store, found))
    whole = issue(store, repo, item)
    return {
        "id": item.id,
        "url": page,
        "number": item.number,
        **{
            key: whole[key]
            for key in (
                "user", "title", "body", "labels", "milestone", "assignee", "assignees", "state", "is_locked",
                "comments", "created_at", "updated_at", "closed_at", "due_date", "pin_order", "html_url",
            )
        },
        "requested_reviewers": [user_id(store, r.reviewer_id) for r in shown if r.reviewer_id is not None],
        "requested_reviewers_teams": [team(store, orgs.team(store, r.team_id)) for r in shown if r.team_id is not None],
        "draft": found.draft,
        "review_comments": int(
            store.value(
                "SELECT count(*) FROM review_comments c JOIN reviews r ON r.id = c.review_id WHERE r.issue_id = ?",
                item.id,
            )
        ),
        "additions": sum(change.additions for change in changed),
        "deletions": sum(change.deletions for change in changed),
        "changed_files": len(changed),
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "mergeable": mergeable,
        "merged": found.merged,
        "merged_at": when(found.merged_at),
        "merge_commit_sha": found.merge_commit,
        "merged_by": user_id(store, found.merged_by),
        "allow_maintainer_edit": found.maintainer_edit,
        "base": _side(store, repo, repo, found.base_branch, base_tip, found.base_branch, viewer),
        "head": _side(store, repo, head_repo, head_ref, head_sha, found.head_branch, viewer),
        "merge_base": merge_base,
        "flow": 0,
    }  # fmt: skip


def _side(store: Store, base: Repo, side: Repo | None, ref: str, sha: str, branch: str, viewer: Actor) -> Json:
    return {
        "label": branch,
        "ref": ref,
        "sha": sha,
        "repo_id": 0 if side is None else side.id,
        "repo": None if side is None else render_repo(store, side, viewer),
    }


def review(store: Store, repo: Repo, found: Pull, one: Review) -> Json:
    """A review, and whether it counts and is stale."""
    page = page_of(store, repo, found.issue)
    return {
        "id": one.id,
        "user": user_id(store, one.reviewer_id),
        "team": None if one.team_id is None else team(store, orgs.team(store, one.team_id)),
        "state": one.state,
        "body": one.body,
        "commit_id": one.commit_id,
        "stale": one.stale,
        "official": one.official,
        "dismissed": one.dismissed,
        "comments_count": len(reviews.comments(store, one.id)),
        "submitted_at": when(one.created),
        "updated_at": when(one.updated),
        "html_url": f"{page}#issuecomment-{one.id}",
        "pull_request_url": page,
    }


def line_comment(store: Store, repo: Repo, found: Pull, one: LineComment) -> Json:
    """A comment on a line of the diff."""
    page = page_of(store, repo, found.issue)
    return {
        "id": one.id,
        "body": one.body,
        "user": user_id(store, one.poster_id),
        "resolver": None,
        "pull_request_review_id": one.review_id,
        "created_at": when(one.created),
        "updated_at": when(one.updated),
        "path": one.path,
        "commit_id": one.commit_id,
        "original_commit_id": one.commit_id,
        "diff_hunk": one.hunk,
        "position": max(one.line, 0),
        "original_position": max(-one.line, 0),
        "html_url": f"{page}#issuecomment-{one.id}",
        "pull_request_url": page,
    }


def zero_or(seconds: int | None) -> Any:
    """For Forgejo's non-pointer times: the zero time instead of null."""
    return when(seconds) or ZERO_TIME
