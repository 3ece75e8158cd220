"""``#12`` and ``owner/repo#12`` in texts: cross-reference events, and the words that close an issue."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.devforge.store import repos, timeline
from factory.devforge.store.access import Mode, user_mode
from factory.devforge.store.database import Store
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

if TYPE_CHECKING:
    from factory.devforge.store.issues import Issue

_REFERENCE = re.compile(
    r"(?:(?<![\w-])(?P<word>close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+)?"
    r"(?:(?<![\w/.-])(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)|(?<![\w/#&]))[#!](?P<number>[1-9][0-9]{0,9})(?![\w])",
    re.IGNORECASE,
)
_CODE = re.compile(r"```.*?```|`[^`\n]*`|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Reference:
    """``closes`` when a closing word stands directly before it."""

    owner: str | None
    name: str | None
    number: int
    closes: bool


def find(text: str) -> Iterator[Reference]:
    """References in a text, those in code spans and HTML comments left out."""
    for match in _REFERENCE.finditer(_CODE.sub(" ", text)):
        yield Reference(match["owner"], match["name"], int(match["number"]), match["word"] is not None)


def targets(store: Store, repo: Repo, text: str) -> Iterator[tuple[int, bool]]:
    """(row of the issue named, whether it is to be closed) for every reference that resolves, once each."""
    closing: dict[int, bool] = {}
    for reference in find(text):
        target = repo
        if reference.owner is not None and reference.name is not None:
            named = repos.find(store, reference.owner, reference.name)
            if named is None:
                continue
            target = named
        row = store.one("SELECT id FROM issues WHERE repo_id = ? AND number = ?", target.id, reference.number)
        if row is not None:
            closing[row["id"]] = closing.get(row["id"], False) or reference.closes
    yield from closing.items()


def note(store: Store, repo: Repo, issue: Issue, user: User, text: str, *, comment_id: int = 0) -> None:
    """Write the event ``issue_ref``, ``pull_ref`` or ``comment_ref`` into every other issue named, once per source.

    Nothing is written into repos the user cannot write issues in unless it is the same repo: a reference must not be
    a way to spam strangers.
    """
    kind = "comment_ref" if comment_id else ("pull_ref" if issue.is_pull else "issue_ref")
    with store.tx():
        for target_id, closes in targets(store, repo, text):
            if target_id == issue.id:
                continue
            target_repo = store.value("SELECT repo_id FROM issues WHERE id = ?", target_id)
            home = repos.by_id(store, target_repo)
            if home.id != repo.id and user_mode(store, user, home, "issues") < Mode.WRITE:
                continue
            known = timeline.of_issue(store, target_id, kinds=(kind,))
            source: dict[str, Any] = {"ref_issue_id": issue.id, "ref_comment_id": comment_id}
            if any(all(entry.data.get(key) == value for key, value in source.items()) for entry in known):
                continue
            action = "closes" if closes and issue.is_pull else ""
            timeline.add(store, target_id, kind, user.id, ref_action=action, **source)
