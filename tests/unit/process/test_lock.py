from __future__ import annotations

import threading
from pathlib import Path

import pytest

from factory.errors import Conflict
from factory.process.lock import boot_id, hold, is_held, try_hold


def test_a_lock_excludes_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "r1.lock"
    assert not is_held(path)
    with hold(path):
        assert is_held(path)
        assert try_hold(path) is None
        with pytest.raises(Conflict, match=r"still holds it after 0\.02 s"):
            hold(path, timeout_s=0.02)
    assert not is_held(path)
    free = try_hold(path)
    assert free is not None
    free.release()


def test_shared_holders_keep_only_an_exclusive_one_out(tmp_path: Path) -> None:
    path = tmp_path / "borrowed"
    with hold(path, shared=True), hold(path, shared=True):
        assert try_hold(path) is None
        assert not is_held(path)  # nobody holds it exclusively


def test_probing_never_makes_an_attempt_fail(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    done = threading.Event()

    def probe() -> None:
        while not done.is_set():
            is_held(path)

    probes = [threading.Thread(target=probe) for _ in range(3)]
    for thread in probes:
        thread.start()
    try:
        for _ in range(300):
            held = try_hold(path)
            assert held is not None
            held.release()
    finally:
        done.set()
        for thread in probes:
            thread.join()


def test_a_lock_on_a_deleted_file_protects_nothing_and_is_taken_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "lock"
    with hold(path) as old:
        path.unlink()
        with hold(path, timeout_s=1) as new:
            assert new.fileno() != old.fileno()
            assert is_held(path)


def test_a_waiter_whose_file_was_replaced_locks_the_one_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = hold(path)
    got: list[int] = []

    def wait() -> None:
        with hold(path, timeout_s=5):
            got.append(path.stat().st_ino)

    waiter = threading.Thread(target=wait)
    waiter.start()
    path.unlink()
    path.touch()
    inode = path.stat().st_ino
    first.release()
    waiter.join(5)
    assert got == [inode]


def test_a_lock_is_not_taken_through_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("x")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        hold(tmp_path / "lock")


def test_the_boot_id_is_stable() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36
