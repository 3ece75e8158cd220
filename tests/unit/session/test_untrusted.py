"""Files and trees that a sandbox wrote."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from factory.session.standing import Standing
from factory.session.untrusted import Unreadable, digest_plain, publish_tree, read_plain, remove_tree


def test_a_plain_file_is_read_and_none_is_none(tmp_path: Path) -> None:
    file = tmp_path / "f"
    assert read_plain(file, 10) is None
    assert digest_plain(file, 10) is None
    file.write_bytes(b"0123456789")
    assert read_plain(file, 10) == b"0123456789"
    assert digest_plain(file, 10) == hashlib.sha256(b"0123456789").hexdigest()


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "folder", "socket", "huge", "sparse", "device"])
def test_anything_else_is_refused_at_once_and_unread(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "f"
    (tmp_path / "secret").write_text("secret")
    match kind:
        case "link":
            file.symlink_to(tmp_path / "secret")
        case "dangling":
            file.symlink_to(tmp_path / "nowhere")
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(file))
        case "huge":
            file.write_bytes(b"x" * 101)
        case "sparse":
            with file.open("wb") as opened:
                opened.truncate(1 << 40)
        case "device":
            file = Path("/dev/zero")
    for read in (read_plain, digest_plain):
        with pytest.raises(Unreadable, match=file.name):
            read(file, 100)


def deep(folder: Path, levels: int) -> None:
    """Deeper than a path may be long and than Python's stack."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=at)
        below = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_a_hostile_tree_is_deleted_and_nothing_else(tmp_path: Path) -> None:
    tree, beside = tmp_path / "tree", tmp_path / "beside"
    beside.mkdir()
    (beside / "kept").touch()
    (tree / "closed" / "inner").mkdir(parents=True)
    (tree / "closed" / "inner" / "file").touch()
    (tree / "way out").symlink_to(beside)
    deep(tree, 1100)
    (tree / "closed").chmod(0o000)
    remove_tree(tree)
    assert not tree.exists()
    assert (beside / "kept").exists()
    remove_tree(tree)
    (tmp_path / "link").symlink_to(beside)
    remove_tree(tmp_path / "link")
    assert (beside / "kept").exists()


def test_a_published_tree_is_readable_for_all_and_writable_for_none_else(tmp_path: Path) -> None:
    tree, outside = tmp_path / "tree", tmp_path / "outside"
    outside.write_text("x")
    outside.chmod(0o600)
    (tree / "bin").mkdir(parents=True)
    (tree / "bin" / "tool").write_text("#!/bin/sh\n")
    (tree / "bin" / "tool").chmod(0o6750)
    (tree / "data").write_text("x")
    (tree / "data").chmod(0o000)
    (tree / "bin").chmod(0o700)
    (tree / "link").symlink_to(outside)
    publish_tree(tree)
    modes = {name: (tree / name).stat().st_mode & 0o7777 for name in ("bin", "bin/tool", "data")}
    assert modes == {"bin": 0o755, "bin/tool": 0o755, "data": 0o644}
    assert outside.stat().st_mode & 0o777 == 0o600


def test_the_ground_is_known_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    standing = Standing()
    folder, file = tmp_path / "folder", tmp_path / "folder" / "file"
    folder.mkdir()
    file.touch()
    standing.on(folder, file)
    (folder / "other").touch()
    file.write_text("changed")
    assert standing.lost() is None
    folder.rename(tmp_path / "away")
    assert standing.lost() == folder
    folder.mkdir()
    file.touch()
    assert standing.lost() == folder
