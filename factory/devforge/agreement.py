"""Whether database and refs of an embedded forge agree: looked at from outside, nothing is changed.

Meant for a forge at rest (after a crash, a restore, a move). On one that serves requests a change may be seen half
done: what is found twice in a row (:func:`lasting`) is worth telling.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from factory.errors import FactoryError
from factory.git import objects

_PULLS = """
SELECT i.number, i.state, p.*, h.name AS head_name, hu.login AS head_owner,
  (SELECT count(*) FROM comments c WHERE c.issue_id = i.id AND c.kind = 'merge_pull') AS merges
FROM pulls p JOIN issues i ON i.id = p.issue_id
LEFT JOIN repos h ON h.id = p.head_repo_id LEFT JOIN users hu ON hu.id = h.owner_id
WHERE i.repo_id = ? ORDER BY i.number
"""


def lasting(home: Path) -> list[str]:
    """What :func:`findings` says of a forge that may be at work: only what it says twice."""
    first = findings(home)
    return [said for said in findings(home) if said in first] if first else []


def findings(home: Path) -> list[str]:
    """What is wrong with the forge in ``home``, one sentence each; an empty list is a consistent forge."""
    path = home / "forge.db"
    if not path.is_file():
        return [f"there is no forge in {home}"]
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=10)) as db:
            db.row_factory = sqlite3.Row
            return list(_all(db, home))
    except sqlite3.DatabaseError as error:
        return [f"forge.db cannot be read: {error}"]


def _all(db: sqlite3.Connection, home: Path) -> Iterator[str]:
    for (said,) in db.execute("PRAGMA integrity_check(10)"):
        if said != "ok":
            yield f"forge.db is damaged: {said}"
    for row in db.execute("PRAGMA foreign_key_check"):
        yield f"forge.db: row {row[1]} of {row[0]} names a row of {row[2]} that is not there"
    db.execute("BEGIN")  # one moment for all that follows
    for (waiting,) in db.execute("SELECT count(*) FROM moves HAVING count(*) > 0"):
        yield f"{waiting} changes of refs are begun and not finished: the next start finishes them"
    for row in db.execute("SELECT id FROM issues WHERE is_pull <> EXISTS (SELECT 1 FROM pulls WHERE issue_id = id)"):
        yield f"issue row {row['id']} is half a pull request"
    for repo in db.execute("SELECT r.*, u.login AS owner FROM repos r JOIN users u ON u.id = r.owner_id").fetchall():
        where = f"{repo['owner']}/{repo['name']}"
        try:
            yield from (f"{where}: {said}" for said in _repo(db, home, repo))
        except FactoryError as error:
            yield f"{where}: {error}"


def _bare(home: Path, owner: str, name: str) -> Path:
    return home / "repos" / owner.lower() / f"{name.lower()}.git"


def _repo(db: sqlite3.Connection, home: Path, repo: sqlite3.Row) -> Iterator[str]:
    path = _bare(home, repo["owner"], repo["name"])
    if not path.is_dir():
        yield "its folder is missing"
        return
    refs = objects.list_refs(path)
    for ref, oid in refs.items():
        if not objects.exists(path, oid):
            yield f"{ref} points to {oid}, which is not there"
    branches = {ref.removeprefix("refs/heads/") for ref in refs if ref.startswith("refs/heads/")}
    if repo["empty"] and branches:
        yield "it counts as empty and has branches"
    if not repo["empty"] and repo["default_branch"] not in branches:
        yield f"its default branch {repo['default_branch']} is missing"
    if not repo["empty"] and objects.read_head(path) != f"refs/heads/{repo['default_branch']}":
        yield "HEAD is not its default branch"
    (last,) = db.execute("SELECT max(number) FROM issues WHERE repo_id = ?", (repo["id"],)).fetchone()
    if (last or 0) >= repo["next_number"]:
        yield f"number {last} is given out and would be given again"
    for pull in db.execute(_PULLS, (repo["id"],)):
        head = pull["head_name"]
        branch = f"refs/heads/{pull['head_branch']}"
        tip = objects.read_ref(_bare(home, pull["head_owner"], head), branch) if head is not None else None
        yield from (f"pull request {pull['number']}: {said}" for said in _pull(path, pull, refs, tip))


def _pull(path: Path, pull: sqlite3.Row, refs: dict[str, str], tip: str | None) -> Iterator[str]:
    if refs.get(f"refs/pull/{pull['number']}/head") != pull["head_sha"]:
        yield "its ref is not at its head"
    if pull["state"] == "open" and tip is not None and tip != pull["head_sha"]:
        yield f"its branch is at {tip}, it is at {pull['head_sha']}"
    if pull["merges"] != pull["merged"]:
        yield f"it has {pull['merges']} merge events and is {'' if pull['merged'] else 'not '}merged"
    if not pull["merged"]:
        if pull["merge_commit"]:
            yield "it has a merge commit and is not merged"
        return
    if pull["state"] == "open":
        yield "it is merged and open"
    if not pull["merge_commit"] or not objects.exists(path, pull["merge_commit"]):
        yield "its merge commit is not there"
