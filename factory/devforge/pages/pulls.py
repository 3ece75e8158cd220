"""Pull requests: the list, one with its conversation, commits and diff, reviews and checks, and merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from factory.devforge import globs, merge
from factory.devforge.errors import Refusal
from factory.devforge.pages import history, items, reasons, talk, view
from factory.devforge.pages.items import readable
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Denied, Response, Visit, address, api_path, redirect
from factory.devforge.store import issues, labels, protections, pulls, repos, reviews, statuses
from factory.devforge.store.access import Mode
from factory.devforge.store.protections import Rule
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.git import objects

STYLES = {
    "merge": ("Merge", "allow_merge_commits"),
    "squash": ("Squash and merge", "allow_squash_merge"),
    "rebase": ("Rebase and merge", "allow_rebase"),
}
_SMALL = 400
"""Lines of a diff that the conversation shows below itself, so that one page is enough for a small change."""


@dataclass(frozen=True)
class Check:
    """A status, or a required context without one (``status`` None). ``required`` when the branch's rule names it."""

    context: str
    state: str
    required: bool
    status: statuses.Status | None


@page("GET", "/{owner}/{repo}/pulls")
def index(visit: Visit) -> Response:
    repo = readable(visit, "pulls")
    facts = items.listing(visit, repo, is_pull=True)
    return view.render(visit, "list.html", **view.repo_facts(visit, repo, "pulls"), **facts)


@page("GET", "/{owner}/{repo}/pulls/{index}")
def pull(visit: Visit) -> Response:
    """The conversation; with ``.diff`` or ``.patch`` after the number the plain diff, as the API's links have it."""
    repo = readable(visit, "pulls")
    number, _, kind = visit.params["index"].partition(".")
    visit.params = {**visit.params, "index": number}
    found = visit.pull(repo)
    if kind in ("diff", "patch"):
        base, head = pulls.span(repo, found)
        text = objects.diff_text(repo.path, base, head, 20_000_000)
        return Response(text.encode("utf-8", "replace"), content_type="text/plain; charset=utf-8")
    return show(visit, repo, found)


def show(visit: Visit, repo: Repo, found: Pull, problem: str = "", status: int = 200) -> Response:
    """The page of a pull request; with the reason when a form on it was refused."""
    changes = list(pulls.changes(repo, found))
    lines = sum(change.additions + change.deletions for change in changes)
    files = history.diff(repo, *pulls.span(repo, found), changes) if lines <= _SMALL else None
    return view.render(
        visit, "pull.html", status=status,
        **{**_frame(visit, repo, found, "talk"), **items.shared(visit, repo, found.issue)}, problem=problem,
        why=reasons.plain(problem) if problem else "",
        said=talk.said(visit, repo, found.issue, found), files=files, notes=_notes(visit, repo, found),
    )  # fmt: skip


def _frame(visit: Visit, repo: Repo, found: Pull, part: str) -> dict[str, Any]:
    """What all pages of a pull request show: its head, its numbers, reviews, checks and whether it can be merged."""
    rule = protections.for_branch(visit.store, repo, found.base_branch)
    given = reviews.of_pull(visit.store, found)
    base_tip = pulls.base_tip(repo, found)
    comparison = pulls.compare(repo, base_tip, found.head_sha) if base_tip and not found.merged else None
    head_repo = repo if found.head_repo_id in (None, repo.id) else repos.by_id(visit.store, found.head_repo_id or 0)
    refusal = _refusal(visit, repo, found, rule)
    viewer = visit.viewer
    return {
        **view.repo_facts(visit, repo, "pulls"),
        "pull": found,
        "item": found.issue,
        "part": part,
        "rule": rule,
        "verdicts": _verdicts(given),
        "approvals": reviews.approvals(given, rule.ignore_stale_approvals if rule else False),
        "needed": rule.required_approvals if rule else 0,
        "checks": checks(visit, repo, found.head_sha, rule),
        "comparison": comparison,
        "head_repo": head_repo,
        "totals": history.totals(list(pulls.changes(repo, found))),
        "commit_count": len(_commits(repo, found)),
        "refusal": refusal,
        "refusal_why": reasons.plain(refusal) if refusal else "",
        "styles": {key: words for key, (words, allowed) in STYLES.items() if repo.settings[allowed]},
        "may_merge": viewer is not None and protections.may_merge(visit.store, rule, repo, viewer),
        "may_update": comparison is not None and comparison.behind > 0 and visit.may(head_repo, Mode.WRITE),
        "on": labels.of_issue(visit.store, found.issue.id),
        "may_edit": viewer is not None
        and (viewer.id == found.issue.poster_id or issues.may_write(visit.store, visit.actor, repo, found.issue)),
        "own": viewer is not None and viewer.id == found.issue.poster_id,
        "counts": viewer is not None and protections.is_official(visit.store, rule, repo, viewer),
    }


def _refusal(visit: Visit, repo: Repo, found: Pull, rule: Rule | None) -> str:
    """What the API would answer to merging now, '' when it would merge. Judged by the API's own check."""
    if visit.viewer is None or found.merged or not found.issue.open:
        return ""
    try:
        merge.check(visit.store, visit.actor, repo, found, rule)
    except Refusal as refusal:
        return refusal.message
    return ""


def _verdicts(given: Sequence[reviews.Review]) -> list[reviews.Review]:
    """The latest judgement or open request of each reviewer, dismissed ones only when there is nothing newer."""
    latest: dict[tuple[int | None, int | None], reviews.Review] = {}
    for review in given:
        if review.state in (reviews.APPROVED, reviews.REJECTED, reviews.REQUEST):
            latest[(review.reviewer_id, review.team_id)] = review
    return list(latest.values())


def checks(visit: Visit, repo: Repo, sha: str, rule: Rule | None) -> list[Check]:
    """The newest status of each context, and the required contexts that nobody has reported yet."""
    patterns = rule.status_check_contexts if rule is not None and rule.enable_status_check else ()
    current = statuses.latest(visit.store, repo, sha)

    def fits(pattern: str, context: str) -> bool:
        return pattern == context or globs.matches(pattern, context)

    found = [Check(s.context, s.state, any(fits(p, s.context) for p in patterns), s) for s in current]
    missing = [p for p in patterns if not any(fits(p, s.context) for s in current)]
    return sorted(found, key=lambda c: c.context) + [Check(p, "missing", True, None) for p in missing]


def _notes(visit: Visit, repo: Repo, found: Pull) -> dict[tuple[str, int], list[Any]]:
    """Comments on lines, by (path, line: negative in the old file), for the diff."""
    notes: dict[tuple[str, int], list[Any]] = {}
    for review in reviews.of_pull(visit.store, found):
        if review.state == reviews.PENDING:
            continue
        for one in reviews.comments(visit.store, review.id):
            notes.setdefault((one.path, one.line), []).append(
                {"comment": one, "review": review, "message": talk.message(visit, repo, one.body)}
            )
    return notes


def _commits(repo: Repo, found: Pull) -> list[Any]:
    base = found.merge_base if found.merged else pulls.base_tip(repo, found)
    return objects.log(repo.path, found.head_sha, exclude=[base] if base else [], limit=250)


@page("GET", "/{owner}/{repo}/pulls/{index}/files")
def files(visit: Visit) -> Response:
    return _files(visit)


def _files(visit: Visit, problem: str = "", status: int = 200) -> Response:
    repo = readable(visit, "pulls")
    found = visit.pull(repo)
    base, head = pulls.span(repo, found)
    return view.render(
        visit, "pull_files.html", status=status, **_frame(visit, repo, found, "files"), problem=problem,
        why=reasons.plain(problem) if problem else "", notes=_notes(visit, repo, found),
        files=history.diff(repo, base, head, list(pulls.changes(repo, found))), draft=visit.sent("body"),
    )  # fmt: skip


@page("GET", "/{owner}/{repo}/pulls/{index}/commits")
def commits(visit: Visit) -> Response:
    repo = readable(visit, "pulls")
    found = visit.pull(repo)
    rows = history.rows(visit, repo, _commits(repo, found))
    return view.render(visit, "pull_commits.html", **_frame(visit, repo, found, "commits"), rows=rows)


# ---------------------------------------------------------------- acting


def _where(repo: Repo, found: Pull) -> str:
    return address(repo.owner, repo.name, "pulls", found.number)


@page("POST", "/{owner}/{repo}/pulls/{index}/review")
def review(visit: Visit) -> Response:
    """A review of the head that the page showed, whatever was pushed meanwhile."""
    repo = readable(visit, "pulls")
    found = visit.pull(repo)
    event = visit.sent("event")
    if event not in (reviews.APPROVED, reviews.REJECTED, reviews.COMMENT):
        raise Refusal(422, "Choose one: approve, request changes or comment.")
    if visit.sent("head") != found.head_sha:
        return show(visit, repo, found, "head out of date", 409)
    body = {"event": event, "body": visit.sent("body"), "commit_id": visit.sent("head")}
    try:
        visit.act("POST", api_path(repo, "pulls", found.number, "reviews"), body)
    except Denied as denied:
        return show(visit, repo, found, denied.message, denied.status)
    return redirect(_where(repo, found) + "#merge")


@page("POST", "/{owner}/{repo}/pulls/{index}/merge")
def merge_now(visit: Visit) -> Response:
    """Merge the head that the page showed; when it is refused, the same page says why."""
    repo = readable(visit, "pulls")
    found = visit.pull(repo)
    body = {
        "Do": visit.sent("style") or "merge",
        "head_commit_id": visit.sent("head"),
        "delete_branch_after_merge": visit.sent("delete") == "yes",
    }
    if not body["head_commit_id"]:
        raise Refusal(422, "The form did not say which commit was looked at.")
    try:
        visit.act("POST", api_path(repo, "pulls", found.number, "merge"), body)
    except Denied as denied:
        words = denied.message or reasons.of_conflict(denied.detail) or "already merged"
        return show(visit, repo, pulls.get(visit.store, repo, found.number), words, denied.status)
    return redirect(_where(repo, found) + "#merge")


@page("POST", "/{owner}/{repo}/pulls/{index}/update")
def update(visit: Visit) -> Response:
    """Bring the branch up to its base by a merge."""
    repo = readable(visit, "pulls")
    found = visit.pull(repo)
    try:
        visit.act("POST", api_path(repo, "pulls", found.number, "update"))
    except Denied as denied:
        return show(visit, repo, found, denied.message or "the branch cannot be updated", denied.status)
    return redirect(_where(repo, found) + "#merge")
