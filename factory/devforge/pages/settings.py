"""For those who administer a repo: its branch rules, its webhooks and what was delivered; for everybody, its labels."""

from __future__ import annotations

import json
from typing import Any

from factory.devforge.errors import not_found
from factory.devforge.pages import view
from factory.devforge.pages.items import readable
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Response, Visit, need_signed_in
from factory.devforge.render import git as render_git
from factory.devforge.store import access, hooks, labels, protections
from factory.devforge.store.repos import Repo

MAX_DELIVERIES = 100


def _administered(visit: Visit) -> Repo:
    need_signed_in(visit)
    repo = visit.repo()
    access.need_admin(visit.store, visit.actor, repo)
    return repo


@page("GET", "/{owner}/{repo}/settings/branches", signed_in=True)
def branch_rules(visit: Visit) -> Response:
    """The rules in the API's words, names instead of ids. They are changed through the API only."""
    repo = _administered(visit)
    rules = [render_git.rule(visit.store, rule) for rule in protections.of_repo(visit.store, repo)]
    return view.render(visit, "rules.html", **view.repo_facts(visit, repo, "settings"), rules=rules)


@page("GET", "/{owner}/{repo}/settings/hooks", signed_in=True)
def webhooks(visit: Visit) -> Response:
    repo = _administered(visit)
    found = []
    for hook in hooks.of_repo(visit.store, repo):
        last = visit.store.one("SELECT * FROM deliveries WHERE hook_id = ? ORDER BY id DESC LIMIT 1", hook.id)
        found.append({"hook": hook, "last": last})
    return view.render(visit, "hooks.html", **view.repo_facts(visit, repo, "settings"), rows=found)


@page("GET", "/{owner}/{repo}/settings/hooks/{id}", signed_in=True)
def deliveries(visit: Visit) -> Response:
    """The latest deliveries of one webhook: when, what, and what the receiver answered."""
    repo = _administered(visit)
    number = visit.params["id"]
    hook = next((h for h in hooks.of_repo(visit.store, repo) if str(h.id) == number), None)
    if hook is None:
        raise not_found()
    sql = "SELECT * FROM deliveries WHERE hook_id = ? ORDER BY id DESC LIMIT ?"
    rows = [dict(row) | {"shown": _readable(row["payload"])} for row in visit.store.all(sql, hook.id, MAX_DELIVERIES)]
    return view.render(visit, "deliveries.html", **view.repo_facts(visit, repo, "settings"), hook=hook, rows=rows)


def _readable(payload: str) -> str:
    try:
        return json.dumps(json.loads(payload), indent=2, ensure_ascii=False)[:20_000]
    except ValueError:
        return payload[:20_000]


@page("GET", "/{owner}/{repo}/labels")
def label_list(visit: Visit) -> Response:
    repo = readable(visit, "issues")
    count = (
        "SELECT count(*) FROM issue_labels x JOIN issues i ON i.id = x.issue_id"
        " WHERE x.label_id = ? AND i.state = 'open'"
    )
    rows: list[dict[str, Any]] = [
        {"label": label, "open": visit.store.value(count, label.id)} for label in labels.usable(visit.store, repo)
    ]
    return view.render(visit, "labels.html", **view.repo_facts(visit, repo, "issues"), rows=rows)
