"""Issues: the list, filing one, its page; and what issues and pull requests share: comments, labels, state, edits."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from factory.devforge.errors import not_found
from factory.devforge.pages import talk, view
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Denied, Response, Visit, address, api_path, need_signed_in, redirect
from factory.devforge.store import access, dependencies, issues, labels, pulls, repos
from factory.devforge.store.access import Mode
from factory.devforge.store.issues import Issue
from factory.devforge.store.repos import Repo

PER_PAGE = 30
_ORDERS = {"newest": "i.number DESC", "oldest": "i.number", "updated": "i.updated DESC, i.id DESC"}


@dataclass(frozen=True)
class Wanted:
    """What a list is filtered by. ``state`` open, closed or all; ``labels`` names, all of which must be on it."""

    state: str
    labels: tuple[str, ...]
    words: str
    order: str
    number: int


def wanted(visit: Visit) -> Wanted:
    state, order = visit.asked("state", "open"), visit.asked("sort", "newest")
    names = tuple(dict.fromkeys(name for name in visit.query.get("label", ()) if name))
    return Wanted(
        state if state in ("open", "closed", "all") else "open", names, visit.asked("q").strip()[:200],
        order if order in _ORDERS else "newest", visit.page_number(),
    )  # fmt: skip


def listing(visit: Visit, repo: Repo, *, is_pull: bool) -> dict[str, Any]:
    """The facts of ``list.html``: the rows of the asked page, counts by state, and the links that change the filter."""
    asked = wanted(visit)
    where = ["i.repo_id = ?", "i.is_pull = ?"]
    args: list[Any] = [repo.id, int(is_pull)]
    if asked.words:
        where.append("i.title LIKE ? ESCAPE '!'")
        escaped = re.sub("([!%_])", r"!\1", asked.words)
        args.append(f"%{escaped}%")
    for name in asked.labels:
        where.append(
            "EXISTS (SELECT 1 FROM issue_labels x JOIN labels l ON l.id = x.label_id"
            " WHERE x.issue_id = i.id AND l.name = ?)"
        )
        args.append(name)
    condition = " AND ".join(where)
    counted = visit.store.all(f"SELECT state, count(*) FROM issues i WHERE {condition} GROUP BY state", *args)  # noqa: S608
    counts = {row[0]: row[1] for row in counted}
    if asked.state != "all":
        condition += " AND i.state = ?"
        args.append(asked.state)
    sql = f"SELECT i.* FROM issues i WHERE {condition} ORDER BY {_ORDERS[asked.order]} LIMIT ? OFFSET ?"  # noqa: S608
    found = [issues.from_row(r) for r in visit.store.all(sql, *args, PER_PAGE + 1, (asked.number - 1) * PER_PAGE)]

    def link(**change: Any) -> str:
        now: dict[str, Any] = {
            "state": asked.state, "label": asked.labels, "q": asked.words, "sort": asked.order, "page": 1, **change,
        }  # fmt: skip
        plain = {"state": "open", "label": (), "q": "", "sort": "newest", "page": 1}
        kept = {key: value for key, value in now.items() if value != plain[key]}
        query = view.query(kept)
        return address(repo.owner, repo.name, "pulls" if is_pull else "issues") + (f"?{query}" if query else "")

    comments = "SELECT count(*) FROM comments WHERE issue_id = ? AND kind = 'comment'"
    return {
        "asked": asked,
        "rows": [
            {
                "item": item,
                "labels": labels.of_issue(visit.store, item.id),
                "comments": visit.store.value(comments, item.id),
                "pull": pulls.of_issue(visit.store, item) if is_pull else None,
            }
            for item in found[:PER_PAGE]
        ],
        "more": len(found) > PER_PAGE,
        "counts": counts,
        "link": link,
        "labels": labels.usable(visit.store, repo),
        "is_pull": is_pull,
    }


def readable(visit: Visit, unit: str) -> Repo:
    """The repo when the visitor may read this unit of it."""
    repo = visit.repo()
    access.need(visit.store, visit.actor, repo, Mode.READ, unit)
    return repo


@page("GET", "/{owner}/{repo}/issues")
def index(visit: Visit) -> Response:
    repo = readable(visit, "issues")
    facts = listing(visit, repo, is_pull=False)
    return view.render(visit, "list.html", **view.repo_facts(visit, repo, "issues"), **facts)


# ---------------------------------------------------------------- filing


@page("GET", "/{owner}/{repo}/issues/new", signed_in=True)
def new(visit: Visit) -> Response:
    return _new(visit)


def _new(visit: Visit, problem: str = "", status: int = 200) -> Response:
    repo = readable(visit, "issues")
    return view.render(
        visit, "new_issue.html", status=status, **view.repo_facts(visit, repo, "issues"), problem=problem,
        title=visit.sent("title") or visit.asked("title"), body=visit.sent("body") or visit.asked("body"),
        labels=[label for label in labels.usable(visit.store, repo) if not label.archived],
        chosen=set(visit.form.get("label", ())), may_label=visit.may(repo, Mode.WRITE, "issues"),
    )  # fmt: skip


@page("POST", "/{owner}/{repo}/issues/new")
def file(visit: Visit) -> Response:
    repo = readable(visit, "issues")
    chosen = [int(number) for number in visit.form.get("label", ()) if number.isdigit() and len(number) < 12]
    try:
        made = visit.act(
            "POST",
            api_path(repo, "issues"),
            {"title": visit.sent("title"), "body": visit.sent("body"), "labels": chosen},
        )
    except Denied as denied:
        return _new(visit, denied.message, denied.status)
    return redirect(address(repo.owner, repo.name, "issues", made["number"]))


# ---------------------------------------------------------------- one issue


@page("GET", "/{owner}/{repo}/issues/{index}")
def issue(visit: Visit) -> Response:
    repo = readable(visit, "issues")
    item = visit.issue(repo)
    if item.is_pull:
        return redirect(address(repo.owner, repo.name, "pulls", item.number))
    return show(visit, repo, item)


def show(visit: Visit, repo: Repo, item: Issue, problem: str = "", status: int = 200) -> Response:
    """The page of an issue; with the reason when a form on it was refused."""
    return view.render(
        visit, "issue.html", status=status, **view.repo_facts(visit, repo, "issues"), **shared(visit, repo, item),
        problem=problem, said=talk.said(visit, repo, item),
    )  # fmt: skip


def shared(visit: Visit, repo: Repo, item: Issue) -> dict[str, Any]:
    """What the pages of issues and pull requests both show."""
    on = labels.of_issue(visit.store, item.id)
    writes = visit.viewer is not None and issues.may_write(visit.store, visit.actor, repo, item)
    own = visit.viewer is not None and visit.viewer.id == item.poster_id
    return {
        "item": item,
        "message": talk.message(visit, repo, item.body),
        "on": on,
        "labels": [label for label in labels.usable(visit.store, repo) if not label.archived or label in on],
        "may_label": writes,
        "may_edit": writes or own,
        "may_comment": visit.viewer is not None and not repo.archived and (writes or not item.locked),
        "blockers": _linked(visit, repo, dependencies.blockers(visit.store, item.id)),
        "blocks": _linked(visit, repo, dependencies.blocked_by(visit.store, item.id)),
        "assignees": issues.assignees(visit.store, item.id),
        "draft": visit.sent("body"),
    }


def _linked(visit: Visit, repo: Repo, ids: list[int]) -> list[dict[str, Any]]:
    """Issues another one is tied to. Of those in repos the visitor cannot see only the number of them is told."""
    found: list[dict[str, Any]] = []
    for item_id in ids:
        item = issues.by_id(visit.store, item_id)
        home = repos.by_id(visit.store, item.repo_id)
        seen = access.mode(visit.store, visit.actor, home, item.unit) >= Mode.READ
        found.append(
            {"item": item if seen else None, "home": home if seen and home.id != repo.id else repo, "open": item.open}
        )
    return found


# ---------------------------------------------------------------- what both kinds share


def _subject(visit: Visit) -> tuple[Repo, Issue, str]:
    """(repo, item, its address) for the forms below."""
    kind = visit.params["kind"]
    if kind not in ("issues", "pulls"):
        raise not_found()
    repo = readable(visit, kind)
    item = visit.issue(repo)
    if item.is_pull != (kind == "pulls"):
        raise not_found()
    return repo, item, address(repo.owner, repo.name, kind, item.number)


def _again(visit: Visit, repo: Repo, item: Issue, denied: Denied) -> Response:
    """The page once more, with the reason and what was typed."""
    if item.is_pull:
        from factory.devforge.pages import pulls as pull_pages

        return pull_pages.show(visit, repo, pulls.of_issue(visit.store, item), denied.message, denied.status)
    return show(visit, repo, item, denied.message, denied.status)


@page("POST", "/{owner}/{repo}/{kind}/{index}/comment")
def comment(visit: Visit) -> Response:
    """A comment; with the button ``state`` the item is closed or reopened as well, and then the text may be empty."""
    repo, item, where = _subject(visit)
    state, anchor = visit.sent("state"), ""
    try:
        if visit.sent("body").strip() or not state:
            path = api_path(repo, "issues", item.number, "comments")
            made = visit.act("POST", path, {"body": visit.sent("body")})
            anchor = f"#issuecomment-{made['id']}"
            visit.form = {**visit.form, "body": [""]}
        if state in ("open", "closed"):
            visit.act("PATCH", api_path(repo, "issues", item.number), {"state": state})
    except Denied as denied:
        return _again(visit, repo, item, denied)
    return redirect(where + anchor)


@page("POST", "/{owner}/{repo}/{kind}/{index}/labels")
def relabel(visit: Visit) -> Response:
    """Exactly the labels that are ticked."""
    repo, item, where = _subject(visit)
    chosen = [int(number) for number in visit.form.get("label", ()) if number.isdigit() and len(number) < 12]
    try:
        visit.act("PUT", api_path(repo, "issues", item.number, "labels"), {"labels": chosen})
    except Denied as denied:
        return _again(visit, repo, item, denied)
    return redirect(where)


@page("GET", "/{owner}/{repo}/{kind}/{index}/edit", signed_in=True)
def edit_form(visit: Visit) -> Response:
    repo, item, _ = _subject(visit)
    need_signed_in(visit)
    return _edit(visit, repo, item)


def _edit(visit: Visit, repo: Repo, item: Issue, problem: str = "", status: int = 200) -> Response:
    sent = bool(visit.form)
    return view.render(
        visit, "edit.html", status=status, **view.repo_facts(visit, repo, "pulls" if item.is_pull else "issues"),
        item=item, problem=problem, title=visit.sent("title") if sent else item.title,
        body=visit.sent("body") if sent else item.body,
    )  # fmt: skip


@page("POST", "/{owner}/{repo}/{kind}/{index}/edit")
def edit(visit: Visit) -> Response:
    repo, item, where = _subject(visit)
    try:
        body = {"title": visit.sent("title"), "body": visit.sent("body")}
        visit.act("PATCH", api_path(repo, "issues", item.number), body)
    except Denied as denied:
        return _edit(visit, repo, item, denied.message, denied.status)
    return redirect(where)
