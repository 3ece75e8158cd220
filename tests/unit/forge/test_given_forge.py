"""How the suite is told of a real forge: its admin's password needs to stand in no environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import given_forge


def test_the_admin_comes_from_a_file_or_from_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "admin").write_text("root:a:b\n", encoding="utf-8")
    for told in (str(tmp_path / "admin"), "root:a:b"):
        monkeypatch.setenv("FACTORY_TEST_FORGEJO_ADMIN", told)
        assert given_forge.admin() == ("root", "a:b")


@pytest.mark.parametrize("told", ["", "root", "root:", ":secret", "/nowhere/admin", "a:b\nc:d"])
def test_anything_else_is_said(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACTORY_TEST_FORGEJO_ADMIN", told)
    with pytest.raises(ValueError, match="user:password"):
        given_forge.admin()
