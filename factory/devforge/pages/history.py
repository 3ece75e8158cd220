"""Commits, branches, and the comparison from which a pull request is opened."""

from __future__ import annotations

from typing import Any

from factory.devforge.errors import not_found
from factory.devforge.pages import code, diffs, view
from factory.devforge.pages.code import readable, spot
from factory.devforge.pages.routes import page
from factory.devforge.pages.visit import Denied, Response, Visit, address, api_path, need_signed_in, redirect
from factory.devforge.store import protections, pulls, statuses
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import EMPTY_TREE, CommitInfo, PathChange

PER_PAGE = 40
MAX_DIFF = 600_000
"""Bytes of a diff that a page shows."""


def diff(repo: Repo, base: str, head: str, changes: list[PathChange] | None = None) -> list[diffs.FileDiff]:
    """What changed from one commit (or tree) to another, for ``diff.html``."""
    found = objects.diff_paths(repo.path, base, head) if changes is None else changes
    return diffs.read(objects.diff_text(repo.path, base, head, MAX_DIFF), found)


def totals(changes: list[PathChange]) -> dict[str, int]:
    return {
        "files": len(changes),
        "additions": sum(change.additions for change in changes),
        "deletions": sum(change.deletions for change in changes),
    }


def account_of(visit: Visit, commit: CommitInfo) -> str:
    """The login behind a commit's author address, '' when it is nobody's."""
    sql = "SELECT login FROM users WHERE email = ? COLLATE NOCASE AND is_org = 0"
    return visit.store.value(sql, commit.author.email) or ""


@page("GET", "/{owner}/{repo}/commits/{kind}/{rest...}")
def commits(visit: Visit) -> Response:
    where = spot(readable(visit), visit.params["kind"], visit.params["rest"])
    if where.path:
        raise not_found()
    number = visit.page_number()
    if number > 250:
        raise not_found()
    found = objects.log(where.repo.path, where.sha, limit=number * PER_PAGE + 1)
    shown = found[(number - 1) * PER_PAGE : number * PER_PAGE]
    return view.render(
        visit, "commits.html", **view.repo_facts(visit, where.repo, "commits"), spot=where, number=number,
        branches=code.branches(where.repo), more=len(found) > number * PER_PAGE, rows=rows(visit, where.repo, shown),
    )  # fmt: skip


def rows(visit: Visit, repo: Repo, found: list[CommitInfo]) -> list[dict[str, Any]]:
    """Commits with the account of their author and the worst of their statuses."""
    return [
        {
            "commit": commit,
            "login": account_of(visit, commit),
            "state": statuses.worst(status.state for status in statuses.latest(visit.store, repo, commit.oid)),
        }
        for commit in found
    ]


@page("GET", "/{owner}/{repo}/commit/{sha}")
def commit(visit: Visit) -> Response:
    repo = readable(visit)
    where = spot(repo, "commit", visit.params["sha"])
    info = objects.commit_info(repo.path, where.sha)
    base = info.parents[0] if info.parents else EMPTY_TREE
    changes = objects.diff_paths(repo.path, base, where.sha)
    return view.render(
        visit, "commit.html", **view.repo_facts(visit, repo, "commits"), commit=info, login=account_of(visit, info),
        files=diff(repo, base, where.sha, changes), totals=totals(changes), notes={},
        checks=statuses.latest(visit.store, repo, where.sha),
    )  # fmt: skip


@page("GET", "/{owner}/{repo}/branches")
def branches(visit: Visit) -> Response:
    repo = readable(visit)
    found = []
    tips = code.branches(repo)
    base = tips.get(repo.default_branch)
    for name, tip in list(tips.items())[:200]:
        ahead, behind = objects.ahead_behind(repo.path, tip, base) if base else (0, 0)
        found.append(
            {
                "name": name,
                "tip": objects.commit_info(repo.path, tip),
                "ahead": ahead,
                "behind": behind,
                "rule": protections.for_branch(visit.store, repo, name),
                "pulls": pulls.open_with_head(visit.store, repo, name),
            }
        )
    return view.render(visit, "branches.html", **view.repo_facts(visit, repo, "branches"), rows=found, total=len(tips))


# ---------------------------------------------------------------- a new pull request


@page("GET", "/{owner}/{repo}/compare")
def compare_form(visit: Visit) -> Response:
    return _compare(visit, visit.asked("base"), visit.asked("head"))


@page("GET", "/{owner}/{repo}/compare/{range...}")
def compare(visit: Visit) -> Response:
    base, _, head = visit.params["range"].partition("...")
    return _compare(visit, base, head)


def _compare(visit: Visit, base: str, head: str, problem: str = "", status: int = 200) -> Response:
    repo = readable(visit)
    known = code.branches(repo)
    base = base or repo.default_branch
    facts: dict[str, Any] = {"files": [], "totals": None, "rows": [], "comparison": None, "existing": None}
    ends = [known.get(name) or _commit_named(repo, name) for name in (base, head)]
    if ends[0] and ends[1] and ends[0] != ends[1]:
        comparison = pulls.compare(repo, ends[0], ends[1])
        start = comparison.merge_base or EMPTY_TREE
        changes = objects.diff_paths(repo.path, start, ends[1])
        found = objects.log(repo.path, ends[1], exclude=[ends[0]], limit=PER_PAGE)
        facts = {
            "comparison": comparison,
            "files": diff(repo, start, ends[1], changes),
            "totals": totals(changes),
            "rows": rows(visit, repo, found),
            "existing": next((p for p in pulls.open_with_head(visit.store, repo, head) if p.base_branch == base), None),
        }
    newest = facts["rows"][0]["commit"].message if facts["rows"] else ""
    title, _, body = newest.partition("\n")
    return view.render(
        visit, "compare.html", status=status, **view.repo_facts(visit, repo, "pulls"), **facts, base=base, head=head,
        branches=known, problem=problem, notes={}, both=base in known and head in known,
        title=visit.sent("title") or title, body=visit.sent("body") or body.strip(),
    )  # fmt: skip


def _commit_named(repo: Repo, name: str) -> str | None:
    """A full commit id, as push events link to them."""
    return objects.resolve_commit(repo.path, name) if len(name) == 40 and code.is_hex(name) else None


@page("POST", "/{owner}/{repo}/compare")
def open_pull(visit: Visit) -> Response:
    need_signed_in(visit)
    repo = readable(visit)
    body = {name: visit.sent(name) for name in ("base", "head", "title", "body")}
    try:
        made = visit.act("POST", api_path(repo, "pulls"), body)
    except Denied as denied:
        return _compare(visit, body["base"], body["head"], denied.message, denied.status)
    return redirect(address(repo.owner, repo.name, "pulls", made["number"]))
