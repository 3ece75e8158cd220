"""What the ops writer puts on main is on the journal in the same push, or neither is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.daemon.landing import recorded
from factory.errors import RefMoved
from factory.git import objects
from factory.git.transport import Remote, fetch
from factory.git.values import Signature
from factory.ops.edit import whole
from factory.ops.writer import Land, write
from factory.runs.journal import OPS_COMMIT, REF, entries_since
from tests.unit.architecture.source import HOUSE

MAIN = "refs/heads/main"
WHO = Signature("factory-bot", "factory-bot@factory.invalid", 1_800_000_000, 0)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    repo = tmp_path / "ops.git"
    objects.init_bare(repo)
    first = objects.build_commit(repo, parent=None, changes={}, message="Begin", author=WHO, committer=WHO)
    for ref in (MAIN, REF):
        objects.create_ref(repo, ref, first)
    return Remote(str(repo))


def mirror(tmp_path: Path, remote: Remote, name: str = "h1") -> Path:
    copy = tmp_path / f"{name}.git"
    objects.init_bare(copy)
    fetch(copy, remote, ["+refs/heads/*:refs/heads/*"])
    return copy


def listed(remote: Remote) -> list[str]:
    repo = Path(remote.url)
    reading = entries_since(repo, None, objects.read_ref(repo, REF) or "")
    assert reading.problems == ()
    return [str(entry.data["commit"]) for entry in reading.entries if entry.kind == OPS_COMMIT]


def tip(remote: Remote) -> str | None:
    return objects.read_ref(Path(remote.url), MAIN)


def put(remote: Remote, copy: Path, path: str, land: Land | None = None) -> str | None:
    land = land or recorded(remote, copy, copy.stem, WHO)
    return write(remote, copy, [whole(path, b"x\n")], message=f"Write {path}", author=WHO, land=land).commit


def test_the_commit_and_its_line_land_together(tmp_path: Path, remote: Remote) -> None:
    copy = mirror(tmp_path, remote)
    commits = [put(remote, copy, f"diary/{number}.md") for number in range(3)]
    assert commits[-1] == tip(remote)
    assert listed(remote) == commits
    assert put(remote, copy, "diary/2.md") is None, "nothing to write, nothing to list"
    assert len(listed(remote)) == 3


def test_after_a_race_what_landed_is_listed(tmp_path: Path, remote: Remote) -> None:
    """Both hosts' mirrors are behind the other's write, of main and of the journal."""
    one, two = mirror(tmp_path, remote), mirror(tmp_path, remote, "h2")
    commits = [put(remote, one, "diary/1.md"), put(remote, two, "diary/2.md"), put(remote, one, "diary/3.md")]
    assert listed(remote) == commits
    assert commits[-1] == tip(remote)


def test_where_main_moved_neither_lands(tmp_path: Path, remote: Remote) -> None:
    copy, tried = mirror(tmp_path, remote), list[str]()
    real = recorded(remote, copy, "h1", WHO)
    before = tip(remote)

    def meanwhile(update: object, paths: object, why: str) -> None:
        """Somebody else writes between the look and the push, once."""
        if not tried:
            tried.append(put(remote, mirror(tmp_path, remote, "h2"), "diary/other.md") or "")
            with pytest.raises(RefMoved):
                real(update, paths, why)  # type: ignore[arg-type]
            assert tip(remote) == tried[0] != before
            assert listed(remote) == tried
            raise RefMoved("somebody was first")
        real(update, paths, why)  # type: ignore[arg-type]

    commit = put(remote, copy, "diary/mine.md", meanwhile)
    assert listed(remote) == [*tried, commit]


def test_every_write_of_the_package_is_listed() -> None:
    """A caller that forgot it would freeze the vault."""
    callers = [m for m in HOUSE if any(name == "factory.ops.writer.write" for name, _ in m.imports())]
    calls = [(m.path, call) for m in callers for name, call in m.calls() if name == "write" and len(call.args) >= 3]
    assert {"factory/app/opsrepo.py", "factory/daemon/board.py", "factory/daemon/ports.py"} <= {p for p, _ in calls}
    assert [path for path, call in calls if "land" not in {word.arg for word in call.keywords}] == []
