"""Labels: not unique by name, exclusive within a scope, each change an event with its actor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from factory.devforge.errors import Refusal, invalid, not_found
from factory.devforge.store import timeline
from factory.devforge.store.database import Row, Store
from factory.devforge.store.events import Event
from factory.devforge.store.repos import Repo
from factory.devforge.store.users import User

_COLOR = re.compile(r"#?(?:[0-9a-fA-F]{6}|[0-9a-fA-F]{3})")


@dataclass(frozen=True)
class Label:
    """``color`` is six hex digits without ``#``. Of a repo or of an organisation."""

    id: int
    repo_id: int | None
    org_id: int | None
    name: str
    color: str
    description: str
    exclusive: bool
    archived: bool

    @property
    def scope(self) -> str | None:
        """What stands before the last slash of an exclusive label's name."""
        head, slash, _ = self.name.rpartition("/")
        return head if self.exclusive and slash and head else None


def _label(row: Row) -> Label:
    return Label(**{**dict(row), "exclusive": bool(row["exclusive"]), "archived": bool(row["archived"])})


def color(text: str) -> str:
    """``#rgb`` or ``#rrggbb`` as six bare hex digits; 422 for anything else."""
    if not _COLOR.fullmatch(text):
        raise invalid(f"Invalid color code: {text}")
    bare = text.lstrip("#").lower()
    return bare if len(bare) == 6 else "".join(letter * 2 for letter in bare)


def create(
    store: Store,
    *,
    repo: Repo | None = None,
    org: User | None = None,
    name: str,
    color_code: str,
    description: str = "",
    exclusive: bool = False,
    archived: bool = False,
) -> Label:
    """A new label; a second one of the same name is allowed, as on Forgejo."""
    if not name.strip():
        raise invalid("[Name]: Required")
    label_id = store.insert(
        "labels",
        repo_id=None if repo is None else repo.id,
        org_id=None if org is None else org.id,
        name=name.strip(),
        color=color(color_code),
        description=description,
        exclusive=int(exclusive),
        archived=int(archived),
    )
    return by_id(store, label_id)


def by_id(store: Store, label_id: int) -> Label:
    found = find_id(store, label_id)
    if found is None:
        raise not_found(f"label does not exist [label_id: {label_id}]")
    return found


def find_id(store: Store, label_id: int) -> Label | None:
    row = store.one("SELECT * FROM labels WHERE id = ?", label_id)
    return None if row is None else _label(row)


def of_repo(store: Store, repo: Repo) -> list[Label]:
    rows = store.all("SELECT * FROM labels WHERE repo_id = ? ORDER BY name COLLATE NOCASE, id", repo.id)
    return [_label(row) for row in rows]


def of_org(store: Store, org_id: int) -> list[Label]:
    return [
        _label(r) for r in store.all("SELECT * FROM labels WHERE org_id = ? ORDER BY name COLLATE NOCASE, id", org_id)
    ]


def usable(store: Store, repo: Repo) -> list[Label]:
    """The repo's labels, then those of its organisation."""
    return of_repo(store, repo) + of_org(store, repo.owner_id)


def find_named(store: Store, repo: Repo, name: str) -> Label | None:
    return next((label for label in usable(store, repo) if label.name == name), None)


def edit(store: Store, label: Label, *, archived: bool = False, **fields: Any) -> Label:
    """Change a label. ``archived`` absent un-archives: a trap of Forgejo's API that is kept."""
    if "color" in fields:
        fields["color"] = color(str(fields["color"]))
    store.update("labels", label.id, archived=int(archived), **fields)
    return by_id(store, label.id)


def delete(store: Store, label: Label) -> None:
    """With its timeline events: Forgejo forgets who put it on or took it off."""
    with store.tx():
        sql = "DELETE FROM comments WHERE kind = 'label' AND json_extract(data, '$.label_id') = ?"
        store.run(sql, label.id)
        store.run("DELETE FROM labels WHERE id = ?", label.id)


def of_issue(store: Store, issue_id: int) -> list[Label]:
    sql = "SELECT l.* FROM labels l JOIN issue_labels x ON x.label_id = l.id WHERE x.issue_id = ? ORDER BY l.name, l.id"
    return [_label(row) for row in store.all(sql, issue_id)]


def wanted(store: Store, repo: Repo, names_or_ids: Sequence[object]) -> list[Label]:
    """The labels a request names, by names or by ids. Unknown ones are ignored; a mixture is 400."""
    if all(isinstance(item, int) and not isinstance(item, bool) for item in names_or_ids):
        known = {label.id: label for label in usable(store, repo)}
        return [known[item] for item in names_or_ids if isinstance(item, int) and item in known]
    if all(isinstance(item, str) for item in names_or_ids):
        found = [find_named(store, repo, str(item)) for item in names_or_ids]
        return [label for label in found if label is not None]
    raise Refusal(400, "labels should be an array of strings or integers")


def attach(store: Store, repo: Repo, issue_id: int, doer: User, labels: Sequence[Label]) -> None:
    """Put labels on; an exclusive one takes the others of its scope off in the same transaction."""
    with store.tx():
        changed = False
        for label in labels:
            have = of_issue(store, issue_id)
            if label.id in {one.id for one in have}:
                continue
            for other in have:
                if label.scope is not None and other.scope == label.scope:
                    _off(store, issue_id, doer, other)
            store.insert("issue_labels", issue_id=issue_id, label_id=label.id)
            timeline.add(store, issue_id, "label", doer.id, "1", label_id=label.id)
            changed = True
        if changed:
            _tell(store, repo, issue_id, doer, "label_updated")


def detach(store: Store, repo: Repo, issue_id: int, doer: User, labels: Sequence[Label]) -> None:
    """Take labels off; those that are not on it are passed over."""
    with store.tx():
        have = {one.id for one in of_issue(store, issue_id)}
        gone = [label for label in labels if label.id in have]
        for label in gone:
            _off(store, issue_id, doer, label)
        if gone:
            _tell(store, repo, issue_id, doer, "label_updated" if len(gone) < len(have) else "label_cleared")


def replace(store: Store, repo: Repo, issue_id: int, doer: User, labels: Sequence[Label]) -> None:
    """Exactly these labels."""
    with store.tx():
        keep = {label.id for label in labels}
        detach(store, repo, issue_id, doer, [one for one in of_issue(store, issue_id) if one.id not in keep])
        attach(store, repo, issue_id, doer, labels)


def _off(store: Store, issue_id: int, doer: User, label: Label) -> None:
    store.run("DELETE FROM issue_labels WHERE issue_id = ? AND label_id = ?", issue_id, label.id)
    timeline.add(store, issue_id, "label", doer.id, "", label_id=label.id)


def _tell(store: Store, repo: Repo, issue_id: int, doer: User, action: str) -> None:
    store.notify(Event("issue_label", action, repo.id, doer.id, issue_id))
