"""The home of a host: private, whole, found."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from factory.config import home
from factory.errors import ConfigInvalid


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_home_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACTORY_HOME", str(tmp_path / "x"))
    assert home.factory_home() == tmp_path / "x"
    monkeypatch.delenv("FACTORY_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert home.factory_home() == tmp_path / "data" / "factory"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # invalid by the XDG rule: ignored
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home.factory_home() == tmp_path / ".local" / "share" / "factory"


def test_it_is_its_owners_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        (tmp_path / "h").mkdir(mode=0o755)
        home.create_home(tmp_path / "h")
        home.write_private(tmp_path / "h" / "state" / "keys" / "x", b"secret")
    finally:
        os.umask(old)
    assert [mode(tmp_path / "h" / p) for p in (".", "state", "cache", "state/keys")] == [0o700] * 4
    assert mode(tmp_path / "h" / "state" / "keys" / "x") == 0o600


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_home_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "h").mkdir()
    os.chown(tmp_path / "h", 12345, 12345)
    with pytest.raises(ConfigInvalid, match="belongs to user id 12345"):
        home.create_home(tmp_path / "h")


def test_a_home_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="preparing"):
        home.create_home(tmp_path / "file" / "h")


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_private(tmp_path / "f", b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(home.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        home.write_private(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "f").symlink_to(tmp_path / "victim")
    home.write_private(tmp_path / "f", b"new")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "f").is_symlink()


def test_packaged_data_is_found_here_and_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "dev" in home.packaged("formulas")
    package = tmp_path / "site" / "factory"
    (package / "_data" / "agents").mkdir(parents=True)
    monkeypatch.setattr(home, "files", lambda name: package)
    assert home.data_dir("agents") == package / "_data" / "agents"
    (tmp_path / "site" / "formulas").mkdir()  # beside the package, but a wheel has _data: not looked at
    with pytest.raises(ConfigInvalid, match="not there"):
        home.data_dir("formulas")
