"""Below an issue: comments, timeline, labels, reactions."""

from __future__ import annotations

from factory.devforge.api.call import NULL, Answer, Call, created, is_number, nothing
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, forbidden, invalid, not_found
from factory.devforge.render import items, people
from factory.devforge.store import access, issues, labels, repos, timeline
from factory.devforge.store.access import Mode
from factory.devforge.store.events import Event
from factory.devforge.store.issues import Issue
from factory.devforge.store.labels import Label
from factory.devforge.store.repos import Repo
from factory.devforge.store.timeline import Entry

REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")

# ---------------------------------------------------------------- comments


@ROUTER.add("GET", R + "/issues/{index}/comments", "issue")
def list_comments(call: Call) -> Answer:
    """All of them, whatever page was asked for, as on Forgejo."""
    repo = call.repo()
    item = call.issue(repo)
    found = timeline.of_issue(
        call.store, item.id, kinds=("comment",), since=call.time("since"), before=call.time("before")
    )
    return Answer(200, [items.comment(call.store, repo, item, entry) for entry in found], call.total(len(found)))


@ROUTER.add("POST", R + "/issues/{index}/comments", "issue", token=True)
def create_comment(call: Call) -> Answer:
    repo = call.repo()
    item = call.issue(repo)
    entry = issues.comment(call.store, call.actor, repo, item, call.text("body"))
    return created(items.comment(call.store, repo, item, entry))


@ROUTER.add("GET", R + "/issues/comments", "issue")
def repo_comments(call: Call) -> Answer:
    repo = call.repo()
    found = timeline.of_repo(call.store, repo.id, since=call.time("since"), before=call.time("before"))
    page = [items.comment(call.store, repo, issues.by_id(call.store, e.issue_id), e) for e in call.cut_if_asked(found)]
    return Answer(200, page, call.total(len(found)))


def _comment(call: Call, repo: Repo) -> tuple[Entry, Issue]:
    entry = timeline.get(call.store, call.index("id"))
    item = issues.by_id(call.store, entry.issue_id)
    if item.repo_id != repo.id or access.mode(call.store, call.actor, repo, item.unit) < Mode.READ:
        raise not_found()
    return entry, item


def _own_comment(call: Call, repo: Repo) -> tuple[Entry, Issue]:
    """403 with an empty body unless it is one's own or one may write issues."""
    entry, item = _comment(call, repo)
    if entry.poster_id != call.who.id and not issues.may_write(call.store, call.actor, repo, item):
        raise Refusal(403, body="")
    access.need_unarchived(repo)
    return entry, item


@ROUTER.add("GET", R + "/issues/comments/{id}", "issue")
def get_comment(call: Call) -> Answer:
    repo = call.repo()
    entry, item = _comment(call, repo)
    if entry.kind != "comment":
        return nothing()
    return Answer(200, items.comment(call.store, repo, item, entry))


@ROUTER.add("PATCH", R + "/issues/comments/{id}", "issue", token=True)
def edit_comment(call: Call) -> Answer:
    repo = call.repo()
    entry, item = _own_comment(call, repo)
    if entry.kind != "comment":
        return nothing()
    with call.store.tx():
        edited = timeline.edit(call.store, entry, call.text("body"))
        name = "pull_request_comment" if item.is_pull else "issue_comment"
        more = {"comment_id": entry.id, "changes": {"body": {"from": entry.body}}}
        call.store.notify(Event(name, "edited", repo.id, call.who.id, item.id, more))
    return Answer(200, items.comment(call.store, repo, item, edited))


@ROUTER.add("DELETE", R + "/issues/comments/{id}", "issue", token=True)
def delete_comment(call: Call) -> Answer:
    repo = call.repo()
    entry, item = _own_comment(call, repo)
    if entry.kind == "comment":
        with call.store.tx():
            name = "pull_request_comment" if item.is_pull else "issue_comment"
            call.store.notify(Event(name, "deleted", repo.id, call.who.id, item.id, {"comment_id": entry.id}))
            timeline.delete(call.store, entry)
    return nothing()


@ROUTER.add("GET", R + "/issues/{index}/timeline", "issue")
def get_timeline(call: Call) -> Answer:
    """Paged first, then filtered: a page may be short, X-Total-Count is its length. An empty one is null.

    Paged only when ``page`` is sent; otherwise the whole (Forgejo's ``FindComments``).
    """
    repo = call.repo()
    item = call.issue(repo)
    found = timeline.of_issue(call.store, item.id, since=call.time("since"), before=call.time("before"))
    page = [
        items.timeline_entry(call.store, repo, item, entry, call.actor)
        for entry in call.cut_if_asked(found)
        if entry.kind != "code" and _visible(call, entry)
    ]
    return Answer(200, page or NULL, call.total(len(page)))


def _visible(call: Call, entry: Entry) -> bool:
    source = entry.data.get("ref_issue_id")
    if not source:
        return True
    row = call.store.one("SELECT repo_id, is_pull FROM issues WHERE id = ?", source)
    if row is None:
        return False
    unit = "pulls" if row["is_pull"] else "issues"
    return access.mode(call.store, call.actor, repos.by_id(call.store, row["repo_id"]), unit) >= Mode.READ


# ---------------------------------------------------------------- labels of a repo


@ROUTER.add("GET", R + "/labels", "issue")
def list_labels(call: Call) -> Answer:
    found = labels.of_repo(call.store, call.repo())
    return Answer(200, [people.label(call.store, label) for label in call.cut_if_asked(found)], call.total(len(found)))


@ROUTER.add("POST", R + "/labels", "issue", token=True)
def create_label(call: Call) -> Answer:
    repo = call.writable("issues")
    made = labels.create(
        call.store,
        repo=repo,
        name=call.text("name"),
        color_code=call.text("color"),
        description=call.text("description"),
        exclusive=call.switch("exclusive"),
        archived=call.switch("is_archived"),
    )
    return created(people.label(call.store, made))


def _label(call: Call, repo: Repo) -> Label | None:
    """By id when it is a number, else by name."""
    wanted = call.params["id"]
    found = labels.of_repo(call.store, repo)
    if is_number(wanted):
        return next((label for label in found if label.id == int(wanted)), None)
    return next((label for label in found if label.name == wanted), None)


@ROUTER.add("GET", R + "/labels/{id}", "issue")
def get_label(call: Call) -> Answer:
    found = _label(call, call.repo())
    if found is None:
        raise not_found()
    return Answer(200, people.label(call.store, found))


@ROUTER.add("PATCH", R + "/labels/{id}", "issue", token=True)
def edit_label(call: Call) -> Answer:
    found = _label(call, call.writable("issues"))
    if found is None:
        raise not_found()
    fields: dict[str, object] = {name: call.text(name) for name in ("name", "color", "description") if call.has(name)}
    if call.has("exclusive"):
        fields["exclusive"] = int(call.switch("exclusive"))
    return Answer(
        200, people.label(call.store, labels.edit(call.store, found, archived=call.switch("is_archived"), **fields))
    )


@ROUTER.add("DELETE", R + "/labels/{id}", "issue", token=True)
def delete_label(call: Call) -> Answer:
    found = _label(call, call.writable("issues"))
    if found is not None:
        labels.delete(call.store, found)
    return nothing()


# ---------------------------------------------------------------- labels of an issue


def _current(call: Call, item: Issue) -> Answer:
    return Answer(200, [people.label(call.store, label) for label in labels.of_issue(call.store, item.id)])


def _changeable(call: Call) -> tuple[Repo, Issue]:
    repo = call.repo()
    item = call.issue(repo)
    if not issues.may_write(call.store, call.actor, repo, item):
        raise forbidden("write permission is required")
    access.need_unarchived(repo)
    return repo, item


def _wanted(call: Call, repo: Repo) -> list[Label]:
    value = call.json().get("labels")
    if value is None:
        return []
    if not isinstance(value, list):
        raise invalid("json: cannot unmarshal labels into Go struct field IssueLabelsOption.labels")
    return labels.wanted(call.store, repo, value)


@ROUTER.add("GET", R + "/issues/{index}/labels", "issue")
def issue_labels(call: Call) -> Answer:
    return _current(call, call.issue(call.repo()))


@ROUTER.add("POST", R + "/issues/{index}/labels", "issue", token=True)
def add_labels(call: Call) -> Answer:
    with call.store.tx():
        repo, item = _changeable(call)
        labels.attach(call.store, repo, item.id, call.who, _wanted(call, repo))
        return _current(call, item)


@ROUTER.add("PUT", R + "/issues/{index}/labels", "issue", token=True)
def replace_labels(call: Call) -> Answer:
    with call.store.tx():
        repo, item = _changeable(call)
        labels.replace(call.store, repo, item.id, call.who, _wanted(call, repo))
        return _current(call, item)


@ROUTER.add("DELETE", R + "/issues/{index}/labels", "issue", token=True)
def clear_labels(call: Call) -> Answer:
    with call.store.tx():
        repo, item = _changeable(call)
        labels.detach(call.store, repo, item.id, call.who, labels.of_issue(call.store, item.id))
    return nothing()


@ROUTER.add("DELETE", R + "/issues/{index}/labels/{label}", "issue", token=True)
def remove_label(call: Call) -> Answer:
    """By name, then by id: 204 also when it is not attached, 422 when there is no such label."""
    with call.store.tx():
        repo, item = _changeable(call)
        wanted = call.params["label"]
        found = labels.find_named(call.store, repo, wanted)
        if found is None and is_number(wanted):
            found = next((one for one in labels.usable(call.store, repo) if one.id == int(wanted)), None)
        if found is None:
            raise invalid(f"label does not exist [label_id: {wanted}]")
        same = [one for one in labels.of_issue(call.store, item.id) if one.name == found.name or one.id == found.id]
        labels.detach(call.store, repo, item.id, call.who, same)
    return nothing()


# ---------------------------------------------------------------- reactions


def _reactions(call: Call, item_id: int, comment_id: int) -> Answer:
    sql = "SELECT * FROM reactions WHERE issue_id = ? AND comment_id = ? ORDER BY id"
    found = [
        {
            "user": people.user_id(call.store, row["user_id"]),
            "content": row["content"],
            "created_at": people.when(row["created"]),
        }
        for row in call.store.all(sql, item_id, comment_id)
    ]
    return Answer(200, list(call.cut_if_asked(found)) or NULL, call.total(len(found)))


def _react(call: Call, item: Issue, comment_id: int) -> Answer:
    content, me = call.text("content"), call.who
    if content not in REACTIONS:
        raise forbidden(f"'{content}' is not an allowed reaction")
    row = {"user": people.user_id(call.store, me.id), "content": content, "created_at": people.when(call.store.now())}
    with call.store.tx():
        sql = "SELECT 1 FROM reactions WHERE issue_id = ? AND comment_id = ? AND user_id = ? AND content = ?"
        known = call.store.one(sql, item.id, comment_id, me.id, content) is not None
        if not known:
            call.store.insert(
                "reactions",
                issue_id=item.id,
                comment_id=comment_id,
                user_id=me.id,
                content=content,
                created=call.store.now(),
            )
    return Answer(200 if known else 201, row)


def _unreact(call: Call, item: Issue, comment_id: int) -> Answer:
    sql = "DELETE FROM reactions WHERE issue_id = ? AND comment_id = ? AND user_id = ? AND content = ?"
    call.store.run(sql, item.id, comment_id, call.who.id, call.text("content"))
    return Answer(200)


@ROUTER.add("GET", R + "/issues/{index}/reactions", "issue")
def issue_reactions(call: Call) -> Answer:
    return _reactions(call, call.issue(call.repo()).id, 0)


@ROUTER.add("POST", R + "/issues/{index}/reactions", "issue", token=True)
def react(call: Call) -> Answer:
    return _react(call, call.issue(call.repo()), 0)


@ROUTER.add("DELETE", R + "/issues/{index}/reactions", "issue", token=True)
def unreact(call: Call) -> Answer:
    return _unreact(call, call.issue(call.repo()), 0)


@ROUTER.add("GET", R + "/issues/comments/{id}/reactions", "issue")
def comment_reactions(call: Call) -> Answer:
    entry, item = _comment(call, call.repo())
    return _reactions(call, item.id, entry.id)


@ROUTER.add("POST", R + "/issues/comments/{id}/reactions", "issue", token=True)
def react_to_comment(call: Call) -> Answer:
    entry, item = _comment(call, call.repo())
    return _react(call, item, entry.id)


@ROUTER.add("DELETE", R + "/issues/comments/{id}/reactions", "issue", token=True)
def unreact_to_comment(call: Call) -> Answer:
    entry, item = _comment(call, call.repo())
    return _unreact(call, item, entry.id)
