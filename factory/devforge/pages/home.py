"""The front page and the page of an owner: repos, and what waits for the visitor."""

from __future__ import annotations

from typing import Any

from factory.devforge.errors import not_found
from factory.devforge.pages import view
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit
from factory.devforge.store import access, protections, pulls, repos, reviews, users
from factory.devforge.store.access import Mode
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

MAX_WAITING = 20


def _cards(visit: Visit, owner: User | None = None) -> list[dict[str, Any]]:
    """The repos the visitor may see, lately changed ones first."""
    found = [r for r in repos.every(visit.store, owner=owner) if access.best(visit.store, visit.actor, r) >= Mode.READ]
    count = "SELECT count(*) FROM issues WHERE repo_id = ? AND is_pull = ? AND state = 'open'"
    return [
        {
            "repo": repo,
            "issues": visit.store.value(count, repo.id, 0),
            "pulls": visit.store.value(count, repo.id, 1),
        }
        for repo in sorted(found, key=lambda repo: repo.updated, reverse=True)
    ]


def _waiting(visit: Visit, mine: list[Repo]) -> list[dict[str, Any]]:
    """Open pull requests that wait for this visitor: a review was asked of them, or a rule wants an approval that
    they can give and have not given."""
    me = visit.viewer
    if me is None:
        return []
    found: list[dict[str, Any]] = []
    for repo in mine:
        sql = "SELECT number FROM issues WHERE repo_id = ? AND is_pull = 1 AND state = 'open' ORDER BY created"
        for row in visit.store.all(sql, repo.id):
            pull = pulls.get(visit.store, repo, row["number"])
            why = _why(visit, repo, pull, me)
            if why:
                found.append({"repo": repo, "pull": pull, "why": why})
            if len(found) == MAX_WAITING:
                return found
    return found


def _why(visit: Visit, repo: Repo, pull: pulls.Pull, me: User) -> str:
    given = reviews.of_pull(visit.store, pull)
    if any(r.state == reviews.REQUEST and r.reviewer_id == me.id for r in given):
        return "your review was asked for"
    rule = protections.for_branch(visit.store, repo, pull.base_branch)
    if rule is None or pull.issue.poster_id == me.id or not rule.enable_approvals_whitelist:
        return ""
    if not protections.is_official(visit.store, rule, repo, me):
        return ""
    judged = any(
        r.reviewer_id == me.id and r.state in (reviews.APPROVED, reviews.REJECTED) and not r.stale and not r.dismissed
        for r in given
    )
    lacks = reviews.approvals(given, rule.ignore_stale_approvals) < rule.required_approvals
    return "it needs an approval that you can give" if lacks and not judged else ""


@page("GET", "/")
def front(visit: Visit) -> Response:
    cards = _cards(visit)
    return view.render(visit, "home.html", cards=cards, waiting=_waiting(visit, [card["repo"] for card in cards]))


@page("GET", "/{owner}")
def owner_page(visit: Visit) -> Response:
    """An account or organisation. One whose repos are all hidden from the visitor looks like any other."""
    found = users.find(visit.store, visit.params["owner"])
    if found is None or (found.visibility != "public" and visit.viewer is None):
        raise not_found()
    return view.render(visit, "owner.html", owner=found, cards=_cards(visit, found))
