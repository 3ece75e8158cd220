"""Choosing a sandbox: each way it can fail says what to run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from factory.errors import SandboxUnavailable
from factory.sandbox import select
from factory.sandbox.bare import Bare


def test_missing_program(tmp_path: Path) -> None:
    with pytest.raises(SandboxUnavailable, match=r"bubblewrap \(bwrap\) is not in") as caught:
        select.select("bubblewrap", search=str(tmp_path))
    assert caught.value.hint == "install it: apt-get install bubblewrap"


def test_program_that_is_too_old(tmp_path: Path) -> None:
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho bubblewrap 0.6.2\n")
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(
        SandboxUnavailable, match=r"says 'bubblewrap 0\.6\.2', but 0\.8\.0 or later is needed"
    ) as caught:
        select.select(search=str(tmp_path))
    assert "apt-get install --only-upgrade bubblewrap" in str(caught.value.hint)


def test_program_that_cannot_build_a_sandbox() -> None:
    """What it said stands in the message."""
    with (
        tempfile.TemporaryDirectory() as name
    ):  # not pytest's: that is below a folder which the dropped user cannot enter
        Path(name).chmod(0o755)
        _refused_by(Path(name))


def _refused_by(tmp_path: Path) -> None:
    script = '#!/bin/sh\n[ "$1" = --version ] && exec echo bubblewrap 0.11.0\n'
    script += "echo 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    (tmp_path / "bwrap").write_text(script)
    (tmp_path / "bwrap").chmod(0o755)
    with pytest.raises(SandboxUnavailable, match="No permissions to create new namespace") as caught:
        select.select(search=str(tmp_path))
    assert caught.value.hint


@pytest.mark.parametrize("name", ["podman", "docker", "Bubblewrap", ""])
def test_names_that_are_not_built(name: str) -> None:
    with pytest.raises(SandboxUnavailable, match="is not built yet") as caught:
        select.select(name)
    assert caught.value.hint == "sandboxes here: bubblewrap, none"


def test_none_only_by_name() -> None:
    sandbox = select.select("none")
    assert isinstance(sandbox, Bare)
    (wall,) = sandbox.walls()
    assert not wall.holds


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"),
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "/etc/apparmor.d/bwrap"),
    ],
)
def test_kernel_settings_in_the_way(tmp_path: Path, setting: str, value: str, expected: str) -> None:
    said = "bwrap: setting up uid map: Permission denied"
    assert expected not in select.hint(said, is_root=False, sysctl=tmp_path)
    (tmp_path / setting).parent.mkdir(parents=True)
    (tmp_path / setting).write_text(f"{value}\n")
    assert expected in select.hint(said, is_root=False, sysctl=tmp_path)


@pytest.mark.parametrize(
    ("said", "is_root", "expected"),
    [
        ("bwrap: Can't mount proc on /newroot/proc: Operation not permitted", False, "systempaths=unconfined"),
        ("not started: root without the right to mount (Operation not permitted)", True, "as an ordinary user"),
        ("bwrap: No permissions to create new namespace", False, "seccomp=unconfined"),
        ("something else", False, "factory doctor"),
    ],
)
def test_words_that_tell_the_cause(tmp_path: Path, said: str, is_root: bool, expected: str) -> None:
    assert expected in select.hint(said, is_root=is_root, sysctl=tmp_path)
