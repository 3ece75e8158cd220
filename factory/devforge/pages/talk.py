"""What people and events say below an issue or pull request, prepared for ``talk.html``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from factory.devforge.pages import code, hidden, markdown
from factory.devforge.pages.visit import Visit, address
from factory.devforge.store import access, issues, labels, repos, reviews, timeline, users
from factory.devforge.store.access import Mode
from factory.devforge.store.issues import Issue
from factory.devforge.store.pulls import Pull
from factory.devforge.store.repos import Repo
from factory.devforge.store.timeline import Entry

SILENT = frozenset({"code", "change_issue_ref", "pull_request_ref"})


@dataclass(frozen=True)
class Message:
    """Somebody's words: rendered, and as they were written."""

    html: Markup
    source: str


@dataclass(frozen=True)
class Said:
    """One entry. ``words`` is what an event says after the account's name; ``message`` what a person wrote."""

    entry: Entry
    kind: str
    words: Markup | None = None
    message: Message | None = None
    review: reviews.Review | None = None
    comments: tuple[tuple[reviews.LineComment, Message], ...] = ()


def message(visit: Visit, repo: Repo, text: str) -> Message | None:
    """None for an empty text."""
    if not text.strip():
        return None
    return Message(markdown.render(text, code.text_place(visit, repo), comments=True), hidden.visible(text))


def said(visit: Visit, repo: Repo, item: Issue, pull: Pull | None = None) -> list[Said]:
    """The whole conversation, oldest first; what is about repos the visitor cannot see is left out."""
    found: list[Said] = []
    for entry in timeline.of_issue(visit.store, item.id):
        if entry.kind in SILENT:
            continue
        if entry.kind == "comment":
            found.append(Said(entry, "comment", message=message(visit, repo, entry.body)))
        elif entry.kind == "review":
            found += _review(visit, repo, pull, entry)
        else:
            words = _WORDS.get(entry.kind, _unknown)(visit, repo, entry)
            if words:
                found.append(Said(entry, "event", words))
    return found


def _review(visit: Visit, repo: Repo, pull: Pull | None, entry: Entry) -> list[Said]:
    row = visit.store.one("SELECT id FROM reviews WHERE id = ?", entry.data.get("review_id"))
    if pull is None or row is None:
        return []
    review = reviews.get(visit.store, pull, row["id"])
    lines = tuple(
        (one, message(visit, repo, one.body) or Message(Markup(""), ""))
        for one in reviews.comments(visit.store, review.id)
    )
    return [Said(entry, "review", message=message(visit, repo, entry.body), review=review, comments=lines)]


# ---------------------------------------------------------------- events in words


def _label(visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    from factory.devforge.pages.view import label_mark

    label = labels.find_id(visit.store, entry.data.get("label_id", 0))
    verb = "put the label" if entry.body else "took off the label"
    if label is None:
        return Markup("{} (deleted since)").format(verb)
    return Markup('{} <span class="label">{}{}</span>').format(verb, label_mark(label), hidden.marked(label.name))


def _title(_visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    return Markup("changed the title from <del>{}</del> to <b>{}</b>").format(
        hidden.marked(str(entry.data.get("old_title", ""))), hidden.marked(str(entry.data.get("new_title", "")))
    )


def _reference(visit: Visit, repo: Repo, entry: Entry) -> Markup:
    link = _item_link(visit, repo, entry.data.get("ref_issue_id"))
    if not link:
        return Markup("")
    verb = "will close this with" if entry.data.get("ref_action") == "closes" else "mentioned this in"
    return Markup("{} {}").format(verb, link)


def _item_link(visit: Visit, repo: Repo, item_id: Any) -> Markup:
    """To another issue or pull request; '' when it is gone or the visitor may not see it."""
    row = visit.store.one("SELECT id FROM issues WHERE id = ?", item_id)
    if row is None:
        return Markup("")
    item = issues.by_id(visit.store, row["id"])
    home = repos.by_id(visit.store, item.repo_id)
    if access.mode(visit.store, visit.actor, home, item.unit) < Mode.READ:
        return Markup("")
    number = f"#{item.number}" if home.id == repo.id else f"{home.full_name}#{item.number}"
    where = address(home.owner, home.name, "pulls" if item.is_pull else "issues", item.number)
    return Markup('<a href="{}">{} {}</a>').format(where, number, hidden.marked(item.title))


def _commit_reference(_visit: Visit, repo: Repo, entry: Entry) -> Markup:
    sha = str(entry.data.get("ref_commit_sha", ""))
    return Markup('mentioned this in <a href="{}"><code>{}</code> {}</a>').format(
        address(repo.owner, repo.name, "commit", sha), sha[:10], hidden.marked(entry.body[:120])
    )


def _pushed(_visit: Visit, repo: Repo, entry: Entry) -> Markup:
    try:
        told = json.loads(entry.body)
        shas = [str(sha) for sha in told.get("commit_ids", [])]
    except (ValueError, AttributeError):
        return Markup("pushed")
    links = Markup(" ").join(
        Markup('<a href="{}"><code>{}</code></a>').format(address(repo.owner, repo.name, "commit", sha), sha[:10])
        for sha in shas[:8]
    )
    if told.get("is_force_push"):
        return Markup("replaced the branch's history: {}").format(links)
    more = f" and {len(shas) - 8} more" if len(shas) > 8 else ""
    return Markup("pushed {} {}{}").format(f"{len(shas)} commits:" if len(shas) != 1 else "a commit:", links, more)


def _asked(visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    row = visit.store.one("SELECT login FROM users WHERE id = ?", entry.data.get("assignee_id"))
    whom = row["login"] if row is not None else "a team"
    if entry.data.get("removed"):
        return Markup("took back the request for a review by <b>{}</b>").format(whom)
    return Markup("asked <b>{}</b> for a review").format(whom)


def _assigned(visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    whom = users.by_id(visit.store, entry.data["assignee_id"]).login
    return Markup("{} <b>{}</b>").format("unassigned" if entry.data.get("removed") else "assigned", whom)


def _dismissed(visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    row = visit.store.one(
        "SELECT u.login FROM reviews r JOIN users u ON u.id = r.reviewer_id WHERE r.id = ?", entry.data.get("review_id")
    )
    whose = row["login"] if row is not None else "somebody"
    why = Markup(": {}").format(hidden.marked(entry.body)) if entry.body else Markup("")
    return Markup("made the review of <b>{}</b> count no more{}").format(whose, why)


def _dependency(verb: str) -> _Words:
    def words(visit: Visit, repo: Repo, entry: Entry) -> Markup:
        link = _item_link(visit, repo, entry.data.get("dependent_issue_id"))
        return Markup("{} {}").format(verb, link) if link else Markup("")

    return words


def _merged(_visit: Visit, repo: Repo, entry: Entry) -> Markup:
    return Markup('merged this as <a href="{}"><code>{}</code></a>').format(
        address(repo.owner, repo.name, "commit", entry.body), entry.body[:10]
    )


def _retargeted(_visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    return Markup("changed the target from <code>{}</code> to <code>{}</code>").format(
        hidden.marked(str(entry.data.get("old_ref", ""))), hidden.marked(str(entry.data.get("new_ref", "")))
    )


def _gone(_visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    return Markup("deleted the branch <code>{}</code>").format(hidden.marked(str(entry.data.get("old_ref", ""))))


def _plain(words: str) -> _Words:
    return lambda _visit, _repo, _entry: Markup(words)  # noqa: S704 constants of this module


def _unknown(_visit: Visit, _repo: Repo, entry: Entry) -> Markup:
    return Markup("noted: {}").format(entry.kind.replace("_", " "))


_Words = Callable[[Visit, Repo, Entry], Markup]
_WORDS: Mapping[str, _Words] = {
    "label": _label,
    "close": _plain("closed this"),
    "reopen": _plain("reopened this"),
    "change_title": _title,
    "issue_ref": _reference,
    "pull_ref": _reference,
    "comment_ref": _reference,
    "commit_ref": _commit_reference,
    "pull_push": _pushed,
    "review_request": _asked,
    "dismiss_review": _dismissed,
    "assignees": _assigned,
    "milestone": _plain("changed the milestone"),
    "add_dependency": _dependency("linked a dependency:"),
    "remove_dependency": _dependency("removed the dependency on"),
    "merge_pull": _merged,
    "change_target_branch": _retargeted,
    "delete_branch": _gone,
    "pin": _plain("pinned this"),
    "unpin": _plain("unpinned this"),
}
