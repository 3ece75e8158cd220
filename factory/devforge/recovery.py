"""Bringing a forge back into a consistent state before its first request, however the last process ended."""

from __future__ import annotations

from pathlib import Path

from factory.devforge import moves, receive
from factory.devforge.store import pulls, releases, repos
from factory.devforge.store.database import Store
from factory.git import objects


def recover(store: Store) -> None:
    """Undo half a rename, drop locks and quarantines, finish ref changes, set pull request refs again."""
    _find_renamed(store)
    _unlock(store)
    receive.sweep(store.home)
    releases.sweep(store)
    moves.recover(store)
    _pull_refs(store)


def _find_renamed(store: Store) -> None:
    """A kill in the middle of a rename leaves the folder under the other name: find it by the id inside."""
    for repo in repos.every(store):
        if repo.path.exists():
            continue
        for marker in (store.home / "repos").glob("*/*.git/factory-repo-id"):
            if marker.read_text().strip() == str(repo.id):
                repo.path.parent.mkdir(exist_ok=True)
                marker.parent.rename(repo.path)
                break


def _unlock(store: Store) -> None:
    """Remove ref locks: whoever held one is dead, for this process has the home to itself.

    Except a ``git gc`` that outlived its forge: while its pid file names a living process, its locks stay.
    """
    for repo in repos.every(store):
        if _tidying(repo.path):
            continue
        for name in ("HEAD.lock", "packed-refs.lock", "config.lock"):
            (repo.path / name).unlink(missing_ok=True)
        for left in (repo.path / "refs").rglob("*.lock"):
            left.unlink(missing_ok=True)


def _tidying(path: Path) -> bool:
    try:
        pid = (path / "gc.pid").read_text().split()[0]
    except (OSError, IndexError):
        return False
    return Path(f"/proc/{pid}").exists()


def _pull_refs(store: Store) -> None:
    """``refs/pull/N/head`` of open pull requests follows from their rows: set again what a kill kept from being set."""
    for repo in repos.every(store):
        rows = store.all(
            "SELECT i.number, p.head_sha FROM pulls p JOIN issues i ON i.id = p.issue_id"
            " WHERE i.repo_id = ? AND i.state = 'open'",
            repo.id,
        )
        if not rows:
            continue
        have = objects.list_refs(repo.path, "refs/pull/")
        for row in rows:
            ref = pulls.pull_ref(row["number"])
            if have.get(ref) != row["head_sha"]:
                objects.update_ref(repo.path, ref, row["head_sha"])
