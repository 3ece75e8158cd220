"""Pull requests and their reviews."""

from __future__ import annotations

from factory.devforge import merge, patches
from factory.devforge.api.call import Answer, Call, created, is_number, nothing
from factory.devforge.api.issues import edit_common
from factory.devforge.api.repos import R
from factory.devforge.api.router import ROUTER
from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.render import git as render
from factory.devforge.render import items
from factory.devforge.store import access, issues, labels, pulls, reviews, users
from factory.devforge.store.access import Mode
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.git import objects
from factory.git.values import CommitInfo

_SORTS = {"oldest": "i.id ASC", "recentupdate": "i.updated DESC, i.id DESC", "leastupdate": "i.updated ASC, i.id ASC"}
MAX_DIFF = 20_000_000
"""Bytes of a ``.diff``; what exceeds it is cut and says so."""


@ROUTER.add("GET", R + "/pulls", "repository")
def list_pulls(call: Call) -> Answer:
    """Of all states unless one is asked for. ``labels`` are ids, any of which suffices."""
    store, repo = call.store, call.repo()
    if repo.empty:
        raise not_found("Git Repository is empty.")
    access.need(store, call.actor, repo, Mode.READ, "pulls")
    where, args = ["i.repo_id = ?", "i.is_pull = 1"], [repo.id]
    if call.query("state", "all") in ("open", "closed"):
        where.append("i.state = ?")
        args.append(call.query("state"))  # type: ignore[arg-type]
    if call.query("poster"):
        where.append("i.poster_id = ?")
        args.append(users.person(store, call.query("poster")).id)
    if is_number(call.query("milestone")):
        where.append("i.milestone_id = ?")
        args.append(int(call.query("milestone")))
    order = _SORTS.get(call.query("sort"), "i.id DESC")
    sql = f"SELECT i.id FROM issues i WHERE {' AND '.join(where)} ORDER BY {order}"  # noqa: S608
    ids = [row["id"] for row in store.all(sql, *args)]
    wanted = {int(label) for label in call._query.get("labels", ()) if is_number(label)}
    if wanted:
        ids = [number for number in ids if wanted & {label.id for label in labels.of_issue(store, number)}]
    page = [
        items.pull(store, repo, pulls.of_issue(store, issues.by_id(store, number)), call.actor)
        for number in call.cut(ids)
    ]
    return Answer(200, page, call.linked(len(ids)))


@ROUTER.add("POST", R + "/pulls", "repository", token=True)
def create_pull(call: Call) -> Answer:
    repo = call.repo()
    with call.store.exclusive():
        made = pulls.create(
            call.store,
            call.actor,
            repo,
            head=call.text("head"),
            base=call.text("base"),
            title=call.text("title"),
            body=call.text("body"),
            label_ids=call.numbers("labels"),
            assignees=call.strings("assignees") or ([call.text("assignee")] if call.text("assignee") else []),
            milestone_id=call.number("milestone"),
        )
    return created(items.pull(call.store, repo, made, call.actor))


@ROUTER.add("GET", R + "/pulls/{index}", "repository")
def get_pull(call: Call) -> Answer:
    """Also ``{index}.diff`` and ``{index}.patch``."""
    repo = call.repo()
    number, _, kind = call.params["index"].partition(".")
    if kind in ("diff", "patch"):
        call.params = {**call.params, "index": number}
        pull = call.pull(repo)
        if kind == "patch":
            text = patches.mailbox(repo.path, _commits(repo, pull), MAX_DIFF)
        else:
            text = objects.diff_text(repo.path, *pulls.span(repo, pull), MAX_DIFF)
        return Answer(200, text.encode(), {"Content-Type": "text/plain; charset=utf-8"}, raw=True)
    return Answer(200, items.pull(call.store, repo, call.pull(repo), call.actor))


@ROUTER.add("GET", R + "/pulls/{index}/{head}", "repository")
def by_branches(call: Call) -> Answer:
    """Some pull request for that base and head, of any state."""
    repo = call.repo()
    access.need(call.store, call.actor, repo, Mode.READ, "pulls")
    branch = call.params["head"].rpartition(":")[2]
    sql = (
        "SELECT i.number FROM pulls p JOIN issues i ON i.id = p.issue_id"
        " WHERE p.base_repo_id = ? AND p.base_branch = ? AND p.head_branch = ? ORDER BY i.id DESC"
    )
    row = call.store.one(sql, repo.id, call.params["index"], branch)
    if row is None:
        raise not_found()
    return Answer(200, items.pull(call.store, repo, pulls.get(call.store, repo, row["number"]), call.actor))


@ROUTER.add("PATCH", R + "/pulls/{index}", "repository", token=True)
def edit_pull(call: Call) -> Answer:
    store, repo = call.store, call.repo()
    with store.exclusive(), store.tx():
        pull = call.pull(repo)
        issues.need_edit(store, call.actor, repo, pull.issue)
        access.need_unarchived(repo)
        if call.has("state") and pull.merged:
            raise Refusal(412, "cannot change state of this pull request, it was already merged")
        edit_common(call, repo, pull.issue)
        if call.has("labels") and issues.may_write(store, call.actor, repo, pull.issue):
            found = labels.wanted(store, repo, call.numbers("labels"))
            labels.replace(store, repo, pull.issue.id, call.who, found)
        if call.text("base"):
            pulls.retarget(store, repo, pulls.get(store, repo, pull.number), call.who.id, call.text("base"))
        return created(items.pull(store, repo, pulls.get(store, repo, pull.number), call.actor))


@ROUTER.add("GET", R + "/pulls/{index}/files", "repository")
def files(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    changed = pulls.changes(repo, pull)
    page = [render.changed_file(call.store, repo, change, pull.head_sha) for change in call.cut(changed)]
    return Answer(200, page, _heavy(call, len(changed)))


@ROUTER.add("GET", R + "/pulls/{index}/commits", "repository")
def commits(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    found = _commits(repo, pull)
    with_files, stat = call.flag("files", True), True
    page = [render.commit(call.store, repo, info, files=with_files, stat=stat) for info in call.cut(found)]
    return Answer(200, page, _heavy(call, len(found)))


def _commits(repo: Repo, pull: Pull) -> list[CommitInfo]:
    """What the pull request adds, newest first."""
    base = pull.merge_base if pull.merged else pulls.base_tip(repo, pull)
    return objects.log(repo.path, pull.head_sha, exclude=[base] if base else [])


def _heavy(call: Call, count: int) -> dict[str, str]:
    page, limit = call.paging
    pages = max(1, -(-count // limit))
    more = {"X-Page": page, "X-PerPage": limit, "X-PageCount": pages, "X-HasMore": str(page < pages).lower()}
    return call.linked(count) | {name: str(value) for name, value in more.items()}


# ---------------------------------------------------------------- merging


@ROUTER.add("GET", R + "/pulls/{index}/merge", "repository")
def is_merged(call: Call) -> Answer:
    if not call.pull(call.repo()).merged:
        raise not_found()
    return nothing()


@ROUTER.add("POST", R + "/pulls/{index}/merge", "repository", token=True)
def merge_pull(call: Call) -> Answer:
    repo = call.repo()
    number = call.pull(repo).number
    if not call.text("Do"):
        raise invalid("[Do]: Required")
    if call.switch("merge_when_checks_succeed"):
        raise Refusal(
            501, "merge_when_checks_succeed is not offered by the embedded forge: merge when the checks are green"
        )
    options = merge.Options(
        style=call.text("Do"),
        title=call.text("MergeTitleField"),
        message=call.text("MergeMessageField"),
        head=call.text("head_commit_id"),
        delete_branch=call.switch("delete_branch_after_merge"),
        force=call.switch("force_merge"),
        commit=call.text("MergeCommitID"),
    )
    merge.merge_pull(call.store, call.actor, repo, number, options)
    return Answer(200)


@ROUTER.add("DELETE", R + "/pulls/{index}/merge", "repository", token=True)
def cancel_merge(call: Call) -> Answer:
    """There is never a scheduled merge to cancel."""
    call.pull(call.repo())
    raise not_found()


@ROUTER.add("POST", R + "/pulls/{index}/update", "repository", token=True)
def update(call: Call) -> Answer:
    repo = call.repo()
    merge.update_pull(call.store, call.actor, repo, call.pull(repo).number, call.query("style") or "merge")
    return Answer(200)


# ---------------------------------------------------------------- reviews


def _review(call: Call, pull: Pull) -> reviews.Review:
    found = reviews.get(call.store, pull, call.index("id"))
    if found.state == reviews.PENDING and (call.actor.user is None or found.reviewer_id != call.actor.user.id):
        raise not_found()
    return found


@ROUTER.add("GET", R + "/pulls/{index}/reviews", "repository")
def list_reviews(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    me = call.actor.user
    found = [
        review
        for review in reviews.of_pull(call.store, pull)
        if review.state != reviews.PENDING or (me is not None and review.reviewer_id == me.id)
    ]
    page = call.cut_if_asked(found)
    return Answer(200, [items.review(call.store, repo, pull, review) for review in page], call.total(len(found)))


@ROUTER.add("POST", R + "/pulls/{index}/reviews", "repository", token=True)
def create_review(call: Call) -> Answer:
    repo = call.repo()
    with call.store.exclusive():
        pull = call.pull(repo)
        comments = call.objects("comments")
        made = reviews.submit(
            call.store,
            call.actor,
            repo,
            pull,
            event=call.text("event"),
            body=call.text("body"),
            commit_id=call.text("commit_id"),
            line_comments=comments,
        )
    return Answer(200, items.review(call.store, repo, pull, made))


@ROUTER.add("GET", R + "/pulls/{index}/reviews/{id}", "repository")
def get_review(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    return Answer(200, items.review(call.store, repo, pull, _review(call, pull)))


@ROUTER.add("POST", R + "/pulls/{index}/reviews/{id}", "repository", token=True)
def submit_review(call: Call) -> Answer:
    repo = call.repo()
    with call.store.exclusive():
        pull = call.pull(repo)
        review = _review(call, pull)
        made = reviews.submit_draft(
            call.store, call.actor, repo, pull, review, event=call.text("event"), body=call.text("body")
        )
    return Answer(200, items.review(call.store, repo, pull, made))


@ROUTER.add("DELETE", R + "/pulls/{index}/reviews/{id}", "repository", token=True)
def delete_review(call: Call) -> Answer:
    pull = call.pull(call.repo())
    reviews.delete(call.store, call.actor, pull, _review(call, pull))
    return nothing()


@ROUTER.add("GET", R + "/pulls/{index}/reviews/{id}/comments", "repository")
def review_comments(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    found = reviews.comments(call.store, _review(call, pull).id)
    page = call.cut_if_asked(found)
    return Answer(200, [items.line_comment(call.store, repo, pull, one) for one in page], call.total(len(found)))


@ROUTER.add("POST", R + "/pulls/{index}/reviews/{id}/comments", "repository", token=True)
def add_review_comment(call: Call) -> Answer:
    repo = call.repo()
    pull = call.pull(repo)
    review = _review(call, pull)
    if review.reviewer_id != call.who.id:
        raise Refusal(403, "only the reviewer can add comments to a review")
    made = reviews.add_comment(call.store, pull, review.id, call.who, call.json(), review.commit_id)
    return Answer(200, items.line_comment(call.store, repo, pull, made))


def _dismissal(call: Call, *, dismissed: bool) -> Answer:
    repo = call.repo()
    with call.store.exclusive():
        pull = call.pull(repo)
        body = call.optional_json()
        made = reviews.dismiss(
            call.store,
            call.actor,
            repo,
            pull,
            _review(call, pull),
            message=str(body.get("message") or ""),
            dismissed=dismissed,
            priors=bool(body.get("priors")),
        )
    return Answer(200, items.review(call.store, repo, pull, made))


@ROUTER.add("POST", R + "/pulls/{index}/reviews/{id}/dismissals", "repository", token=True)
def dismiss(call: Call) -> Answer:
    return _dismissal(call, dismissed=True)


@ROUTER.add("POST", R + "/pulls/{index}/reviews/{id}/undismissals", "repository", token=True)
def undismiss(call: Call) -> Answer:
    return _dismissal(call, dismissed=False)


def _asked(call: Call) -> tuple[Repo, Pull, list[str], list[str]]:
    repo = call.repo()
    return repo, call.pull(repo), call.strings("reviewers"), call.strings("team_reviewers")


@ROUTER.add("POST", R + "/pulls/{index}/requested_reviewers", "repository", token=True)
def request_reviews(call: Call) -> Answer:
    with call.store.exclusive():
        repo, pull, logins, teams = _asked(call)
        made = reviews.request(call.store, call.actor, repo, pull, logins, teams)
    return created([items.review(call.store, repo, pull, review) for review in made])


@ROUTER.add("DELETE", R + "/pulls/{index}/requested_reviewers", "repository", token=True)
def withdraw_requests(call: Call) -> Answer:
    with call.store.exclusive():
        repo, pull, logins, teams = _asked(call)
        reviews.withdraw(call.store, call.actor, repo, pull, logins, teams)
    return nothing()
