"""Issues, the search across repos, milestones, pins, reactions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from factory.devforge.api.call import Answer, Call, created, is_number, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.moves import refresh_head
from factory.devforge.render import items, people
from factory.devforge.store import access, dependencies, issues, pulls, repos, timeline, users
from factory.devforge.store.access import Mode
from factory.devforge.store.database import Row, Store
from factory.devforge.store.issues import Issue
from factory.devforge.store.repos import Repo

_SORTS = {
    "recentupdate": "updated DESC, i.id DESC", "leastupdate": "updated ASC, i.id ASC",
    "oldest": "created ASC, i.id ASC", "newest": "created DESC, i.id DESC",
    "latest": "created DESC, i.id DESC", "mostcomment": "comments DESC, i.id DESC",
    "leastcomment": "comments ASC, i.id ASC",
}  # fmt: skip


class _Filter:
    """Conditions of a query over ``issues i``, grown one by one."""

    def __init__(self) -> None:
        self.where: list[str] = []
        self.args: list[Any] = []

    def add(self, condition: str, *args: Any) -> None:
        self.where.append(condition)
        self.args += args

    def rows(self, store: Store, order: str) -> list[Row]:
        comments = "(SELECT count(*) FROM comments c WHERE c.issue_id = i.id AND c.kind = 'comment')"
        extra = f", {comments} AS comments" if "comments" in order else ""
        where = " AND ".join(self.where) or "1"
        return store.all(f"SELECT i.id{extra} FROM issues i WHERE {where} ORDER BY {order}", *self.args)  # noqa: S608


def _common(call: Call, found: _Filter, *, default_state: str = "open") -> None:
    state = call.query("state", default_state)
    if state != "all":
        found.add("i.state = ?", "closed" if state == "closed" else "open")
    kind = call.query("type")
    if kind in ("issues", "pulls"):
        found.add("i.is_pull = ?", int(kind == "pulls"))
    since, before = call.time("since"), call.time("before")
    if since is not None:
        found.add("i.updated >= ?", since)
    if before is not None:
        found.add("i.updated <= ?", before)
    if call.query("q"):
        wanted = f"%{call.query('q')}%"
        said = "EXISTS (SELECT 1 FROM comments c WHERE c.issue_id = i.id AND c.kind = 'comment' AND c.body LIKE ?)"
        found.add(f"(i.title LIKE ? OR i.body LIKE ? OR {said})", wanted, wanted, wanted)


def _user_filter(call: Call, found: _Filter, parameter: str, condition: str) -> None:
    login = call.query(parameter)
    if login:
        found.add(condition, users.person(call.store, login).id)


_ASSIGNED = "EXISTS (SELECT 1 FROM assignees a WHERE a.issue_id = i.id AND a.user_id = ?)"


@ROUTER.add("GET", R + "/issues", "issue")
def list_issues(call: Call) -> Answer:
    store, repo = call.store, call.repo()
    found = _Filter()
    found.add("i.repo_id = ?", repo.id)
    for unit, flag in (("issues", 0), ("pulls", 1)):
        if access.mode(store, call.actor, repo, unit) < Mode.READ:
            found.add("i.is_pull <> ?", flag)
    _common(call, found)
    _user_filter(call, found, "created_by", "i.poster_id = ?")
    _user_filter(call, found, "assigned_by", _ASSIGNED)
    names = [name for name in call.query("labels").split(",") if name]
    known = [
        row["name"]
        for name in dict.fromkeys(names)
        for row in store.all(
            "SELECT DISTINCT name FROM labels WHERE name = ? AND (repo_id = ? OR org_id = ?)",
            name,
            repo.id,
            repo.owner_id,
        )
    ]
    # Unknown names do not filter: with none known everything is listed. A trap of Forgejo's, kept.
    for name in known:
        worn = "SELECT 1 FROM issue_labels x JOIN labels l ON l.id = x.label_id WHERE x.issue_id = i.id AND l.name = ?"
        found.add(f"EXISTS ({worn})", name)
    stones = [name for name in call.query("milestones").split(",") if name]
    if stones:
        marks = ", ".join("?" * len(stones))
        inner = (
            f"SELECT id FROM milestones m WHERE m.repo_id = i.repo_id AND (m.title IN ({marks}) OR m.id IN ({marks}))"  # noqa: S608
        )
        found.add(f"i.milestone_id IN ({inner})", *stones, *stones)
    rows = found.rows(store, _SORTS.get(call.query("sort"), _SORTS["newest"]))
    page = [items.issue(store, repo, issues.by_id(store, row["id"])) for row in call.cut(rows)]
    return Answer(200, page, call.linked(len(rows)))


@ROUTER.add("GET", "/repos/issues/search", "issue")
def search(call: Call) -> Answer:
    """Across the repos the actor can read: the poll of an idle factory."""
    store = call.store
    found = _Filter()
    owner = call.query("owner")
    candidates = repos.every(store, owner=users.get(store, owner)) if owner else repos.every(store)
    readable: list[str] = []
    for repo in candidates:
        for unit, flag in (("issues", 0), ("pulls", 1)):
            if access.mode(store, call.actor, repo, unit) >= Mode.READ:
                readable.append(f"(i.repo_id = {repo.id} AND i.is_pull = {flag})")
    found.add(f"({' OR '.join(readable) or '0'})")
    _common(call, found)
    names = [name for name in call.query("labels").split(",") if name]
    if names:
        marks = ", ".join("?" * len(names))
        inner = f"SELECT 1 FROM issue_labels x JOIN labels l ON l.id = x.label_id WHERE x.issue_id = i.id AND l.name IN ({marks})"  # noqa: S608, E501
        found.add(f"EXISTS ({inner})", *names)
    me = call.actor.user
    if me is not None:
        if call.flag("created"):
            found.add("i.poster_id = ?", me.id)
        if call.flag("assigned"):
            found.add(_ASSIGNED, me.id)
        reviewed = "EXISTS (SELECT 1 FROM reviews v WHERE v.issue_id = i.id AND v.reviewer_id = ? AND v.state {})"
        if call.flag("review_requested"):
            found.add(reviewed.format("= 'REQUEST_REVIEW'"), me.id)
        if call.flag("reviewed"):
            found.add(reviewed.format("IN ('APPROVED', 'REQUEST_CHANGES', 'COMMENT')"), me.id)
    rows = found.rows(store, _SORTS.get(call.query("sort"), _SORTS["newest"]))
    page = []
    for row in call.cut(rows):
        item = issues.by_id(store, row["id"])
        page.append(items.issue(store, repos.by_id(store, item.repo_id), item))
    return Answer(200, page, call.linked(len(rows)))


@ROUTER.add("POST", R + "/issues", "issue", token=True)
def create_issue(call: Call) -> Answer:
    repo = call.repo()
    if not call.text("title").strip():
        raise invalid("[Title]: Required")
    made = issues.create(
        call.store,
        call.actor,
        repo,
        title=call.text("title"),
        body=call.text("body"),
        label_ids=call.numbers("labels"),
        assignees=call.strings("assignees") or ([call.text("assignee")] if call.text("assignee") else []),
        milestone_id=call.number("milestone"),
        closed=call.switch("closed"),
        ref=call.text("ref"),
    )
    return created(items.issue(call.store, repo, made))


@ROUTER.add("GET", R + "/issues/{index}", "issue")
def get_issue(call: Call) -> Answer:
    repo = call.repo()
    return Answer(200, items.issue(call.store, repo, call.issue(repo)))


def edit_common(call: Call, repo: Repo, item: Issue) -> None:
    """What PATCH does for issues and pull requests alike: title, body, assignees, milestone, state."""
    store, doer = call.store, call.who
    writes = issues.may_write(store, call.actor, repo, item)
    if call.has("title"):
        issues.set_title(store, repo, item, doer, call.text("title"))
    if call.has("body"):
        issues.set_body(store, repo, item, doer, call.text("body"))
    if writes and (call.has("assignees") or call.has("assignee")):
        wanted = call.strings("assignees") or ([call.text("assignee")] if call.text("assignee") else [])
        issues.set_assignees(store, repo, item, doer, wanted, status=422 if item.is_pull else 500)
    if writes and call.has("milestone") and (call.number("milestone") or not item.is_pull):
        issues.set_milestone(store, item, doer, call.number("milestone"))
    if writes and call.has("due_date"):
        store.update("issues", item.id, due=_day(call.text("due_date")), updated=store.now())
    if call.has("state"):
        wanted_state = "closed" if call.text("state") == "closed" else "open"
        if item.is_pull and wanted_state == "open" and item.state == "closed":
            found = pulls.of_issue(store, item)
            if found.merged:
                raise Refusal(412, "cannot change state of this pull request, it was already merged")
            issues.set_state(store, repo, item, doer, "open")
            refresh_head(store, repo, doer, pulls.of_issue(store, issues.by_id(store, item.id)))
        else:
            issues.set_state(store, repo, item, doer, wanted_state)


def _day(text: str) -> int:
    """A due date snaps to the last second of its day."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise invalid(f'parsing time "{text}"') from None
    return int(moment.replace(hour=23, minute=59, second=59).timestamp())


@ROUTER.add("PATCH", R + "/issues/{index}", "issue", token=True)
def edit_issue(call: Call) -> Answer:
    store, repo = call.store, call.repo()
    with store.exclusive(), store.tx():
        item = call.issue(repo)
        issues.need_edit(store, call.actor, repo, item)
        access.need_unarchived(repo)
        if item.is_pull and call.text("state") == "closed" and pulls.of_issue(store, item).merged:
            raise Refusal(412, "cannot change state of this pull request, it was already merged")
        edit_common(call, repo, item)
        if call.has("ref"):
            store.update("issues", item.id, ref=call.text("ref"), updated=store.now())
        return created(items.issue(store, repo, issues.by_id(store, item.id)))


@ROUTER.add("DELETE", R + "/issues/{index}", "issue", token=True)
def delete_issue(call: Call) -> Answer:
    repo = call.repo_admin()
    issues.delete(call.store, call.issue(repo))
    return nothing()


# ---------------------------------------------------------------- dependencies


def _other(call: Call, repo: Repo) -> Issue:
    body = call.json()
    owner, name = str(body.get("owner") or ""), str(body.get("repo") or "")
    target = repos.find(call.store, owner, name)
    if target is None:
        raise not_found(f"repository does not exist [id: 0, owner_name: {owner}, name: {name}]")
    if access.mode(call.store, call.actor, target, "issues") < Mode.READ:
        raise not_found()
    return issues.get(call.store, target, call.number("index"))


def _linked(call: Call, ids: Sequence[int]) -> Answer:
    return Answer(200, [items.linked_issue(call.store, call.actor, item_id) for item_id in call.cut(ids)])


@ROUTER.add("GET", R + "/issues/{index}/dependencies", "issue")
def list_dependencies(call: Call) -> Answer:
    return _linked(call, dependencies.blockers(call.store, call.issue(call.repo()).id))


@ROUTER.add("GET", R + "/issues/{index}/blocks", "issue")
def list_blocks(call: Call) -> Answer:
    return _linked(call, dependencies.blocked_by(call.store, call.issue(call.repo()).id))


def _change_dependency(call: Call, *, add: bool, mirrored: bool) -> Answer:
    store, repo = call.store, call.repo()
    access.need_unarchived(repo)
    with store.tx():
        item, other = call.issue(repo), _other(call, repo)
        first, second = (other, item) if mirrored else (item, other)
        home = repos.by_id(store, first.repo_id)
        if access.mode(store, call.actor, home, first.unit) < Mode.WRITE:
            raise not_found()
        if add:
            dependencies.add(store, first.id, second.id, call.who)
        else:
            dependencies.remove(store, first.id, second.id, call.who)
        return created(items.linked_issue(store, call.actor, other.id))


@ROUTER.add("POST", R + "/issues/{index}/dependencies", "issue", token=True)
def add_dependency(call: Call) -> Answer:
    return _change_dependency(call, add=True, mirrored=False)


@ROUTER.add("DELETE", R + "/issues/{index}/dependencies", "issue", token=True)
def remove_dependency(call: Call) -> Answer:
    return _change_dependency(call, add=False, mirrored=False)


@ROUTER.add("POST", R + "/issues/{index}/blocks", "issue", token=True)
def add_block(call: Call) -> Answer:
    return _change_dependency(call, add=True, mirrored=True)


@ROUTER.add("DELETE", R + "/issues/{index}/blocks", "issue", token=True)
def remove_block(call: Call) -> Answer:
    return _change_dependency(call, add=False, mirrored=True)


# ---------------------------------------------------------------- pins, milestones


@ROUTER.add("POST", R + "/issues/{index}/pin", "issue", token=True)
def pin(call: Call) -> Answer:
    repo = call.repo_admin()
    with call.store.tx():
        item = call.issue(repo)
        if not item.pin_order:
            last = call.store.value("SELECT max(pin_order) FROM issues WHERE repo_id = ?", repo.id)
            call.store.update("issues", item.id, pin_order=(last or 0) + 1)
            timeline.add(call.store, item.id, "pin", call.who.id)
    return nothing()


@ROUTER.add("DELETE", R + "/issues/{index}/pin", "issue", token=True)
def unpin(call: Call) -> Answer:
    repo = call.repo_admin()
    with call.store.tx():
        item = call.issue(repo)
        if item.pin_order:
            call.store.update("issues", item.id, pin_order=0)
            timeline.add(call.store, item.id, "unpin", call.who.id)
    return nothing()


@ROUTER.add("GET", R + "/issues/pinned", "issue")
def pinned(call: Call) -> Answer:
    repo = call.repo()
    sql = "SELECT id FROM issues WHERE repo_id = ? AND pin_order > 0 AND is_pull = 0 ORDER BY pin_order"
    return Answer(
        200, [items.issue(call.store, repo, issues.by_id(call.store, r["id"])) for r in call.store.all(sql, repo.id)]
    )


def _milestone(call: Call, repo: Repo) -> Row:
    wanted = call.params["id"]
    if is_number(wanted):
        row = call.store.one("SELECT * FROM milestones WHERE repo_id = ? AND id = ?", repo.id, int(wanted))
    else:
        row = call.store.one("SELECT * FROM milestones WHERE repo_id = ? AND title = ?", repo.id, wanted)
    if row is None:
        raise not_found(f"milestone does not exist [id: {wanted}, repo_id: {repo.id}]")
    return row


@ROUTER.add("GET", R + "/milestones", "issue")
def list_milestones(call: Call) -> Answer:
    repo = call.repo()
    sql, args = "SELECT * FROM milestones WHERE repo_id = ?", [repo.id]
    rows = call.store.all(sql + " ORDER BY due IS NULL, due, id", *args)
    if call.query("state") in ("open", "closed"):
        rows = [row for row in rows if row["state"] == call.query("state")]
    return Answer(200, [people.milestone(call.store, row) for row in call.cut_if_asked(rows)], call.total(len(rows)))


@ROUTER.add("POST", R + "/milestones", "issue", token=True)
def create_milestone(call: Call) -> Answer:
    repo = call.writable("issues")
    if not call.text("title").strip():
        raise invalid("[Title]: Required")
    now = call.store.now()
    made = call.store.insert(
        "milestones",
        repo_id=repo.id,
        title=call.text("title"),
        description=call.text("description"),
        state="closed" if call.text("state") == "closed" else "open",
        due=_day(call.text("due_on")) if call.text("due_on") else None,
        created=now,
        updated=now,
    )
    return created(people.milestone_id(call.store, made))


@ROUTER.add("GET", R + "/milestones/{id}", "issue")
def get_milestone(call: Call) -> Answer:
    return Answer(200, people.milestone(call.store, _milestone(call, call.repo())))


@ROUTER.add("PATCH", R + "/milestones/{id}", "issue", token=True)
def edit_milestone(call: Call) -> Answer:
    row = _milestone(call, call.writable("issues"))
    fields: dict[str, Any] = {name: call.text(name) for name in ("title", "description") if call.has(name)}
    if call.has("state"):
        closed = call.text("state") == "closed"
        fields |= {"state": "closed" if closed else "open", "closed": call.store.now() if closed else None}
    if call.has("due_on"):
        fields["due"] = _day(call.text("due_on"))
    call.store.update("milestones", row["id"], **fields, updated=call.store.now())
    return Answer(200, people.milestone_id(call.store, row["id"]))


@ROUTER.add("DELETE", R + "/milestones/{id}", "issue", token=True)
def delete_milestone(call: Call) -> Answer:
    row = _milestone(call, call.writable("issues"))
    call.store.run("DELETE FROM milestones WHERE id = ?", row["id"])
    return nothing()
