"""Control groups and looking at trees, on folders that look like the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from factory.sandbox.starter import bounds


def hierarchy(root: Path, own: str, controllers: str = "memory pids") -> Path:
    (root / "cgroup.controllers").write_text("cpu memory pids\n")
    folder = root / own.lstrip("/")
    folder.mkdir(parents=True)
    for place in (folder, *folder.parents):
        (place / "cgroup.subtree_control").write_text(controllers)
        if place == root:
            break
    return folder


def test_no_version_2_hierarchy_no_group(tmp_path: Path) -> None:
    assert bounds.make_cgroup(1, 1, root=str(tmp_path), own="/x") is None


def test_group_that_cannot_be_bounded_is_not_left_behind(tmp_path: Path) -> None:
    """A plain folder has none of the kernel's files: writing the bound fails, and the folder goes again."""
    folder = hierarchy(tmp_path, "/service")
    assert bounds.make_cgroup(1 << 20, 5, root=str(tmp_path), own="/service") is None
    assert [path.name for path in folder.iterdir()] == ["cgroup.subtree_control"]


def test_group_is_bounded_before_anybody_joins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hierarchy(tmp_path, "/service")
    make = os.mkdir

    def kernel_mkdir(path: str) -> None:
        make(path)
        for name in ("memory.max", "pids.max", "memory.swap.max", "memory.oom.group", "cgroup.procs"):
            Path(path, name).write_text("")

    monkeypatch.setattr(os, "mkdir", kernel_mkdir)
    group = bounds.make_cgroup(1 << 20, 5, root=str(tmp_path), own="/service")
    assert group is not None
    made = Path(group.path)
    assert made.parent == folder
    assert (made / "memory.max").read_text() == str(1 << 20)
    assert (made / "pids.max").read_text() == "5"
    assert (made / "memory.swap.max").read_text() == "0"
    assert (made / "cgroup.procs").read_text() == ""
    assert not group.killed_for_memory()
    (made / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
    assert group.killed_for_memory()
    group.join()
    assert (made / "cgroup.procs").read_text() == "0"


def test_controllers_are_asked_for_where_they_are_missing(tmp_path: Path) -> None:
    folder = hierarchy(tmp_path, "/slice/service", controllers="cpu")
    assert bounds.make_cgroup(1, 1, root=str(tmp_path), own="/slice/service") is None
    # Opened without truncation, as a kernel file is: the request replaced the first bytes.
    assert (folder / "cgroup.subtree_control").read_text().startswith("+memory +pids")
    assert (folder.parent / "cgroup.subtree_control").read_text().startswith("+memory +pids")


def test_group_left_by_an_ended_sandbox_is_swept(tmp_path: Path) -> None:
    folder = hierarchy(tmp_path, "/service")
    (folder / "factory-sandbox-99999999").mkdir()
    (folder / f"factory-sandbox-{os.getppid()}").mkdir()
    bounds.make_cgroup(1, 1, root=str(tmp_path), own="/service")
    assert not (folder / "factory-sandbox-99999999").exists()
    assert (folder / f"factory-sandbox-{os.getppid()}").exists()  # about to be joined


def test_own_memory_is_seen_and_compared() -> None:
    assert bounds.Watch(1 << 20, (), 0).memory_trouble(os.getpid()) is not None
    assert bounds.Watch(1 << 50, (), 0).memory_trouble(os.getpid()) is None
    assert bounds.Watch(None, (), 0).memory_trouble(os.getpid()) is None
    assert os.getpid() in bounds.descendants(os.getppid())


def test_room_on_disk(tmp_path: Path) -> None:
    assert bounds.Watch(None, [str(tmp_path)], 0).disk_trouble() is None
    assert "MiB are left" in str(bounds.Watch(None, [str(tmp_path)], 1 << 62).disk_trouble())
