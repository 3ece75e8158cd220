"""Names and locks of dispatchers, their copies of the repo, the second mark, wakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from factory.errors import Conflict
from factory.process.lock import is_held, try_hold
from factory.vault.watch import instance, marks
from factory.vault.watch.instance import enlist, lock_of
from factory.vault.watch.metered import MeteredGit
from factory.vault.watch.wake import awaiting, heard, poke


def test_each_has_a_name_a_lock_and_a_copy_of_its_own(tmp_path: Path) -> None:
    home, folder = tmp_path, tmp_path / "o.ops"
    with enlist(home, [folder], "vm") as first, enlist(home, [folder], "vm") as second:
        assert (first.slot, second.slot) == (0, 1)
        assert first.name != second.name
        assert first.mirror(folder).name == "repo.git"
        assert second.mirror(folder).name == "repo-1.git"
        assert (first.ear(home).name, second.ear(home).name) == ("wake.sock", "wake-1.sock")
        assert first.fence(folder) != second.fence(folder)
        locks = [lock_of(folder, one.name.removeprefix("vm/")) for one in (first, second)]
        assert all(map(is_held, locks))
    assert not any(path.exists() for path in locks)
    with enlist(home, [folder], "vm") as third:
        assert third.slot == 0


def test_too_many_are_refused_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "MOST", 1)
    with enlist(tmp_path, [tmp_path / "a"], "vm"), pytest.raises(Conflict, match="run already"):
        enlist(tmp_path, [tmp_path / "a"], "vm")
    with enlist(tmp_path, [tmp_path / "a"], "vm"):
        assert len(list((tmp_path / "a" / "locks").iterdir())) == 1


def test_locks_of_the_dead_are_swept_and_those_of_runs_are_not(tmp_path: Path) -> None:
    locks = tmp_path / "a" / "locks"
    locks.mkdir(parents=True)
    for name in ("0" * 16, "1" * 32, "2" * 16):
        (locks / f"{name}.lock").touch()
    held = try_hold(locks / f"{'2' * 16}.lock")
    assert held is not None
    with held, enlist(tmp_path, [tmp_path / "a"], "vm") as made:
        left = {path.stem for path in locks.iterdir()} - {made.name.removeprefix("vm/")}
        assert left == {"1" * 32, "2" * 16}


def test_a_copy_with_a_lock_in_it_is_begun_anew(tmp_path: Path) -> None:
    with enlist(tmp_path, [tmp_path], "vm") as made:
        whole = tmp_path / "repo.git"
        (whole / "refs").mkdir(parents=True)
        assert made.mirror(tmp_path).exists()
        (whole / "refs" / "main.lock").touch()
        assert not made.mirror(tmp_path).exists()


def mark(path: Path, root: str, count: int) -> None:
    path.write_text(json.dumps({"root": root, "tip": f"{root}{count}", "count": count}), encoding="utf-8")


@pytest.mark.parametrize(
    ("first", "second", "healed"),
    [
        (("r", 3), ("r", 5), True), (None, ("r", 5), True), (("r", 5), ("r", 5), False), (("r", 6), ("r", 5), False),
        (("new", 1), ("r", 5), False), (("r", 3), None, False), (None, None, False),
    ],
)  # fmt: skip
def test_the_copy_counts_where_it_knows_more_of_the_same_ledger(
    tmp_path: Path, first: tuple[str, int] | None, second: tuple[str, int] | None, healed: bool
) -> None:
    there, copy = tmp_path / "mark", tmp_path / "copy"
    for path, told in ((there, first), (copy, second)):
        if told is not None:
            mark(path, *told)
    before = there.read_bytes() if there.exists() else None
    assert marks.heal(there, copy) is healed
    assert (there.read_bytes() if there.exists() else None) == (copy.read_bytes() if healed else before)


def test_a_broken_mark_is_not_written_over(tmp_path: Path) -> None:
    """The chain refuses it in words; a copy that nobody can vouch for is no remedy for it."""
    there, copy = tmp_path / "mark", tmp_path / "copy"
    there.write_bytes(b"{broken")
    mark(copy, "r", 5)
    assert marks.heal(there, copy) is False
    assert there.read_bytes() == b"{broken"


def test_the_copy_follows_the_mark(tmp_path: Path) -> None:
    there, copy = tmp_path / "mark", tmp_path / "cache" / "copy"
    marks.keep(there, copy)
    assert not copy.exists()
    mark(there, "r", 1)
    marks.keep(there, copy)
    stamp = copy.stat().st_mtime_ns
    marks.keep(there, copy)
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == (there.read_bytes(), stamp)


def test_a_poke_reaches_all_and_never_waits(tmp_path: Path) -> None:
    assert poke(tmp_path) == 0
    with awaiting(tmp_path / "wake.sock") as first, awaiting(tmp_path / "wake-1.sock") as second:
        assert poke(tmp_path) == 2
        assert heard(first)
        assert heard(second)
        assert not heard(first)
        for _ in range(5000):
            poke(tmp_path)
        assert heard(first)
    (tmp_path / "wake-2.sock").touch()
    assert poke(tmp_path) == 0


def test_a_long_path_is_no_hindrance(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    with awaiting(deep / "wake.sock") as ear:
        assert poke(deep) == 1
        assert heard(ear)


def test_what_git_asks_the_forge_and_brings_is_counted(tmp_path: Path) -> None:
    other = MeteredGit(tmp_path / "other.git", "")
    git = MeteredGit(tmp_path / "git.git", str(tmp_path / "other.git"))
    made = git.append("", [("a", b"1"), ("b", b"2")], "")
    assert git.push(made[-1], "ledger")
    git.fetch("ledger")
    assert (git.commands, git.appended, other.commands) == (2, 2, 0)
    lost = git.append("", [("c", b"3")], "")
    assert not git.push(lost[-1], "ledger")
    assert git.appended == 2
